"""From a RunInstances request and its launch template to one description of what to launch. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.local_cloud.aws.errors import AwsError

# What of a request, or of launch template data, we carry out or record. Anything else is refused, not dropped.
HONOURED = frozenset(
    [
        "BlockDeviceMappings",
        "CapacityReservationSpecification",
        "ClientToken",
        "CpuOptions",
        "CreditSpecification",
        "DisableApiTermination",
        "DryRun",
        "EbsOptimized",
        "IamInstanceProfile",
        "ImageId",
        "InstanceInitiatedShutdownBehavior",
        "InstanceMarketOptions",
        "InstanceType",
        "LaunchTemplate",
        "MaintenanceOptions",
        "MaxCount",
        "MetadataOptions",
        "MinCount",
        "Monitoring",
        "NetworkInterfaces",
        "Placement",
        "PrivateDnsNameOptions",
        "PrivateIpAddress",
        "SecurityGroupIds",
        "SubnetId",
        "TagSpecifications",
        "UserData",
        "EnclaveOptions",
    ]
)
_MERGED = ("MetadataOptions", "Placement")


def effective(request: Mapping[str, Any], template: Mapping[str, Any] | None) -> dict[str, Any]:
    """What is to be launched: the template's data, overridden by the request, as EC2 combines them.

    Raises InvalidParameterCombination for what EC2 refuses, NotImplemented for what the local cloud ignores.
    """
    data: dict[str, Any] = dict(template or {})
    for key, value in request.items():
        if key in _MERGED and isinstance(data.get(key), Mapping):
            data[key] = {**data[key], **value}
        elif key == "TagSpecifications":
            data[key] = _merge_tags(data.get(key, []), value)
        elif key == "NetworkInterfaces":
            data[key] = _merge_interfaces(data.get(key, []), value)
        else:
            data[key] = value
    if unknown := sorted(set(data) - HONOURED):
        raise AwsError(
            "NotImplemented",
            f"RunInstances: the local cloud does not model {', '.join(unknown)} (EC2 does)",
            status=501,
        )
    _check(data)
    return data


def _check(data: Mapping[str, Any]) -> None:
    interfaces = data.get("NetworkInterfaces") or []
    if not data.get("ImageId"):
        raise AwsError("MissingParameter", "The request must contain the parameter ImageId")
    if interfaces and data.get("SubnetId"):
        raise AwsError(
            "InvalidParameterCombination",
            "Network interfaces and an instance-level subnet ID may not be specified on the same request",
        )
    if interfaces and data.get("SecurityGroupIds"):
        raise AwsError(
            "InvalidParameterCombination",
            "Network interfaces and an instance-level security groups may not be specified on the same request",
        )
    low, high = int(data.get("MinCount", 1)), int(data.get("MaxCount", 1))
    if not 1 <= low <= high:
        raise AwsError("InvalidParameterValue", f"Invalid value for instance counts: MinCount {low}, MaxCount {high}")
    places: set[tuple[int, int]] = set()
    for spec in interfaces:
        place = (int(spec.get("NetworkCardIndex", 0)), int(spec.get("DeviceIndex", 0)))
        if place in places:
            raise AwsError(
                "InvalidParameterValue", f"Two network interfaces at card {place[0]}, device index {place[1]}"
            )
        places.add(place)
    if interfaces and (0, 0) not in places:
        raise AwsError(
            "InvalidParameterCombination", "The primary network interface (card 0, device index 0) is missing"
        )
    if (
        len(interfaces) > 1
        and (any(s.get("NetworkInterfaceId") for s in interfaces) or high > 1)
        and any(spec.get("AssociatePublicIpAddress") for spec in interfaces)
    ):
        raise AwsError("InvalidParameterCombination", "A public address needs a single network interface")
    if high > 1 and any(spec.get("NetworkInterfaceId") or spec.get("PrivateIpAddress") for spec in interfaces):
        raise AwsError(
            "InvalidParameterCombination", "An existing interface or a fixed address allows one instance only"
        )


def _merge_tags(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kinds: dict[str, dict[str, str]] = {}
    for spec in [*old, *new]:
        tags = kinds.setdefault(spec["ResourceType"], {})
        tags.update({tag["Key"]: tag.get("Value", "") for tag in spec.get("Tags", [])})
    return [
        {"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
        for kind, tags in kinds.items()
    ]


def _merge_interfaces(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    def place(spec: Mapping[str, Any]) -> tuple[int, int]:
        return int(spec.get("NetworkCardIndex", 0)), int(spec.get("DeviceIndex", 0))

    merged = {place(spec): dict(spec) for spec in old}
    for spec in new:
        merged[place(spec)] = {**merged.get(place(spec), {}), **spec}
    return [merged[key] for key in sorted(merged)]


def interfaces_of(data: Mapping[str, Any], *, default_subnet: str | None) -> list[dict[str, Any]]:
    """The interfaces to make, primary first; one is made up where the request names none."""
    specs = sorted(
        (dict(spec) for spec in data.get("NetworkInterfaces") or []),
        key=lambda spec: (int(spec.get("NetworkCardIndex", 0)), int(spec.get("DeviceIndex", 0))),
    )
    if not specs:
        specs = [{"DeviceIndex": 0, "Groups": data.get("SecurityGroupIds", [])}]
        if data.get("PrivateIpAddress"):
            specs[0]["PrivateIpAddress"] = data["PrivateIpAddress"]
        if data.get("SubnetId"):
            specs[0]["SubnetId"] = data["SubnetId"]
    for spec in specs:
        if not spec.get("NetworkInterfaceId") and not spec.get("SubnetId"):
            if default_subnet is None:
                raise AwsError("MissingInput", "No subnets found for the default VPC. Please specify a subnet.")
            spec["SubnetId"] = default_subnet
    return specs
