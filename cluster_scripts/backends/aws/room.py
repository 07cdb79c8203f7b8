"""Whether there is room for a cluster in its account: quotas, networks, addresses, reservations. Asks, makes nothing.

A quota's value is compared with what the file needs when every queue is full, beside what runs already of others.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from cluster_scripts.backends.aws.asking import Answer, asked, fails, passes
from cluster_scripts.backends.aws.errors import code_of
from cluster_scripts.backends.aws.machines import CLUSTER_TAG
from cluster_scripts.backends.aws.session import Aws
from infra.config.catalog import find
from infra.config.estimate import Quota, quota_code, quotas
from infra.config.rules.network import addresses_needed
from infra.config.schema import ClusterFile, Queue

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import CapacityReservationTypeDef, InstanceTypeDef

# Source: VPC User Guide, Amazon VPC quotas
VPCS = ("vpc", "L-F678F1CE")


def room(aws: Aws, cluster: ClusterFile) -> Iterator[Answer]:
    """Quotas, the number of networks, addresses in given subnets, reservations."""
    permission = "servicequotas:GetServiceQuota and ec2:DescribeInstances"
    yield from asked("live-quota", "vCPU quotas", partial(_quotas, aws, cluster), permission=permission)
    if cluster.network.vpc_id is None:
        permission = "servicequotas:GetServiceQuota and ec2:DescribeVpcs"
        yield from asked("live-vpcs", "networks", partial(_vpcs, aws, cluster), permission=permission)
    else:
        subnets = partial(_subnets, aws, cluster)
        yield from asked("live-subnet", "subnets", subnets, permission="ec2:DescribeSubnets")
    for queue in cluster.queues:
        if queue.capacity_reservation_id is not None:
            find_out = partial(_reservation, aws, cluster, queue)
            permission = "ec2:DescribeCapacityReservations"
            yield from asked("live-reservation", queue.capacity_reservation_id, find_out, permission=permission)


def quota_value(aws: Aws, service: str, code: str) -> float:
    """The quota that the account has; AWS's default where it never asked for another. Errors: botocore's."""
    try:
        found = aws.quotas.get_service_quota(ServiceCode=service, QuotaCode=code)
    except ClientError as error:
        if code_of(error) != "NoSuchResourceException":
            raise
        found = aws.quotas.get_aws_default_service_quota(ServiceCode=service, QuotaCode=code)
    return float(found["Quota"]["Value"])


def _quotas(aws: Aws, cluster: ClusterFile) -> Iterator[Answer]:
    used = _used(aws, cluster)
    for quota in quotas(cluster):
        yield from _quota(cluster, quota, value=quota_value(aws, "ec2", quota.code), used=used.get(quota.code, 0))


def _quota(cluster: ClusterFile, quota: Quota, *, value: float, used: int) -> Iterator[Answer]:
    what, needed = f"{quota.code} ({quota.name})", used + quota.vcpus
    also = f", and {used} are in use by others" if used else ""
    said = f"the account may run {value:.0f} vCPUs, this file needs {quota.vcpus}{also}"
    if needed <= value:
        yield passes("live-quota", what, said)
        return
    fix = (
        "aws service-quotas request-service-quota-increase --service-code ec2 "
        f"--quota-code {quota.code} --desired-value {needed} --region {cluster.region}"
    )
    yield fails("live-quota", what, said, fix)


def _used(aws: Aws, cluster: ClusterFile) -> dict[str, int]:
    """The vCPUs that run in the region beside this cluster, by the code of the quota that they count in."""
    used: dict[str, int] = {}
    states = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    for page in aws.ec2.get_paginator("describe_instances").paginate(Filters=states):  # type: ignore[arg-type]
        for instance in (each for found in page["Reservations"] for each in found.get("Instances", ())):
            tags = {tag.get("Key"): tag.get("Value") for tag in instance.get("Tags", ())}
            market = str(instance.get("InstanceLifecycle") or "on-demand")
            if tags.get(CLUSTER_TAG) == cluster.name or market == "capacity-block":
                continue
            code = quota_code(str(instance.get("InstanceType", "")), spot=market == "spot")
            if code is not None:
                used[code] = used.get(code, 0) + _vcpus(instance)
    return used


def _vcpus(instance: InstanceTypeDef) -> int:
    known = find(str(instance.get("InstanceType", "")))
    options: Any = instance.get("CpuOptions", {})
    return known.vcpus if known else int(options.get("CoreCount", 0)) * int(options.get("ThreadsPerCore", 1))


def _vpcs(aws: Aws, cluster: ClusterFile) -> Iterator[Answer]:
    value = quota_value(aws, *VPCS)
    found = [vpc for page in aws.ec2.get_paginator("describe_vpcs").paginate() for vpc in page["Vpcs"]]
    own = [vpc for vpc in found if {"Key": CLUSTER_TAG, "Value": cluster.name} in vpc.get("Tags", [])]
    what, needed = f"{VPCS[1]} (VPCs per Region)", len(found) + (0 if own else 1)
    said = f"the account may have {value:.0f} networks and has {len(found)}" + (", this one among them" if own else "")
    if needed <= value:
        yield passes("live-vpcs", what, said)
    else:
        fix = "delete one, ask for more, or give one to the file as network.vpc_id and network.subnets"
        yield fails("live-vpcs", what, said, fix)


def _subnets(aws: Aws, cluster: ClusterFile) -> Iterator[Answer]:
    wanted = cluster.network.subnets
    filters = [{"Name": "subnet-id", "Values": sorted(wanted.values())}]
    pages = aws.ec2.get_paginator("describe_subnets").paginate(Filters=filters)  # type: ignore[arg-type]
    found = {each["SubnetId"]: each for page in pages for each in page["Subnets"]}
    for zone, identity in wanted.items():
        subnet = found.get(identity)
        if subnet is None:
            yield fails("live-subnet", identity, f"this account has no such subnet in {cluster.region}")
            continue
        wrong = []
        if subnet.get("VpcId") != cluster.network.vpc_id:
            wrong.append(f"it is in {subnet.get('VpcId')}, not in {cluster.network.vpc_id}")
        if subnet.get("AvailabilityZoneId") != zone:
            wrong.append(f"it is in {subnet.get('AvailabilityZoneId')}, not in {zone}")
        needed, free = addresses_needed(cluster, zone), int(subnet.get("AvailableIpAddressCount", 0))
        if free < needed:
            wrong.append(f"{free} addresses are free, {needed} are needed when every queue is full")
        if wrong:
            yield fails("live-subnet", identity, "; ".join(wrong))
        else:
            yield passes("live-subnet", identity, f"in {zone}, {free} addresses free, {needed} needed")


def _reservation(aws: Aws, cluster: ClusterFile, queue: Queue) -> Iterator[Answer]:
    identity = str(queue.capacity_reservation_id)
    try:
        found = aws.ec2.describe_capacity_reservations(CapacityReservationIds=[identity])["CapacityReservations"]
    except ClientError as error:
        if not code_of(error).startswith("InvalidCapacityReservationId"):
            raise
        found = []
    if not found:
        yield fails("live-reservation", identity, f"this account sees no such reservation in {cluster.region}")
        return
    wrong = list(_wrong(found[0], queue, cluster.queue_zones(queue)))
    end = found[0].get("EndDate")
    ends = f"ends {_time(end)}" if end else "has no end"
    if wrong:
        yield fails("live-reservation", identity, f"{'; '.join(wrong)} ({ends})")
    else:
        free = found[0].get("AvailableInstanceCount", 0)
        yield passes("live-reservation", identity, f"active, {free} x {found[0].get('InstanceType')} free, {ends}")


def _wrong(found: CapacityReservationTypeDef, queue: Queue, zones: tuple[str, ...]) -> Iterator[str]:
    state, start = str(found.get("State", "")), found.get("StartDate")
    if state != "active":
        yield f"its state is {state}" + (f"; it begins {_time(start)}" if start and start > datetime.now(UTC) else "")
    if (kind := str(found.get("InstanceType", ""))) != queue.instance_type:
        yield f"it is for {kind}, queue {queue.name} wants {queue.instance_type}"
    if (zone := str(found.get("AvailabilityZoneId", ""))) not in zones:
        yield f"it is in {zone}, queue {queue.name} launches in {', '.join(zones)}"
    if (total := int(found.get("TotalInstanceCount", 0))) < queue.max:
        yield f"it has {total} instances, queue {queue.name} may have {queue.max}"


def _time(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
