"""Security groups and their rules."""

from __future__ import annotations

from typing import Any

from infra.local_cloud.aws.cloudformation.registry import Context, Made, Properties, Registry
from infra.local_cloud.aws.cloudformation.resources.ec2_network import pick, retag, tag_specs
from infra.local_cloud.aws.errors import AwsError

_EVERYTHING = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
_RULE = "IpProtocol FromPort ToPort CidrIp CidrIpv6 Description GroupId"
_IN = _RULE + " SourceSecurityGroupId SourcePrefixListId"
_OUT = _RULE + " DestinationSecurityGroupId DestinationPrefixListId"


def permission(rule: Properties) -> dict[str, Any]:
    """A rule's IpPermission, from CloudFormation's flat form (ingress or egress, inline or of its own)."""
    note = {"Description": rule["Description"]} if rule.get("Description") else {}
    found: dict[str, Any] = {"IpProtocol": str(rule["IpProtocol"]), **pick(rule, "FromPort ToPort")}
    peer = rule.get("SourceSecurityGroupId") or rule.get("DestinationSecurityGroupId")
    prefix = rule.get("SourcePrefixListId") or rule.get("DestinationPrefixListId")
    if peer:
        found["UserIdGroupPairs"] = [{"GroupId": peer, **note}]
    elif prefix:
        found["PrefixListIds"] = [{"PrefixListId": prefix, **note}]
    elif "CidrIp" in rule:
        found["IpRanges"] = [{"CidrIp": rule["CidrIp"], **note}]
    elif "CidrIpv6" in rule:
        found["Ipv6Ranges"] = [{"CidrIpv6": rule["CidrIpv6"], **note}]
    else:
        raise AwsError("InvalidParameterValue", f"a security group rule names no peer: {rule}")
    return found


def _create_group(context: Context, properties: Properties) -> Made:
    ec2 = context.client("ec2")
    identity = ec2.create_security_group(
        GroupName=properties.get("GroupName") or context.name(limit=255),
        Description=properties["GroupDescription"],
        VpcId=properties["VpcId"],
        **tag_specs(context, "security-group", properties),
    )["GroupId"]
    context.exists(identity)
    if properties.get("SecurityGroupEgress"):  # given rules take the place of the default "everything out"
        ec2.revoke_security_group_egress(GroupId=identity, IpPermissions=_EVERYTHING)
    _authorize(context, identity, properties)
    return Made(identity, {"GroupId": identity, "Id": identity, "VpcId": properties["VpcId"]})


def _authorize(context: Context, identity: str, properties: Properties) -> None:
    ec2 = context.client("ec2")
    for rule in properties.get("SecurityGroupIngress", []):
        ec2.authorize_security_group_ingress(GroupId=identity, IpPermissions=[permission(rule)])
    for rule in properties.get("SecurityGroupEgress", []):
        ec2.authorize_security_group_egress(GroupId=identity, IpPermissions=[permission(rule)])


def _update_group(context: Context, made: Made, old: Properties, new: Properties) -> Made:
    ec2, identity = context.client("ec2"), made.physical_id
    for key, revoke in (
        ("SecurityGroupIngress", ec2.revoke_security_group_ingress),
        ("SecurityGroupEgress", ec2.revoke_security_group_egress),
    ):
        for rule in old.get(key, []):
            if rule not in new.get(key, []):
                revoke(GroupId=identity, IpPermissions=[permission(rule)])
    fresh = {
        key: [r for r in new.get(key, []) if r not in old.get(key, [])]
        for key in ("SecurityGroupIngress", "SecurityGroupEgress")
    }
    _authorize(context, identity, fresh)
    retag(context, identity, old, new)
    return made


def _delete_group(context: Context, made: Made, properties: Properties) -> None:
    context.client("ec2").delete_security_group(GroupId=made.physical_id)


def _create_ingress(context: Context, properties: Properties) -> Made:
    rules = context.client("ec2").authorize_security_group_ingress(
        GroupId=properties["GroupId"], IpPermissions=[permission(properties)]
    )["SecurityGroupRules"]
    return Made(rules[0]["SecurityGroupRuleId"], {"Id": rules[0]["SecurityGroupRuleId"]})


def _delete_ingress(context: Context, made: Made, properties: Properties) -> None:
    context.client("ec2").revoke_security_group_ingress(
        GroupId=properties["GroupId"], IpPermissions=[permission(properties)]
    )


def _create_egress(context: Context, properties: Properties) -> Made:
    rules = context.client("ec2").authorize_security_group_egress(
        GroupId=properties["GroupId"], IpPermissions=[permission(properties)]
    )["SecurityGroupRules"]
    return Made(rules[0]["SecurityGroupRuleId"], {"Id": rules[0]["SecurityGroupRuleId"]})


def _delete_egress(context: Context, made: Made, properties: Properties) -> None:
    context.client("ec2").revoke_security_group_egress(
        GroupId=properties["GroupId"], IpPermissions=[permission(properties)]
    )


def register(registry: Registry) -> None:
    """Add this file's types."""
    registry.add(
        "AWS::EC2::SecurityGroup",
        "GroupDescription GroupName VpcId SecurityGroupIngress SecurityGroupEgress Tags",
        create=_create_group,
        delete=_delete_group,
        update=_update_group,
    )
    registry.add("AWS::EC2::SecurityGroupIngress", _IN, create=_create_ingress, delete=_delete_ingress)
    registry.add("AWS::EC2::SecurityGroupEgress", _OUT, create=_create_egress, delete=_delete_egress)
