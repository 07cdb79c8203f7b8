"""EBS volumes: made, attached to machines as disks, detached. Listing and changing them is moto's."""

from __future__ import annotations

from typing import Any

from infra.local_cloud.aws.cloud import Cloud
from infra.local_cloud.aws.ec2.instances import refresh_states
from infra.local_cloud.aws.ec2.table import OPERATIONS, backend, dry_run, tags_of
from infra.local_cloud.aws.errors import AwsError, NotModelled
from infra.local_cloud.aws.operations import Answer, Call
from infra.local_cloud.machines.api import MachineError

# GiB by type. Source: EC2's user guide, "Amazon EBS volume types"
_SIZES = {"gp2": (1, 16384), "gp3": (1, 65536), "io1": (4, 16384), "io2": (4, 65536), "st1": (125, 16384)}
_ATTACHABLE = ("running", "stopped")
_HONOURED = frozenset(
    [
        "AvailabilityZone",
        "AvailabilityZoneId",
        "Size",
        "VolumeType",
        "Encrypted",
        "KmsKeyId",
        "Iops",
        "Throughput",
        "TagSpecifications",
        "DryRun",
        "ClientToken",
    ]
)


@OPERATIONS.add("CreateVolume")
def create_volume(cloud: Cloud, call: Call) -> Answer:
    params, ec2 = call.params, backend(call.region)
    if unknown := sorted(set(params) - _HONOURED):
        raise NotModelled(f"CreateVolume's {', '.join(unknown)}")
    zone = _zone(ec2, params)
    kind = params.get("VolumeType", "gp2")
    low, high = _SIZES.get(kind, (1, 16384))
    size = int(params.get("Size", 0))
    if not low <= size <= high:
        raise AwsError(
            "InvalidParameterValue", f"Volume of {size}GiB is invalid; volume type {kind} takes {low} to {high} GiB."
        )
    dry_run(params)
    made = ec2.create_volume(
        size=size,
        zone_name=zone,
        encrypted=bool(params.get("Encrypted", False)),
        kms_key_id=params.get("KmsKeyId"),
        volume_type=kind,
        iops=params.get("Iops"),
        throughput=params.get("Throughput"),
    )
    made.add_tags(tags_of(params, "volume"))
    cloud.machines.add_volume(made.id)
    return {
        "VolumeId": made.id,
        "AvailabilityZone": zone,
        "Size": size,
        "State": "creating",
        "VolumeType": kind,
        "Encrypted": made.encrypted,
        "CreateTime": made.create_time,
        "Tags": [{"Key": key, "Value": value} for key, value in tags_of(params, "volume").items()],
        **({"KmsKeyId": made.kms_key_id} if made.encrypted else {}),
    }


def _zone(ec2: Any, params: dict[str, Any]) -> str:
    """The zone's name, from that or its id."""
    name, identity = params.get("AvailabilityZone"), params.get("AvailabilityZoneId")
    if (name is None) == (identity is None):
        raise AwsError(
            "InvalidParameterCombination", "Exactly one of AvailabilityZone and AvailabilityZoneId must be specified"
        )
    for zone in ec2.describe_availability_zones():
        if zone.name == name or zone.zone_id == identity:
            return str(zone.name)
    raise AwsError("InvalidZone.NotFound", f"The zone '{name or identity}' does not exist.")


def _find(ec2: Any, identity: str) -> Any:
    if identity not in ec2.volumes:
        raise AwsError("InvalidVolume.NotFound", f"The volume '{identity}' does not exist.")
    return ec2.volumes[identity]


@OPERATIONS.add("AttachVolume")
def attach_volume(cloud: Cloud, call: Call) -> Answer:
    params, ec2 = call.params, backend(call.region)
    refresh_states(cloud, call)
    volume, (instance,) = _find(ec2, params["VolumeId"]), ec2.get_multi_instances_by_id([params["InstanceId"]])
    if volume.attachment is not None:
        raise AwsError("VolumeInUse", f"{volume.id} is already attached to an instance")
    if volume.zone.name != instance.placement.zone:
        raise AwsError(
            "InvalidVolume.ZoneMismatch",
            f"The volume '{volume.id}' is not in the same availability zone as instance '{instance.id}'",
        )
    if instance.state not in _ATTACHABLE:
        raise AwsError("IncorrectState", f"Instance '{instance.id}' is not 'running'.")
    if params["Device"] in instance.block_device_mapping:
        raise AwsError(
            "InvalidParameterValue",
            f"Invalid value '{params['Device']}' for unixDevice. Attachment point {params['Device']} is already in use",
        )
    dry_run(params)
    attachment = ec2.attach_volume(volume.id, instance.id, params["Device"])
    try:
        cloud.machines.attach_volume(instance.id, volume.id)
    except (MachineError, TimeoutError) as error:
        ec2.detach_volume(volume.id, instance.id, params["Device"])
        raise AwsError("IncorrectState", f"Instance '{instance.id}' is not 'running'. ({error})") from error
    cloud.record("volume attached", volume=volume.id, instance=instance.id)
    return _attachment(attachment, "attaching")


@OPERATIONS.add("DetachVolume")
def detach_volume(cloud: Cloud, call: Call) -> Answer:
    """Take a volume from its instance; one that is mounted there stays `busy` until the instance ends, as on AWS."""
    params, ec2 = call.params, backend(call.region)
    volume = _find(ec2, params["VolumeId"])
    attachment = volume.attachment
    if attachment is None or params.get("InstanceId", attachment.instance.id) != attachment.instance.id:
        raise AwsError("IncorrectState", f"Volume '{volume.id}' is in the 'available' state.")
    dry_run(params)
    instance = attachment.instance
    if instance.state in _ATTACHABLE and not cloud.machines.detach_volume(instance.id, volume.id):
        attachment.status = "busy"
        return _attachment(attachment, "busy")
    return _attachment(ec2.detach_volume(volume.id, instance.id, attachment.device), "detaching")


def _attachment(attachment: Any, state: str) -> dict[str, Any]:
    return {
        "VolumeId": attachment.volume.id,
        "InstanceId": attachment.instance.id,
        "Device": attachment.device,
        "State": state,
        "AttachTime": attachment.attach_time,
    }


@OPERATIONS.add("DeleteVolume")
def delete_volume(cloud: Cloud, call: Call) -> Answer:
    ec2 = backend(call.region)
    volume = _find(ec2, call.params["VolumeId"])
    if volume.attachment is not None:
        raise AwsError("VolumeInUse", f"Volume {volume.id} is currently attached to {volume.attachment.instance.id}")
    dry_run(call.params)
    ec2.delete_volume(volume.id)
    ec2.tags.pop(volume.id, None)
    cloud.machines.remove_volume(volume.id)
    return {}


def refuse_shrinking(cloud: Cloud, call: Call) -> None:
    """Before ModifyVolume: a volume only grows."""
    volume, size = _find(backend(call.region), call.params["VolumeId"]), call.params.get("Size")
    if size is not None and int(size) < volume.size:
        raise AwsError("InvalidParameterValue", "New size cannot be smaller than existing size")
