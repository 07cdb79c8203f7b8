"""The instance metadata tree of one instance, as 169.254.169.254 serves it under /latest/."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from infra.local_cloud.aws.cloud import Cloud
from infra.local_cloud.aws.ec2.table import Ec2State, Launched, backend
from infra.local_cloud.aws.iam.trust import trusts

CREDENTIAL_SECONDS = 6 * 3600
RENEW_SECONDS = 3600  # EC2 shows fresh credentials well before the old ones end


def tree(cloud: Cloud, region: str, instance: Any) -> Mapping[str, str | bytes]:
    """The whole tree, evaluated now. Keys have no leading slash."""
    launched = cloud.store(Ec2State, region).launched[instance.id]
    meta = {
        "ami-id": instance.image_id,
        "ami-launch-index": str(instance.ami_launch_index),
        "hostname": instance.private_dns_name,
        "instance-action": "none",
        "instance-id": instance.id,
        "instance-life-cycle": "spot" if launched.market == "spot" else "on-demand",
        "instance-type": instance.instance_type,
        "local-hostname": instance.private_dns_name,
        "local-ipv4": instance.private_ip,
        "mac": instance.nics[0].mac_address,
        "placement/availability-zone": instance.placement.zone,
        "placement/availability-zone-id": backend(region).get_subnet(instance.subnet_id).availability_zone_id,
        "placement/region": region,
        "services/domain": "amazonaws.com",
        "services/partition": "aws",
        "security-groups": "\n".join(sorted(group.name for group in instance.nics[0].group_set)),
        **_interfaces(region, instance),
        **_role(cloud, region, instance, launched),
    }
    if instance.placement.group_name:
        meta["placement/group-name"] = instance.placement.group_name
    if instance.metadata_options.instance_metadata_tags == "enabled":
        tags = {tag["key"]: tag["value"] for tag in instance.get_tags()}
        meta |= {f"tags/instance/{key}": value for key, value in tags.items() if not key.startswith("aws:")}
    found: dict[str, str | bytes] = {f"meta-data/{key}": value for key, value in meta.items()}
    found["dynamic/instance-identity/document"] = _identity(region, instance)
    if launched.user_data:
        found["user-data"] = launched.user_data
    return found


def _interfaces(region: str, instance: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for interface in instance.nics.values():
        base = f"network/interfaces/macs/{interface.mac_address}"
        found |= {
            f"{base}/device-number": str(interface.device_index),
            f"{base}/network-card": str(interface.network_card_index),
            f"{base}/interface-id": interface.id,
            f"{base}/mac": interface.mac_address,
            f"{base}/owner-id": instance.owner_id,
            f"{base}/security-group-ids": "\n".join(sorted(group.id for group in interface.group_set)),
            f"{base}/subnet-id": interface.subnet_id,
            f"{base}/subnet-ipv4-cidr-block": interface.subnet.cidr_block,
            f"{base}/vpc-id": interface.vpc_id,
            f"{base}/vpc-ipv4-cidr-block": backend(region).get_vpc(interface.vpc_id).cidr_block,
        }
        if interface.interface_type != "efa-only":
            found[f"{base}/local-ipv4s"] = interface.private_ip_address
            found[f"{base}/local-hostname"] = instance.private_dns_name
    return found


def _role(cloud: Cloud, region: str, instance: Any, launched: Launched) -> dict[str, str]:
    association = backend(region).iam_instance_profile_associations.get(instance.id)
    if association is None or not association.iam_instance_profile.roles:
        return {}
    profile = association.iam_instance_profile
    role = profile.roles[0]
    now = cloud.clock()
    if not trusts(role.arn, "ec2.amazonaws.com"):
        said = {
            "Code": "AssumeRoleUnauthorizedAccess",
            "Message": f"EC2 cannot assume the role {role.name}. Please see documentation at "
            "https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_iam-ec2.html.",
            "LastUpdated": _stamp(now),
        }
        return {f"iam/security-credentials/{role.name}": json.dumps(said)}
    if launched.expires - RENEW_SECONDS < now:
        made = cloud.client("sts", region).assume_role(
            RoleArn=role.arn, RoleSessionName=instance.id, DurationSeconds=CREDENTIAL_SECONDS
        )["Credentials"]
        launched.expires = now + CREDENTIAL_SECONDS
        launched.credentials = json.dumps(
            {
                "Code": "Success",
                "LastUpdated": _stamp(now),
                "Type": "AWS-HMAC",
                "AccessKeyId": made["AccessKeyId"],
                "SecretAccessKey": made["SecretAccessKey"],
                "Token": made["SessionToken"],
                "Expiration": _stamp(launched.expires),
            }
        )
    info = {
        "Code": "Success",
        "LastUpdated": _stamp(now),
        "InstanceProfileArn": profile.arn,
        "InstanceProfileId": profile.id,
    }
    return {"iam/info": json.dumps(info), f"iam/security-credentials/{role.name}": launched.credentials}


def _identity(region: str, instance: Any) -> str:
    return json.dumps(
        {
            "accountId": instance.owner_id,
            "architecture": "x86_64",
            "availabilityZone": instance.placement.zone,
            "imageId": instance.image_id,
            "instanceId": instance.id,
            "instanceType": instance.instance_type,
            "pendingTime": instance.launch_time.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "privateIp": instance.private_ip,
            "region": region,
            "version": "2017-09-30",
        },
        indent=2,
    )


def _stamp(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
