"""Parameters and documents of Systems Manager."""

from __future__ import annotations

import json

import yaml

from infra.local_cloud.aws.cloudformation.registry import Context, Made, Properties, Registry
from infra.local_cloud.aws.cloudformation.resources.ec2_network import pick


def _create_parameter(context: Context, properties: Properties) -> Made:
    name = properties.get("Name") or f"CFN-{context.name(limit=500)}"
    fields = pick(properties, "Type Value Description AllowedPattern Tier DataType")
    context.client("ssm").put_parameter(Name=name, **fields, **context.tagged(properties.get("Tags")))
    return Made(name, {"Type": properties["Type"], "Value": properties["Value"]})


def _update_parameter(context: Context, made: Made, old: Properties, new: Properties) -> Made:
    fields = pick(new, "Type Value Description AllowedPattern Tier DataType")
    context.client("ssm").put_parameter(Name=made.physical_id, Overwrite=True, **fields)
    return Made(made.physical_id, {"Type": new["Type"], "Value": new["Value"]})


def _delete_parameter(context: Context, made: Made, properties: Properties) -> None:
    context.client("ssm").delete_parameter(Name=made.physical_id)


def _content(properties: Properties) -> str:
    content = properties["Content"]
    if isinstance(content, str):
        return content
    return yaml.safe_dump(content) if properties.get("DocumentFormat") == "YAML" else json.dumps(content)


def _create_document(context: Context, properties: Properties) -> Made:
    name = properties.get("Name") or context.name(limit=128)
    context.client("ssm").create_document(
        Name=name,
        Content=_content(properties),
        DocumentType=properties.get("DocumentType", "Command"),
        DocumentFormat=properties.get("DocumentFormat", "JSON"),
        **pick(properties, "TargetType VersionName"),
        **context.tagged(properties.get("Tags")),
    )
    return Made(name)


def _update_document(context: Context, made: Made, old: Properties, new: Properties) -> Made:
    ssm = context.client("ssm")
    if new["Content"] != old["Content"]:
        version = ssm.update_document(
            Name=made.physical_id,
            Content=_content(new),
            DocumentVersion="$LATEST",
            DocumentFormat=new.get("DocumentFormat", "JSON"),
        )["DocumentDescription"]["DocumentVersion"]
        ssm.update_document_default_version(Name=made.physical_id, DocumentVersion=version)
    return made


def _delete_document(context: Context, made: Made, properties: Properties) -> None:
    context.client("ssm").delete_document(Name=made.physical_id)


def register(registry: Registry) -> None:
    """Add this file's types."""
    registry.add(
        "AWS::SSM::Parameter",
        "Name Type Value Description AllowedPattern Tier DataType Tags",
        create=_create_parameter,
        delete=_delete_parameter,
        update=_update_parameter,
    )
    registry.add(
        "AWS::SSM::Document",
        "Name Content DocumentType DocumentFormat TargetType VersionName UpdateMethod Tags",
        create=_create_document,
        delete=_delete_document,
        update=_update_document,
    )
