"""Launch templates, placement groups, network interfaces, instances and volumes."""

from __future__ import annotations

import base64
import time
from typing import Any

from botocore.exceptions import ClientError

from infra.local_cloud.aws.cloudformation.registry import Context, Made, Properties, Registry
from infra.local_cloud.aws.cloudformation.resources.ec2_network import only_tags, pick, retag, tag_specs
from infra.local_cloud.aws.errors import AwsError

DELETE_SECONDS = 60.0
_SLEEP = 0.1


# ---- launch templates


def _create_template(context: Context, properties: Properties) -> Made:
    specs = [spec for spec in properties.get("TagSpecifications", []) if spec.get("ResourceType") == "launch-template"]
    found = context.client("ec2").create_launch_template(
        LaunchTemplateName=properties.get("LaunchTemplateName") or context.name(limit=125),
        LaunchTemplateData=properties["LaunchTemplateData"],
        **pick(properties, "VersionDescription"),
        **({"TagSpecifications": specs} if specs else {}),
    )["LaunchTemplate"]
    return Made(found["LaunchTemplateId"], _versions(found["LaunchTemplateId"], 1))


def _versions(identity: str, latest: int) -> dict[str, str]:
    return {"LaunchTemplateId": identity, "LatestVersionNumber": str(latest), "DefaultVersionNumber": "1"}


def _update_template(context: Context, made: Made, old: Properties, new: Properties) -> Made:
    if old.get("LaunchTemplateData") == new.get("LaunchTemplateData"):
        return made
    version = context.client("ec2").create_launch_template_version(
        LaunchTemplateId=made.physical_id,
        LaunchTemplateData=new["LaunchTemplateData"],
        **pick(new, "VersionDescription"),
    )["LaunchTemplateVersion"]
    return Made(made.physical_id, _versions(made.physical_id, version["VersionNumber"]))


def _delete_template(context: Context, made: Made, properties: Properties) -> None:
    context.client("ec2").delete_launch_template(LaunchTemplateId=made.physical_id)


# ---- placement groups


def _create_placement(context: Context, properties: Properties) -> Made:
    name = context.name(limit=255)
    context.client("ec2").create_placement_group(
        GroupName=name,
        **pick(properties, "Strategy PartitionCount SpreadLevel"),
        **tag_specs(context, "placement-group", properties),
    )
    return Made(name, {"GroupName": name})


def _delete_placement(context: Context, made: Made, properties: Properties) -> None:
    context.client("ec2").delete_placement_group(GroupName=made.physical_id)


# ---- network interfaces


def _create_interface(context: Context, properties: Properties) -> Made:
    groups = {"Groups": properties["GroupSet"]} if "GroupSet" in properties else {}
    found = context.client("ec2").create_network_interface(
        **pick(properties, "SubnetId PrivateIpAddress Description InterfaceType"),
        **groups,
        **tag_specs(context, "network-interface", properties),
    )["NetworkInterface"]
    return Made(
        found["NetworkInterfaceId"],
        {
            "Id": found["NetworkInterfaceId"],
            "PrimaryPrivateIpAddress": found["PrivateIpAddress"],
            "VpcId": found["VpcId"],
        },
    )


def _delete_interface(context: Context, made: Made, properties: Properties) -> None:
    context.client("ec2").delete_network_interface(NetworkInterfaceId=made.physical_id)


# ---- instances

_RUN = (
    "ImageId InstanceType SecurityGroupIds SubnetId PrivateIpAddress UserData NetworkInterfaces BlockDeviceMappings"
    " EbsOptimized InstanceInitiatedShutdownBehavior MetadataOptions"
)
_INTERFACE_NAMES = {"GroupSet": "Groups"}


def _run(properties: Properties, name: str) -> dict[str, Any]:
    request = pick(properties, _RUN)
    if "NetworkInterfaces" in request:
        request["NetworkInterfaces"] = [
            {
                _INTERFACE_NAMES.get(key, key): int(value) if key == "DeviceIndex" else value
                for key, value in item.items()
            }
            for item in request["NetworkInterfaces"]
        ]
    if "UserData" in request:  # base64 in the template; botocore encodes what it is given
        request["UserData"] = base64.b64decode(request["UserData"])
    if "LaunchTemplate" in properties:
        request["LaunchTemplate"] = properties["LaunchTemplate"]
    if "IamInstanceProfile" in properties:
        request["IamInstanceProfile"] = {"Name": properties["IamInstanceProfile"]}
    if "Monitoring" in properties:
        request["Monitoring"] = {"Enabled": properties["Monitoring"]}
    if "PlacementGroupName" in properties:
        request["Placement"] = {"GroupName": properties["PlacementGroupName"]}
    if "DisableApiTermination" in properties:
        request["DisableApiTermination"] = properties["DisableApiTermination"]
    return request


def _create_instance(context: Context, properties: Properties) -> Made:
    found = context.client("ec2").run_instances(
        MinCount=1, MaxCount=1, **_run(properties, context.logical_id), **tag_specs(context, "instance", properties)
    )["Instances"][0]
    context.exists(found["InstanceId"])
    _wait_for_state(context, found["InstanceId"], "running")
    return Made(
        found["InstanceId"],
        {
            "InstanceId": found["InstanceId"],
            "PrivateIp": found["PrivateIpAddress"],
            "PrivateDnsName": found["PrivateDnsName"],
            "AvailabilityZone": found["Placement"]["AvailabilityZone"],
            "PublicIp": "",
            "PublicDnsName": "",
            "VpcId": found["VpcId"],
        },
    )


def _wait_for_state(context: Context, identity: str, wanted: str) -> None:
    """CloudFormation reports an instance complete once it runs, and deleted once it is terminated."""
    deadline = time.monotonic() + DELETE_SECONDS
    while True:
        instance = _look(context, identity)
        name = instance["State"]["Name"]
        if name == wanted:
            return
        if name in ("stopped", "terminated") or time.monotonic() > deadline:
            reason = instance.get("StateReason", {}).get("Message", "")
            raise AwsError("NotStabilized", f"Instance {identity} is {name}, not {wanted}. {reason}")
        time.sleep(_SLEEP)


def _look(context: Context, identity: str) -> dict[str, Any]:
    """An instance as EC2 describes it; pending while EC2 does not know it yet."""
    try:
        found = context.client("ec2").describe_instances(InstanceIds=[identity])
    except ClientError as error:
        if error.response["Error"]["Code"] != "InvalidInstanceID.NotFound":
            raise
        return {"State": {"Name": "pending"}}
    return dict(found["Reservations"][0]["Instances"][0])


def _update_instance(context: Context, made: Made, old: Properties, new: Properties) -> Made:
    """Another type is a stop and a start of the same instance: its root volume, as all here, is EBS."""
    done = only_tags(context, made, {**old, "InstanceType": new.get("InstanceType")}, new)
    if old.get("InstanceType") != new.get("InstanceType"):
        ec2, identity = context.client("ec2"), made.physical_id
        ec2.stop_instances(InstanceIds=[identity])
        _wait_for_state(context, identity, "stopped")
        ec2.modify_instance_attribute(InstanceId=identity, InstanceType={"Value": new["InstanceType"]})
        ec2.start_instances(InstanceIds=[identity])
        _wait_for_state(context, identity, "running")
    return done


def _delete_instance(context: Context, made: Made, properties: Properties) -> None:
    context.client("ec2").terminate_instances(InstanceIds=[made.physical_id])
    _wait_for_state(context, made.physical_id, "terminated")


# ---- volumes


def _create_volume(context: Context, properties: Properties) -> Made:
    found = context.client("ec2").create_volume(
        **pick(properties, "AvailabilityZone AvailabilityZoneId Size VolumeType Encrypted KmsKeyId Iops Throughput"),
        **tag_specs(context, "volume", properties),
    )
    return Made(found["VolumeId"], {"VolumeId": found["VolumeId"]})


def _update_volume(context: Context, made: Made, old: Properties, new: Properties) -> Made:
    ec2 = context.client("ec2")
    in_place = ("Size", "VolumeType", "Iops", "Throughput")
    sizes = {key: new[key] for key in in_place if new.get(key) != old.get(key) and key in new}
    if changed := {key for key in {*old, *new} if old.get(key) != new.get(key)} - {*in_place, "Tags"}:
        raise AwsError("UnsupportedOperation", f"Updates of a volume's {', '.join(sorted(changed))} are not supported")
    if sizes:
        ec2.modify_volume(VolumeId=made.physical_id, **sizes)
    retag(context, made.physical_id, old, new)
    return made


def _delete_volume(context: Context, made: Made, properties: Properties) -> None:
    context.client("ec2").delete_volume(VolumeId=made.physical_id)


def _attach_volume(context: Context, properties: Properties) -> Made:
    context.client("ec2").attach_volume(**pick(properties, "VolumeId InstanceId Device"))
    return Made(f"{properties['VolumeId']}|{properties['InstanceId']}")


def _detach_volume(context: Context, made: Made, properties: Properties) -> None:
    context.client("ec2").detach_volume(**pick(properties, "VolumeId InstanceId Device"))


def register(registry: Registry) -> None:
    """Add this file's types."""
    add = registry.add
    add(
        "AWS::EC2::LaunchTemplate",
        "LaunchTemplateName LaunchTemplateData VersionDescription TagSpecifications",
        create=_create_template,
        delete=_delete_template,
        update=_update_template,
    )
    add(
        "AWS::EC2::PlacementGroup",
        "Strategy PartitionCount SpreadLevel Tags",
        create=_create_placement,
        delete=_delete_placement,
    )
    add(
        "AWS::EC2::NetworkInterface",
        "SubnetId PrivateIpAddress Description InterfaceType GroupSet Tags",
        create=_create_interface,
        delete=_delete_interface,
        update=only_tags,
    )
    add(
        "AWS::EC2::Instance",
        _RUN + " LaunchTemplate IamInstanceProfile Monitoring PlacementGroupName DisableApiTermination Tags",
        create=_create_instance,
        delete=_delete_instance,
        update=_update_instance,
    )
    add(
        "AWS::EC2::Volume",
        "AvailabilityZone AvailabilityZoneId Size VolumeType Encrypted KmsKeyId Iops Throughput Tags",
        create=_create_volume,
        delete=_delete_volume,
        update=_update_volume,
    )
    add("AWS::EC2::VolumeAttachment", "VolumeId InstanceId Device", create=_attach_volume, delete=_detach_volume)
