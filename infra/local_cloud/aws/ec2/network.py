"""Deletions in a VPC that AWS refuses while something depends on the thing, and moto lets pass."""

from __future__ import annotations

from typing import Any

from infra.local_cloud.aws.cloud import Cloud
from infra.local_cloud.aws.ec2.table import backend
from infra.local_cloud.aws.errors import AwsError
from infra.local_cloud.aws.operations import Call


def refuse_used_subnet(cloud: Cloud, call: Call) -> None:
    """Before DeleteSubnet: any interface in it, attached or not, keeps it."""
    subnet = call.params["SubnetId"]
    if any(eni.subnet.id == subnet for eni in backend(call.region).enis.values()):
        raise AwsError("DependencyViolation", f"The subnet '{subnet}' has dependencies and cannot be deleted.")


def refuse_used_group(cloud: Cloud, call: Call) -> None:
    """Before DeleteSecurityGroup: interfaces in the group, and other groups' rules that name it, keep it."""
    identity = call.params.get("GroupId")
    ec2 = backend(call.region)
    used = any(group.id == identity for eni in ec2.enis.values() for group in eni.group_set)
    named = any(
        _names(rule, identity)
        for groups in ec2.groups.values()
        for group in groups.values()
        if group.id != identity
        for rule in [*group.ingress_rules, *group.egress_rules]
    )
    if identity and (used or named):
        raise AwsError("DependencyViolation", f"resource {identity} has a dependent object")


def _names(rule: Any, identity: str | None) -> bool:
    return any(source.get("GroupId") == identity for source in getattr(rule, "source_groups", []) or [])


def refuse_used_vpc(cloud: Cloud, call: Call) -> None:
    """Before DeleteVpc: endpoints and gateways keep it (moto itself looks at subnets and route tables)."""
    vpc, ec2 = call.params["VpcId"], backend(call.region)
    endpoints = [e for e in ec2.vpc_end_points.values() if e.vpc_id == vpc and e.state not in ("deleted", "deleting")]
    gateways = [g for g in ec2.internet_gateways.values() if g.vpc is not None and g.vpc.id == vpc]
    groups = [g for g in ec2.groups.get(vpc, {}).values() if g.name != "default"]
    if endpoints or gateways or groups:
        raise AwsError("DependencyViolation", f"The vpc '{vpc}' has dependencies and cannot be deleted.")
