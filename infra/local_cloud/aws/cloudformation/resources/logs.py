"""Log groups."""

from __future__ import annotations

from infra.local_cloud.aws.cloudformation.registry import Context, Made, Properties, Registry

_GROUP = "LogGroupName RetentionInDays KmsKeyId LogGroupClass Tags"


def _create_group(context: Context, properties: Properties) -> Made:
    logs = context.client("logs")
    name = properties.get("LogGroupName") or context.name(limit=512)
    tags = {tag["Key"]: tag["Value"] for tag in context.tags(properties.get("Tags"))}
    logs.create_log_group(
        logGroupName=name,
        **({"kmsKeyId": properties["KmsKeyId"]} if "KmsKeyId" in properties else {}),
        **({"logGroupClass": properties["LogGroupClass"]} if "LogGroupClass" in properties else {}),
        **({"tags": tags} if tags else {}),
    )
    if "RetentionInDays" in properties:
        logs.put_retention_policy(logGroupName=name, retentionInDays=properties["RetentionInDays"])
    return Made(name, {"Arn": context.cloud.arn("logs", context.region, f"log-group:{name}:*")})


def _update_group(context: Context, made: Made, old: Properties, new: Properties) -> Made:
    logs = context.client("logs")
    if "RetentionInDays" in new:
        logs.put_retention_policy(logGroupName=made.physical_id, retentionInDays=new["RetentionInDays"])
    elif "RetentionInDays" in old:
        logs.delete_retention_policy(logGroupName=made.physical_id)
    return made


def _delete_group(context: Context, made: Made, properties: Properties) -> None:
    context.client("logs").delete_log_group(logGroupName=made.physical_id)


def register(registry: Registry) -> None:
    """Add this file's types."""
    registry.add("AWS::Logs::LogGroup", _GROUP, create=_create_group, delete=_delete_group, update=_update_group)
