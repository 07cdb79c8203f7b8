"""What an account has: free capacity as scripted, and EC2's quotas of running vCPUs."""

from __future__ import annotations

import re
from typing import Any

from moto.ec2.models.instance_types import INSTANCE_TYPES

from infra.local_cloud.aws import scripted, servicequotas
from infra.local_cloud.aws.cloud import Cloud
from infra.local_cloud.aws.ec2 import reservations
from infra.local_cloud.aws.ec2.table import Ec2State, backend
from infra.local_cloud.aws.errors import AwsError

# Letters of the families: code of the on-demand quota, of the spot quota. Source: EC2 User Guide
_CLASSES = {
    **dict.fromkeys(["p"], ("L-417A185B", "L-7212CCBC")),
    **dict.fromkeys(["g", "gr", "vt"], ("L-DB2E81BA", "L-3819A6DF")),
    **dict.fromkeys(["a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"], ("L-1216C47A", "L-34B43A08")),
}
_COUNTED = ("pending", "running")


def check(cloud: Cloud, region: str, data: dict[str, Any], count: int) -> None:
    """Refuse a launch of `count` instances that is more than the account may run, or than is scripted to be there, or
    whose reservation does not fit."""
    reservations.check(cloud, region, data)
    kind = data["InstanceType"]
    there = scripted.read(cloud).capacity.get(kind)
    if there is not None and _existing(region, kind) + count > there:
        raise AwsError(
            "InsufficientInstanceCapacity",
            f"We currently do not have sufficient {kind} capacity in the Availability Zone you requested.",
            status=500,
        )
    market = (data.get("InstanceMarketOptions") or {}).get("MarketType", "on-demand")
    code = _code(kind, market)
    if code is None:
        return
    limit, used = servicequotas.value(cloud, "ec2", code), _used(cloud, region, code)
    if used + count * _vcpus(kind) > limit:
        if market == "spot":
            raise AwsError("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")
        raise AwsError(
            "VcpuLimitExceeded",
            f"You have requested more vCPU capacity than your current vCPU limit of {limit:.0f} allows for the instance"
            " bucket that the specified instance type belongs to. Please visit http://aws.amazon.com/contact-us/"
            "ec2-request to request an adjustment to this limit.",
        )


def _code(kind: str, market: str) -> str | None:
    letters = re.match(r"[a-z]+", kind)
    codes = _CLASSES.get(letters[0]) if letters else None
    return None if codes is None or market == "capacity-block" else codes[1 if market == "spot" else 0]


def _vcpus(kind: str) -> int:
    return int(INSTANCE_TYPES.get(kind, {}).get("VCpuInfo", {}).get("DefaultVCpus", 0))


def _existing(region: str, kind: str) -> int:
    return sum(each.instance_type == kind and each.state in _COUNTED for each in backend(region).all_instances())


def _used(cloud: Cloud, region: str, code: str) -> int:
    launched = cloud.store(Ec2State, region).launched
    used = 0
    for each in backend(region).all_instances():
        if each.state in _COUNTED:
            market = launched[each.id].market if each.id in launched else "on-demand"
            used += _vcpus(each.instance_type) if _code(each.instance_type, market) == code else 0
    return used
