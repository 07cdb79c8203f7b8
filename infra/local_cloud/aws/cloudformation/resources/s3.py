"""Buckets, bucket policies, keys, and the container registry that CDK's bootstrap makes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from infra.local_cloud.aws.cloudformation.registry import Context, Made, Properties, Registry
from infra.local_cloud.aws.cloudformation.resources.ec2_network import pick
from infra.local_cloud.aws.errors import AwsError

# ---- S3

_BUCKET = (
    "BucketName AccessControl BucketEncryption PublicAccessBlockConfiguration VersioningConfiguration"
    " LifecycleConfiguration OwnershipControls LoggingConfiguration Tags"
)


def _create_bucket(context: Context, properties: Properties) -> Made:
    name = properties.get("BucketName") or context.name(limit=63).lower()
    where = (
        {} if context.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": context.region}}
    )
    context.client("s3").create_bucket(Bucket=name, **where)
    context.exists(name)
    _configure_bucket(context, name, properties)
    return Made(
        name,
        {
            "Arn": f"arn:aws:s3:::{name}",
            "DomainName": f"{name}.s3.amazonaws.com",
            "RegionalDomainName": f"{name}.s3.{context.region}.amazonaws.com",
        },
    )


def _configure_bucket(context: Context, name: str, properties: Properties) -> None:
    s3 = context.client("s3")
    setters: dict[str, Callable[[Any], Any]] = {
        "BucketEncryption": lambda value: s3.put_bucket_encryption(
            Bucket=name, ServerSideEncryptionConfiguration=_encryption(value)
        ),
        "PublicAccessBlockConfiguration": lambda value: s3.put_public_access_block(
            Bucket=name, PublicAccessBlockConfiguration=value
        ),
        "VersioningConfiguration": lambda value: s3.put_bucket_versioning(Bucket=name, VersioningConfiguration=value),
        "LifecycleConfiguration": lambda value: s3.put_bucket_lifecycle_configuration(
            Bucket=name, LifecycleConfiguration={"Rules": [_lifecycle(rule) for rule in value["Rules"]]}
        ),
        "OwnershipControls": lambda value: s3.put_bucket_ownership_controls(Bucket=name, OwnershipControls=value),
        "LoggingConfiguration": lambda value: s3.put_bucket_logging(
            Bucket=name,
            BucketLoggingStatus={
                "LoggingEnabled": {
                    "TargetBucket": value.get("DestinationBucketName", name),
                    "TargetPrefix": value.get("LogFilePrefix", ""),
                }
            },
        ),
    }
    for key, setter in setters.items():
        if key in properties:
            setter(properties[key])
    tags = context.tags(properties.get("Tags"))
    if tags:
        s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": tags})


def _encryption(value: dict[str, Any]) -> dict[str, Any]:
    rules = []
    for rule in value["ServerSideEncryptionConfiguration"]:
        found = {"ApplyServerSideEncryptionByDefault": rule["ServerSideEncryptionByDefault"]}
        if "BucketKeyEnabled" in rule:
            found["BucketKeyEnabled"] = rule["BucketKeyEnabled"]
        rules.append(found)
    return {"Rules": rules}


def _lifecycle(rule: dict[str, Any]) -> dict[str, Any]:
    """One rule in the API's form, from CloudFormation's (which flattens days and knows singular names)."""
    found: dict[str, Any] = {"Status": rule["Status"], "Filter": {"Prefix": rule.get("Prefix", "")}}
    if "Id" in rule:
        found["ID"] = rule["Id"]
    if "ExpirationInDays" in rule:
        found["Expiration"] = {"Days": rule["ExpirationInDays"]}
    elif "ExpiredObjectDeleteMarker" in rule:
        found["Expiration"] = {"ExpiredObjectDeleteMarker": rule["ExpiredObjectDeleteMarker"]}
    if "AbortIncompleteMultipartUpload" in rule:
        found["AbortIncompleteMultipartUpload"] = rule["AbortIncompleteMultipartUpload"]
    if "NoncurrentVersionExpiration" in rule:
        found["NoncurrentVersionExpiration"] = rule["NoncurrentVersionExpiration"]
    elif "NoncurrentVersionExpirationInDays" in rule:
        found["NoncurrentVersionExpiration"] = {"NoncurrentDays": rule["NoncurrentVersionExpirationInDays"]}
    for key in ("Transitions", "NoncurrentVersionTransitions"):
        if key in rule:
            found[key] = [_transition(item) for item in rule[key]]
    known = {
        "Id",
        "Status",
        "Prefix",
        "ExpirationInDays",
        "ExpiredObjectDeleteMarker",
        "AbortIncompleteMultipartUpload",
        "NoncurrentVersionExpiration",
        "NoncurrentVersionExpirationInDays",
        "Transitions",
        "NoncurrentVersionTransitions",
    }
    if unknown := sorted(set(rule) - known):
        raise AwsError("NotImplemented", f"lifecycle rule: the local cloud does not model {', '.join(unknown)}")
    return found


def _transition(item: dict[str, Any]) -> dict[str, Any]:
    names = {"TransitionInDays": "Days", "TransitionDate": "Date"}
    return {names.get(key, key): value for key, value in item.items()}


def _update_bucket(context: Context, made: Made, old: Properties, new: Properties) -> Made:
    _configure_bucket(context, made.physical_id, new)
    return made


def _delete_bucket(context: Context, made: Made, properties: Properties) -> None:
    context.client("s3").delete_bucket(Bucket=made.physical_id)  # BucketNotEmpty, as on AWS


def _create_policy(context: Context, properties: Properties) -> Made:
    context.client("s3").put_bucket_policy(Bucket=properties["Bucket"], Policy=json.dumps(properties["PolicyDocument"]))
    return Made(properties["Bucket"])


def _update_policy(context: Context, made: Made, old: Properties, new: Properties) -> Made:
    return _create_policy(context, new)


def _delete_policy(context: Context, made: Made, properties: Properties) -> None:
    context.client("s3").delete_bucket_policy(Bucket=properties["Bucket"])


# ---- KMS


def _create_key(context: Context, properties: Properties) -> Made:
    kms = context.client("kms")
    policy = {"Policy": json.dumps(properties["KeyPolicy"])} if "KeyPolicy" in properties else {}
    tags = [{"TagKey": tag["Key"], "TagValue": tag["Value"]} for tag in context.tags(properties.get("Tags"))]
    found = kms.create_key(**pick(properties, "Description KeyUsage KeySpec MultiRegion"), **policy, Tags=tags)[
        "KeyMetadata"
    ]
    if properties.get("EnableKeyRotation"):
        kms.enable_key_rotation(KeyId=found["KeyId"])
    return Made(found["KeyId"], {"Arn": found["Arn"], "KeyId": found["KeyId"]})


def _update_key(context: Context, made: Made, old: Properties, new: Properties) -> Made:
    kms = context.client("kms")
    if new.get("KeyPolicy") != old.get("KeyPolicy") and "KeyPolicy" in new:
        kms.put_key_policy(KeyId=made.physical_id, PolicyName="default", Policy=json.dumps(new["KeyPolicy"]))
    if new.get("Description") != old.get("Description"):
        kms.update_key_description(KeyId=made.physical_id, Description=new.get("Description", ""))
    if new.get("EnableKeyRotation") != old.get("EnableKeyRotation"):
        (kms.enable_key_rotation if new.get("EnableKeyRotation") else kms.disable_key_rotation)(KeyId=made.physical_id)
    return made


def _delete_key(context: Context, made: Made, properties: Properties) -> None:
    context.client("kms").schedule_key_deletion(
        KeyId=made.physical_id, PendingWindowInDays=properties.get("PendingWindowInDays", 30)
    )


def _create_alias(context: Context, properties: Properties) -> Made:
    context.client("kms").create_alias(AliasName=properties["AliasName"], TargetKeyId=properties["TargetKeyId"])
    return Made(properties["AliasName"], {"AliasName": properties["AliasName"]})


def _update_alias(context: Context, made: Made, old: Properties, new: Properties) -> Made:
    context.client("kms").update_alias(AliasName=made.physical_id, TargetKeyId=new["TargetKeyId"])
    return made


def _delete_alias(context: Context, made: Made, properties: Properties) -> None:
    context.client("kms").delete_alias(AliasName=made.physical_id)


# ---- ECR


def _create_repository(context: Context, properties: Properties) -> Made:
    ecr = context.client("ecr")
    found = ecr.create_repository(
        repositoryName=properties.get("RepositoryName") or context.name(limit=255).lower(),
        **({"imageTagMutability": properties["ImageTagMutability"]} if "ImageTagMutability" in properties else {}),
        **(
            {
                "imageScanningConfiguration": {
                    "scanOnPush": bool(properties["ImageScanningConfiguration"].get("ScanOnPush"))
                }
            }
            if "ImageScanningConfiguration" in properties
            else {}
        ),
    )["repository"]
    name = found["repositoryName"]
    context.exists(name)
    _repository_policies(context, name, properties)
    return Made(name, {"Arn": found["repositoryArn"], "RepositoryUri": found["repositoryUri"]})


def _repository_policies(context: Context, name: str, properties: Properties) -> None:
    ecr = context.client("ecr")
    if "LifecyclePolicy" in properties:
        ecr.put_lifecycle_policy(
            repositoryName=name, lifecyclePolicyText=properties["LifecyclePolicy"]["LifecyclePolicyText"]
        )
    if "RepositoryPolicyText" in properties:
        ecr.set_repository_policy(repositoryName=name, policyText=json.dumps(properties["RepositoryPolicyText"]))


def _update_repository(context: Context, made: Made, old: Properties, new: Properties) -> Made:
    _repository_policies(context, made.physical_id, new)
    return made


def _delete_repository(context: Context, made: Made, properties: Properties) -> None:
    force = bool(properties.get("EmptyOnDelete"))
    context.client("ecr").delete_repository(repositoryName=made.physical_id, force=force)


def register(registry: Registry) -> None:
    """Add this file's types."""
    add = registry.add
    add("AWS::S3::Bucket", _BUCKET, create=_create_bucket, delete=_delete_bucket, update=_update_bucket)
    add(
        "AWS::S3::BucketPolicy",
        "Bucket PolicyDocument",
        create=_create_policy,
        delete=_delete_policy,
        update=_update_policy,
    )
    add(
        "AWS::KMS::Key",
        "Description KeyPolicy EnableKeyRotation KeyUsage KeySpec MultiRegion PendingWindowInDays Tags",
        create=_create_key,
        delete=_delete_key,
        update=_update_key,
    )
    add("AWS::KMS::Alias", "AliasName TargetKeyId", create=_create_alias, delete=_delete_alias, update=_update_alias)
    add(
        "AWS::ECR::Repository",
        "RepositoryName ImageTagMutability ImageScanningConfiguration LifecyclePolicy RepositoryPolicyText"
        " EmptyOnDelete",
        create=_create_repository,
        delete=_delete_repository,
        update=_update_repository,
    )
