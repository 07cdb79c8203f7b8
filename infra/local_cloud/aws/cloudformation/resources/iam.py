"""IAM roles, policies and instance profiles."""

from __future__ import annotations

import json
import time
from typing import Any

from infra.local_cloud.aws.cloudformation.registry import Context, Made, Properties, Registry
from infra.local_cloud.aws.cloudformation.resources.ec2_network import pick
from infra.local_cloud.aws.ec2 import consistency


def _create_role(context: Context, properties: Properties) -> Made:
    iam = context.client("iam")
    name = properties.get("RoleName") or context.name()
    role = iam.create_role(
        RoleName=name,
        AssumeRolePolicyDocument=json.dumps(properties["AssumeRolePolicyDocument"]),
        **pick(properties, "Path Description MaxSessionDuration PermissionsBoundary"),
        **context.tagged(properties.get("Tags")),
    )["Role"]
    context.exists(name)
    _fill_role(context, name, properties)
    return Made(name, {"Arn": role["Arn"], "RoleId": role["RoleId"]})


def _fill_role(context: Context, name: str, properties: Properties) -> None:
    iam = context.client("iam")
    for arn in properties.get("ManagedPolicyArns", []):
        iam.attach_role_policy(RoleName=name, PolicyArn=arn)
    for policy in properties.get("Policies", []):
        iam.put_role_policy(
            RoleName=name, PolicyName=policy["PolicyName"], PolicyDocument=json.dumps(policy["PolicyDocument"])
        )


def _empty_role(context: Context, name: str, properties: Properties) -> None:
    iam = context.client("iam")
    for arn in properties.get("ManagedPolicyArns", []):
        iam.detach_role_policy(RoleName=name, PolicyArn=arn)
    for policy in properties.get("Policies", []):
        iam.delete_role_policy(RoleName=name, PolicyName=policy["PolicyName"])


def _update_role(context: Context, made: Made, old: Properties, new: Properties) -> Made:
    iam, name = context.client("iam"), made.physical_id
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(new["AssumeRolePolicyDocument"]))
    settings = pick(new, "Description MaxSessionDuration")
    if settings:
        iam.update_role(RoleName=name, **settings)
    _empty_role(context, name, old)
    _fill_role(context, name, new)
    if new.get("Tags") != old.get("Tags") and context.tags(new.get("Tags")):
        iam.tag_role(RoleName=name, Tags=context.tags(new.get("Tags")))
    return made


def _delete_role(context: Context, made: Made, properties: Properties) -> None:
    _empty_role(context, made.physical_id, properties)
    context.client("iam").delete_role(RoleName=made.physical_id)


def _holders(properties: Properties) -> list[str]:
    if properties.get("Users") or properties.get("Groups"):
        raise ValueError("AWS::IAM::Policy: the local cloud attaches policies to roles only")
    return list(properties.get("Roles", []))


def _put_policy(context: Context, properties: Properties) -> None:
    for role in _holders(properties):
        context.client("iam").put_role_policy(
            RoleName=role,
            PolicyName=properties["PolicyName"],
            PolicyDocument=json.dumps(properties["PolicyDocument"]),
        )


def _create_policy(context: Context, properties: Properties) -> Made:
    _put_policy(context, properties)
    name = context.name()
    return Made(name, {"Id": name})


def _update_policy(context: Context, made: Made, old: Properties, new: Properties) -> Made:
    for role in set(_holders(old)) - set(_holders(new)):
        context.client("iam").delete_role_policy(RoleName=role, PolicyName=old["PolicyName"])
    _put_policy(context, new)
    return made


def _delete_policy(context: Context, made: Made, properties: Properties) -> None:
    for role in _holders(properties):
        context.client("iam").delete_role_policy(RoleName=role, PolicyName=properties["PolicyName"])


def _create_managed(context: Context, properties: Properties) -> Made:
    iam = context.client("iam")
    policy = iam.create_policy(
        PolicyName=properties.get("ManagedPolicyName") or context.name(limit=128),
        PolicyDocument=json.dumps(properties["PolicyDocument"]),
        **pick(properties, "Path Description"),
    )["Policy"]
    for role in _holders(properties):
        iam.attach_role_policy(RoleName=role, PolicyArn=policy["Arn"])
    return Made(policy["Arn"], {"PolicyArn": policy["Arn"]})


def _update_managed(context: Context, made: Made, old: Properties, new: Properties) -> Made:
    iam, arn = context.client("iam"), made.physical_id
    before, after = set(_holders(old)), set(_holders(new))
    for role in sorted(before - after):
        iam.detach_role_policy(RoleName=role, PolicyArn=arn)
    if new["PolicyDocument"] != old["PolicyDocument"]:
        earlier = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(new["PolicyDocument"]), SetAsDefault=True)
        iam.delete_policy_version(PolicyArn=arn, VersionId=earlier)
    for role in sorted(after - before):
        iam.attach_role_policy(RoleName=role, PolicyArn=arn)
    return made


def _delete_managed(context: Context, made: Made, properties: Properties) -> None:
    iam = context.client("iam")
    for role in _holders(properties):
        iam.detach_role_policy(RoleName=role, PolicyArn=made.physical_id)
    iam.delete_policy(PolicyArn=made.physical_id)


def _create_profile(context: Context, properties: Properties) -> Made:
    iam = context.client("iam")
    name = properties.get("InstanceProfileName") or context.name(limit=128)
    profile: dict[str, Any] = iam.create_instance_profile(InstanceProfileName=name, **pick(properties, "Path"))
    context.exists(name)
    for role in properties["Roles"]:
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=role)
    time.sleep(consistency.profile_wait(context.cloud, name))  # CloudFormation waits until EC2 knows it
    return Made(name, {"Arn": profile["InstanceProfile"]["Arn"]})


def _delete_profile(context: Context, made: Made, properties: Properties) -> None:
    iam = context.client("iam")
    found = iam.get_instance_profile(InstanceProfileName=made.physical_id)["InstanceProfile"]
    for role in found["Roles"]:  # a profile that failed halfway has none
        iam.remove_role_from_instance_profile(InstanceProfileName=made.physical_id, RoleName=role["RoleName"])
    iam.delete_instance_profile(InstanceProfileName=made.physical_id)


def register(registry: Registry) -> None:
    """Add this file's types."""
    registry.add(
        "AWS::IAM::Role",
        "RoleName AssumeRolePolicyDocument Path Description MaxSessionDuration PermissionsBoundary ManagedPolicyArns"
        " Policies Tags",
        create=_create_role,
        delete=_delete_role,
        update=_update_role,
    )
    registry.add(
        "AWS::IAM::Policy",
        "PolicyName PolicyDocument Roles Users Groups",
        create=_create_policy,
        delete=_delete_policy,
        update=_update_policy,
    )
    registry.add(
        "AWS::IAM::ManagedPolicy",
        "ManagedPolicyName PolicyDocument Path Description Roles Users Groups",
        create=_create_managed,
        delete=_delete_managed,
        update=_update_managed,
    )
    registry.add(
        "AWS::IAM::InstanceProfile", "InstanceProfileName Path Roles", create=_create_profile, delete=_delete_profile
    )
