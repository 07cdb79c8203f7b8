"""Secrets Manager secrets, generated strings included."""

from __future__ import annotations

import json

from infra.local_cloud.aws.cloudformation.registry import Context, Made, Properties, Registry
from infra.local_cloud.aws.cloudformation.resources.ec2_network import pick
from infra.local_cloud.aws.errors import AwsError


def _text(context: Context, properties: Properties) -> str:
    if "GenerateSecretString" not in properties:
        return str(properties.get("SecretString", ""))
    rules = dict(properties["GenerateSecretString"])
    template, key = rules.pop("SecretStringTemplate", None), rules.pop("GenerateStringKey", None)
    if (template is None) != (key is None):
        raise AwsError("InvalidRequestException", "SecretStringTemplate and GenerateStringKey go together")
    text = str(context.client("secretsmanager").get_random_password(**rules)["RandomPassword"])
    return text if template is None else json.dumps({**json.loads(template), key: text})


def _create_secret(context: Context, properties: Properties) -> Made:
    arn = context.client("secretsmanager").create_secret(
        Name=properties.get("Name") or context.own_name(),
        SecretString=_text(context, properties),
        **pick(properties, "Description KmsKeyId"),
        **context.tagged(properties.get("Tags")),
    )["ARN"]
    return Made(arn, {"Id": arn})


def _update_secret(context: Context, made: Made, old: Properties, new: Properties) -> Made:
    manager = context.client("secretsmanager")
    fields = pick(new, "Description KmsKeyId")
    if new.get("SecretString") != old.get("SecretString") or new.get("GenerateSecretString") != old.get(
        "GenerateSecretString"
    ):
        fields["SecretString"] = _text(context, new)
    if fields:
        manager.update_secret(SecretId=made.physical_id, **fields)
    return made


def _delete_secret(context: Context, made: Made, properties: Properties) -> None:
    context.client("secretsmanager").delete_secret(SecretId=made.physical_id, ForceDeleteWithoutRecovery=True)


def _create_policy(context: Context, properties: Properties) -> Made:
    context.client("secretsmanager").put_resource_policy(
        SecretId=properties["SecretId"],
        ResourcePolicy=json.dumps(properties["ResourcePolicy"]),
        **pick(properties, "BlockPublicPolicy"),
    )
    return Made(properties["SecretId"], {"Id": properties["SecretId"]})


def _delete_policy(context: Context, made: Made, properties: Properties) -> None:
    context.client("secretsmanager").delete_resource_policy(SecretId=properties["SecretId"])


def register(registry: Registry) -> None:
    """Add this file's types."""
    registry.add(
        "AWS::SecretsManager::Secret",
        "Name Description KmsKeyId SecretString GenerateSecretString Tags",
        create=_create_secret,
        delete=_delete_secret,
        update=_update_secret,
    )
    registry.add(
        "AWS::SecretsManager::ResourcePolicy",
        "SecretId ResourcePolicy BlockPublicPolicy",
        create=_create_policy,
        delete=_delete_policy,
    )
