"""EC2's questions: RunInstances asks for each resource that it uses or makes, for the role that it gives away, for the
tags and for the key of the volumes. Source: Service Authorization Reference, Amazon EC2; EC2's guide on encryption.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from moto.iam.models import iam_backends

from infra.local_cloud.aws.cloud import ACCOUNT, PARTITION, Cloud
from infra.local_cloud.aws.ec2 import launch, templates
from infra.local_cloud.aws.ec2.table import backend, tags_of
from infra.local_cloud.aws.iam.policy import Question
from infra.local_cloud.aws.operations import Call

# What EC2 does with a customer's key in the launcher's name, from a snapshot that is not encrypted itself
VOLUME_KEY = ("kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext")
_KINDS = {
    "i": "instance",
    "vol": "volume",
    "eni": "network-interface",
    "subnet": "subnet",
    "sg": "security-group",
    "lt": "launch-template",
    "vpc": "vpc",
}
_ON_INSTANCES = frozenset(
    ["TerminateInstances", "StopInstances", "StartInstances", "RebootInstances", "ModifyInstanceAttribute"]
)
Values = dict[str, tuple[str, ...]]


def key_arn(cloud: Cloud, region: str, key: str) -> str:
    """A key's ARN, from that or its id."""
    return key if key.startswith("arn:") else cloud.arn("kms", region, f"key/{key}")


def pass_role(role: str, *, to: str) -> Question:
    """Whether the caller may give a role to a service."""
    return Question("iam:PassRole", role, {"iam:passedtoservice": (to,)})


def questions(cloud: Cloud, call: Call) -> Iterator[Question]:
    """What a request to EC2 asks."""
    if call.operation == "RunInstances":
        yield from _run_instances(cloud, call)
    elif call.operation in _ON_INSTANCES:
        for identity in call.params.get("InstanceIds") or [call.params["InstanceId"]]:
            yield _on(cloud, call, f"ec2:{call.operation}", identity, {})
    elif call.operation in ("CreateTags", "DeleteTags"):
        asked = _request_tags({tag["Key"]: tag.get("Value", "") for tag in call.params.get("Tags", [])})
        for identity in call.params["Resources"]:
            yield _on(cloud, call, f"ec2:{call.operation}", identity, asked)
    elif call.operation in ("AttachVolume", "DetachVolume"):
        yield from _volume_of(cloud, call)
    else:
        yield from _other(cloud, call)


def _volume_of(cloud: Cloud, call: Call) -> Iterator[Question]:
    """A volume and the instance that gets or loses it; the key of an encrypted one is lent to the instance."""
    action, volume = f"ec2:{call.operation}", call.params["VolumeId"]
    for identity in (volume, call.params.get("InstanceId")):
        if identity:
            yield _on(cloud, call, action, identity, {})
    known = backend(call.region).volumes.get(volume)
    if call.operation == "AttachVolume" and known is not None and known.encrypted and known.kms_key_id:
        key = key_arn(cloud, call.region, known.kms_key_id)
        for name in ("kms:CreateGrant", "kms:Decrypt"):
            yield Question(name, key, {"kms:viaservice": (f"ec2.{call.region}.amazonaws.com",)})


def tags_on(region: str, identity: str) -> Mapping[str, str]:
    """The tags of something in EC2; none when it is not there."""
    found: Mapping[str, str] = backend(region).tags.get(identity, {})
    return found


def _other(cloud: Cloud, call: Call) -> Iterator[Question]:
    """An operation that is asked for on all resources, with the tags that it gives."""
    specifications = call.params.get("TagSpecifications") or []
    given = [(each["ResourceType"], tags_of(call.params, each["ResourceType"])) for each in specifications]
    yield Question(f"ec2:{call.operation}", "*", _request_tags({k: v for _, tags in given for k, v in tags.items()}))
    for kind, tags in given:
        if tags:
            context = {**_request_tags(tags), "ec2:createaction": (call.operation,)}
            yield Question("ec2:CreateTags", cloud.arn("ec2", call.region, f"{kind}/*"), context)
    if call.operation == "CreateVolume" and _encrypted(call.params):
        key = key_arn(cloud, call.region, call.params["KmsKeyId"])
        for action in ("kms:CreateGrant", "kms:GenerateDataKeyWithoutPlaintext"):
            yield Question(action, key, {"kms:viaservice": (f"ec2.{call.region}.amazonaws.com",)})
    if role := call.params.get("DeliverLogsPermissionArn"):
        yield pass_role(role, to="vpc-flow-logs.amazonaws.com")


def _on(cloud: Cloud, call: Call, action: str, identity: str, context: Values) -> Question:
    """An action on something that is there, with its tags."""
    kind = _KINDS.get(identity.partition("-")[0], "*")
    return Question(
        action,
        cloud.arn("ec2", call.region, f"{kind}/{identity}"),
        {**context, **_resource_tags(tags_on(call.region, identity))},
    )


def _resource_tags(tags: Mapping[str, str]) -> Values:
    return {f"{of}:resourcetag/{key.lower()}": (value,) for key, value in tags.items() for of in ("aws", "ec2")}


def _request_tags(tags: Mapping[str, str]) -> Values:
    if not tags:
        return {}
    found: Values = {f"aws:requesttag/{key.lower()}": (value,) for key, value in tags.items()}
    return {**found, "aws:tagkeys": tuple(tags)}


def _run_instances(cloud: Cloud, call: Call) -> Iterator[Question]:
    version = templates.find_version(backend(call.region), call.params.get("LaunchTemplate"))
    data = launch.effective(call.params, version.data if version else None)
    common: Values = {}
    if version is not None:
        common = {"ec2:launchtemplate": (cloud.arn("ec2", call.region, f"launch-template/{version.template.id}"),)}
    for kind in ("instance", "volume", "network-interface"):
        tags = tags_of(data, kind)
        if kind != "volume" or _volumes(data):
            yield Question(
                "ec2:RunInstances", cloud.arn("ec2", call.region, f"{kind}/*"), {**common, **_request_tags(tags)}
            )
    yield from _used(cloud, call, data, common, version)
    for kind in ("instance", "volume", "network-interface"):
        if tags := tags_of(data, kind):
            context = {**common, **_request_tags(tags), "ec2:createaction": ("RunInstances",)}
            yield Question("ec2:CreateTags", cloud.arn("ec2", call.region, f"{kind}/*"), context)
    yield from _given(cloud, call, data)


def _used(cloud: Cloud, call: Call, data: Mapping[str, Any], common: Values, version: Any) -> Iterator[Question]:
    """What there is already and a launch uses."""
    interfaces = data.get("NetworkInterfaces") or []
    ids = {each["SubnetId"] for each in interfaces if each.get("SubnetId")}
    ids |= {group for each in interfaces for group in each.get("Groups") or []}
    ids |= {each["NetworkInterfaceId"] for each in interfaces if each.get("NetworkInterfaceId")}
    ids |= {data["SubnetId"]} if data.get("SubnetId") else set()
    ids |= set(data.get("SecurityGroupIds") or [])
    ids |= {version.template.id} if version is not None else set()
    for identity in sorted(ids):
        yield _on(cloud, call, "ec2:RunInstances", identity, common)
    image = f"arn:{PARTITION}:ec2:{call.region}::image/{data['ImageId']}"
    yield Question("ec2:RunInstances", image, common)
    if group := (data.get("Placement") or {}).get("GroupName"):
        yield Question("ec2:RunInstances", cloud.arn("ec2", call.region, f"placement-group/{group}"), common)
    target = (data.get("CapacityReservationSpecification") or {}).get("CapacityReservationTarget") or {}
    if reservation := target.get("CapacityReservationId"):
        arn = cloud.arn("ec2", call.region, f"capacity-reservation/{reservation}")
        yield Question("ec2:RunInstances", arn, common)


def _given(cloud: Cloud, call: Call, data: Mapping[str, Any]) -> Iterator[Question]:
    """The role and the key that a launch hands to EC2."""
    wanted = data.get("IamInstanceProfile") or {}
    for role in _roles(wanted):
        yield pass_role(role, to="ec2.amazonaws.com")
    for key in sorted({key_arn(cloud, call.region, each["KmsKeyId"]) for each in _volumes(data) if _encrypted(each)}):
        for action in VOLUME_KEY:
            yield Question(action, key, {"kms:viaservice": (f"ec2.{call.region}.amazonaws.com",)})


def _roles(wanted: Mapping[str, Any]) -> list[str]:
    profiles: Any = iam_backends[ACCOUNT][PARTITION].instance_profiles.values()
    return [
        str(role.arn)
        for profile in profiles
        if wanted and (profile.arn == wanted.get("Arn") or profile.name == wanted.get("Name"))
        for role in profile.roles
    ]


def _volumes(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [each["Ebs"] for each in data.get("BlockDeviceMappings") or [] if each.get("Ebs")]


def _encrypted(volume: Mapping[str, Any]) -> bool:
    return bool(volume.get("Encrypted")) and "alias/aws/" not in (volume.get("KmsKeyId") or "alias/aws/")
