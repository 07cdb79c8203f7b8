"""Which instances a command reaches: those whose agent answers, by id or by tag."""

from __future__ import annotations

from typing import Any

from infra.local_cloud.aws.cloud import ACCOUNT, Cloud
from infra.local_cloud.aws.ec2 import security
from infra.local_cloud.aws.ec2.table import backend
from infra.local_cloud.aws.errors import AwsError
from infra.local_cloud.aws.operations import Call

MAX_TARGETS = 50
AGENT_SERVICES = ("ssm", "ssmmessages")  # of version 3.3 and later; older ones fetch commands from ec2messages


def managed(cloud: Cloud, region: str) -> dict[str, Any]:
    """Instances whose agent answers: their machine runs, they have a role to talk to SSM with, and a way to it."""
    ec2 = backend(region)
    return {
        instance.id: instance
        for instance in ec2.all_instances()
        if instance.state in ("pending", "running")
        and cloud.machines.state(instance.id) == "running"
        and instance.id in ec2.iam_instance_profile_associations
        and all(security.answers(cloud, instance.private_ip, service) for service in AGENT_SERVICES)
    }


def chosen(cloud: Cloud, call: Call) -> list[str]:
    """The instances that a SendCommand names. Raises InvalidInstanceId for one whose agent does not answer."""
    params, known = call.params, managed(cloud, call.region)
    ids = list(params.get("InstanceIds", []))
    if not ids and not params.get("Targets"):
        raise AwsError("ValidationException", "Either InstanceIds or Targets is required")
    if len(ids) > MAX_TARGETS:
        raise AwsError("ValidationException", f"At most {MAX_TARGETS} instance ids, not {len(ids)}")
    unknown = [identity for identity in ids if identity not in known]
    if unknown:
        raise AwsError("InvalidInstanceId", f"Instances [{unknown}] not in a valid state for account {ACCOUNT}")
    wanted = params.get("Targets", [])
    if wanted:
        ids += [
            identity
            for identity, item in known.items()
            if identity not in ids and all(_matches(item, t) for t in wanted)
        ]
    return ids


def _matches(instance: Any, target: dict[str, Any]) -> bool:
    key, values = target["Key"], target["Values"]
    tags = {tag["key"]: tag["value"] for tag in instance.get_tags()}
    if key == "InstanceIds":
        return instance.id in values
    if key == "tag-key":
        return any(value in tags for value in values)
    if key.startswith("tag:"):
        return tags.get(key[4:]) in values
    raise AwsError("NotImplemented", f"the local cloud does not model targets by {key}", status=501)
