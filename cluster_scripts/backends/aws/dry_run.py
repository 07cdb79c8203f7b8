"""EC2's judgement of each launch that a cluster will make, with DryRun: nothing is launched, nothing is paid.

A deployed cluster is asked with its own launch templates. Before that the same parameters are sent without a template,
in the given subnets or in the default subnet of the zone. EC2 need not look for free capacity in a dry run: only a
launch shows that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from cluster_scripts.backends.aws.asking import Answer, asked, fails, passes, unknown
from cluster_scripts.backends.aws.errors import PERMISSION, THROTTLING, code_of
from cluster_scripts.backends.aws.facts import load_facts
from cluster_scripts.backends.aws.session import Aws
from cluster_scripts.jobs.errors import DureError
from infra.config.catalog import find
from infra.config.facts import Facts
from infra.config.interfaces import layout
from infra.config.schema import ClusterFile, Queue

RULE = "live-dry-run"
WOULD_WORK = "DryRunOperation"
_TYPE = "take another type or zone; `dure check` says where the type is offered"
_ROOM = "take other zones, fallback_types, a reservation or a Capacity Block, or try again later"
_QUOTA = "ask for more: `dure check --live` names the quota and the command under quotas"
_WORDS = "read AWS's words; a rule or the catalog may be out of date"
# What each refusal really means, and what to do. Source: EC2 API Reference, Error codes
CAUSES: Mapping[str, tuple[str, str]] = {
    "UnauthorizedOperation": (
        "you may not launch this",
        "allow ec2:RunInstances and iam:PassRole; `aws sts decode-authorization-message` reads what AWS encoded",
    ),
    "VcpuLimitExceeded": ("the vCPU quota is too small", _QUOTA),
    "InstanceLimitExceeded": ("the quota of instances is too small", _QUOTA),
    "MaxSpotInstanceCountExceeded": ("the spot quota is too small", _QUOTA),
    "Unsupported": ("the type is not to be had there in this way", _TYPE),
    "UnsupportedOperation": ("EC2 does not do this with the type", _TYPE),
    "InsufficientInstanceCapacity": ("EC2 has no free machines of the type there now", _ROOM),
    "InsufficientHostCapacity": ("EC2 has no free hosts there now", _ROOM),
    "InsufficientReservedInstanceCapacity": ("the reservation has no free machines", _ROOM),
    "ReservationCapacityExceeded": ("the reservation has no free machines", _ROOM),
    "InsufficientFreeAddressesInSubnet": ("the subnet has too few addresses", "give the zone a larger subnet"),
    "SpotMaxPriceTooLow": ("the spot price is above the limit", "take on-demand, another type or another zone"),
    "OptInRequired": ("the account has not subscribed to this image or service", "open the address in AWS's words"),
    "PendingVerification": ("AWS is still verifying the account in this region", "wait for its mail, then try again"),
    "Blocked": ("AWS has blocked the account", "write to AWS Support"),
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted": (
        "the role of the spot service is missing, and you may not make it",
        "once an account: aws iam create-service-linked-role --aws-service-name spot.amazonaws.com",
    ),
}
# Families of codes that share a cause: the part before the first dot
_FAMILIES: Mapping[str, tuple[str, str]] = {
    "InvalidParameter": (
        "EC2 does not take a parameter",
        _WORDS,
    ),
    "InvalidParameterValue": (
        "EC2 does not take a value",
        _WORDS,
    ),
    "InvalidParameterCombination": ("EC2 does not take these together", _WORDS),
    "InvalidAMIID": ("EC2 does not see the image", "name an image of this region under image"),
    "InvalidSubnetID": ("EC2 does not see the subnet", "correct network.subnets"),
    "InvalidGroup": ("EC2 does not see the security group", "deploy again"),
    "InvalidPlacementGroup": ("EC2 does not see the placement group", "deploy again"),
    "InvalidLaunchTemplateId": ("the launch template is gone", "deploy again"),
    "InvalidCapacityReservationId": ("EC2 does not see the reservation", "correct capacity_reservation_id"),
    "InvalidCapacityReservationState": ("the reservation is not active", "wait until it begins, or take another"),
}


def launches(aws: Aws, cluster: ClusterFile) -> Iterator[Answer]:
    """One answer for each queue, type and zone, in the order in which they are tried."""
    facts = _facts(aws, cluster.name)
    image: str | None = None
    if facts is None:
        answers, image = _image(aws, cluster)
        yield from answers
    for queue in cluster.queues:
        for name in (queue.instance_type, *queue.fallback_types):
            for zone in cluster.queue_zones(queue):
                what = f"queue {queue.name}: {queue.max} x {name} in {zone}"
                find_out = partial(
                    _try, aws, cluster, queue=queue, type_name=name, zone=zone, what=what, facts=facts, image=image
                )
                yield from asked(RULE, what, find_out, permission="ec2:DescribeSubnets")


def image_id(aws: Aws, cluster: ClusterFile) -> str:
    """The id of the file's image. Errors: botocore's, of reading the parameter."""
    image = cluster.image
    if image.ami is not None:
        return image.ami
    return str(aws.ssm.get_parameter(Name=str(image.ssm_parameter))["Parameter"].get("Value", ""))


def _facts(aws: Aws, name: str) -> Facts | None:
    """The facts of the deployed cluster, if there is one that can be read."""
    try:
        return load_facts(aws, name)
    except DureError:
        return None  # there is none, or none that can be read: then the same is asked without its templates


def _image(aws: Aws, cluster: ClusterFile) -> tuple[list[Answer], str | None]:
    found: list[str] = []

    def look() -> Iterator[Answer]:
        found.append(image_id(aws, cluster))
        yield from ()

    answers = list(asked(RULE, "image", look, permission="ssm:GetParameter"))
    return answers, found[0] if found else None


def _try(
    aws: Aws,
    cluster: ClusterFile,
    *,
    queue: Queue,
    type_name: str,
    zone: str,
    what: str,
    facts: Facts | None,
    image: str | None,
) -> Iterator[Answer]:
    request = _from_template(facts, queue, zone) if facts is not None else None
    how = "with its launch template"
    if request is None:
        how = "with equal parameters, as nothing is deployed"
        subnet = _subnet(aws, cluster, facts, zone)
        if image is None and facts is not None:
            image = _image(aws, cluster)[1]
        if subnet is None or image is None:
            lacks = f"no subnet in {zone}" if subnet is None else "no image"
            yield unknown(RULE, what, f"{lacks} to ask with: EC2 judges a launch only within one", "deploy, then again")
            return
        request = plain_request(cluster, queue, type_name=type_name, subnet=subnet, image=image)
    request |= {"InstanceType": type_name, "MinCount": queue.max, "MaxCount": queue.max, "DryRun": True}
    try:
        aws.ec2.run_instances(**request)
    except ClientError as error:
        yield judge(what, code_of(error), str(error.response.get("Error", {}).get("Message", "")), how=how)
        return
    raise AssertionError("RunInstances with DryRun has returned without an error: AWS always answers with one")


def judge(what: str, code: str, words: str, *, how: str) -> Answer:
    """What an answer to a dry run means. Pure."""
    if code == WOULD_WORK:
        return passes(RULE, what, f"EC2 would launch it, {how}")
    if code in THROTTLING:
        return unknown(RULE, what, f"AWS limits the request rate ({code})", "wait a minute, then try again")
    cause, fix = CAUSES.get(code) or _FAMILIES.get(code.partition(".")[0]) or ("EC2 refuses", "read AWS's words")
    if code in PERMISSION and code not in CAUSES:
        cause, fix = CAUSES["UnauthorizedOperation"]
    return fails(RULE, what, f"{cause} ({code}: {_short(words)})", fix)


def _short(words: str) -> str:
    """AWS's words without the encoded message, which is some thousand characters long."""
    return words.partition("Encoded authorization failure message")[0].strip()[:400] or "no message"


def _from_template(facts: Facts, queue: Queue, zone: str) -> dict[str, Any] | None:
    """The launch that the head makes, if the deployed cluster has this queue in this zone."""
    for known in facts.queues:
        for template in known.launch_templates:
            if known.name == queue.name and known.efa == queue.efa and template.zone_id == zone:
                tags = {"dure:cluster": facts.name, "dure:role": "compute", "dure:queue": queue.name}
                return {
                    "LaunchTemplate": {"LaunchTemplateId": template.launch_template_id, "Version": template.version},
                    "TagSpecifications": [
                        {"ResourceType": "instance", "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}
                    ],
                }
    return None


def _subnet(aws: Aws, cluster: ClusterFile, facts: Facts | None, zone: str) -> str | None:
    """A subnet of the zone: the cluster's own, the given one, or the account's default one."""
    templates = [each for queue in facts.queues for each in queue.launch_templates] if facts else []
    for template in templates:
        if template.zone_id == zone:
            return template.subnet_id
    if zone in cluster.network.subnets:
        return cluster.network.subnets[zone]
    filters: Any = [
        {"Name": "default-for-az", "Values": ["true"]},
        {"Name": "availability-zone-id", "Values": [zone]},
    ]
    found = aws.ec2.describe_subnets(Filters=filters)["Subnets"]
    return found[0]["SubnetId"] if found else None


def plain_request(cluster: ClusterFile, queue: Queue, *, type_name: str, subnet: str, image: str) -> dict[str, Any]:
    """What the queue's launch template would hold, but for what only a deployment makes (groups, role, key). Pure."""
    known = find(type_name)
    interfaces = layout(known, efa=queue.efa) if known is not None else ()
    request: dict[str, Any] = {
        "ImageId": image,
        "NetworkInterfaces": [
            {
                "NetworkCardIndex": each.card,
                "DeviceIndex": each.device,
                "InterfaceType": each.kind,
                "SubnetId": subnet,
                "DeleteOnTermination": True,
            }
            for each in interfaces
        ],
        "MetadataOptions": {"HttpTokens": "required", "HttpEndpoint": "enabled", "HttpPutResponseHopLimit": 1},
        "BlockDeviceMappings": [
            {
                "DeviceName": cluster.image.root_device,
                "Ebs": {"VolumeType": "gp3", "VolumeSize": queue.root_volume_gib, "Encrypted": True},
            }
        ],
        "InstanceInitiatedShutdownBehavior": "terminate",
    }
    if queue.market in ("spot", "capacity-block"):
        request["InstanceMarketOptions"] = {"MarketType": queue.market}
    if queue.capacity_reservation_id is not None:
        target = {"CapacityReservationId": queue.capacity_reservation_id}
        request["CapacityReservationSpecification"] = {"CapacityReservationTarget": target}
    return request
