"""Lustre file systems and their data repository associations."""

from __future__ import annotations

import time
from typing import Any

from infra.local_cloud.aws.cloudformation.registry import Context, Made, Properties, Registry
from infra.local_cloud.aws.cloudformation.resources.ec2_network import pick
from infra.local_cloud.aws.errors import AwsError

STABLE_SECONDS = 60.0
_FILE_SYSTEM = (
    "FileSystemType StorageCapacity StorageType SubnetIds SecurityGroupIds KmsKeyId FileSystemTypeVersion"
    " LustreConfiguration"
)
_ASSOCIATION = "FileSystemId FileSystemPath DataRepositoryPath BatchImportMetaDataOnCreate ImportedFileChunkSize S3"


def _create_file_system(context: Context, properties: Properties) -> Made:
    found = context.client("fsx").create_file_system(
        **pick(properties, _FILE_SYSTEM), **context.tagged(properties.get("Tags"))
    )["FileSystem"]
    context.exists(found["FileSystemId"])
    _wait(lambda: _file_system(context, found["FileSystemId"]), "AVAILABLE")
    return Made(
        found["FileSystemId"],
        {
            "Id": found["FileSystemId"],
            "DNSName": found["DNSName"],
            "LustreMountName": found["LustreConfiguration"]["MountName"],
            "ResourceARN": found["ResourceARN"],
        },
    )


def _file_system(context: Context, identity: str) -> dict[str, Any]:
    found: dict[str, Any] = context.client("fsx").describe_file_systems(FileSystemIds=[identity])["FileSystems"][0]
    return found


def _wait(look: Any, wanted: str) -> None:
    deadline = time.monotonic() + STABLE_SECONDS
    while (state := look()["Lifecycle"]) != wanted:
        if state in ("FAILED", "MISCONFIGURED") or time.monotonic() > deadline:
            raise AwsError("NotStabilized", f"lifecycle is {state}, not {wanted}")
        time.sleep(0.1)


def _update_file_system(context: Context, made: Made, old: Properties, new: Properties) -> Made:
    fsx = context.client("fsx")
    changed = {key for key in {*old, *new} if old.get(key) != new.get(key)} - {"Tags"}
    if changed - {"StorageCapacity", "LustreConfiguration"}:
        raise AwsError("BadRequest", f"{', '.join(sorted(changed))} of a file system cannot be changed")
    if changed:
        fsx.update_file_system(FileSystemId=made.physical_id, **pick(new, " ".join(sorted(changed))))
        _wait(lambda: _file_system(context, made.physical_id), "AVAILABLE")
    if context.tags(new.get("Tags")):
        fsx.tag_resource(ResourceARN=made.attributes["ResourceARN"], Tags=context.tags(new.get("Tags")))
    return made


def _delete_file_system(context: Context, made: Made, properties: Properties) -> None:
    fsx = context.client("fsx")
    fsx.delete_file_system(FileSystemId=made.physical_id)
    deadline = time.monotonic() + STABLE_SECONDS
    while time.monotonic() < deadline:
        if not any(item["FileSystemId"] == made.physical_id for item in fsx.describe_file_systems()["FileSystems"]):
            return
        time.sleep(0.1)
    raise AwsError("NotStabilized", f"{made.physical_id} is still there {STABLE_SECONDS:.0f} s after its deletion")


def _create_association(context: Context, properties: Properties) -> Made:
    fsx = context.client("fsx")
    found = fsx.create_data_repository_association(
        **pick(properties, _ASSOCIATION), **context.tagged(properties.get("Tags"))
    )["Association"]
    identity = found["AssociationId"]
    context.exists(identity)
    _wait(lambda: fsx.describe_data_repository_associations(AssociationIds=[identity])["Associations"][0], "AVAILABLE")
    return Made(identity, {"AssociationId": identity, "ResourceARN": found["ResourceARN"]})


def _update_association(context: Context, made: Made, old: Properties, new: Properties) -> Made:
    context.client("fsx").update_data_repository_association(
        AssociationId=made.physical_id, **pick(new, "ImportedFileChunkSize S3")
    )
    return made


def _delete_association(context: Context, made: Made, properties: Properties) -> None:
    fsx = context.client("fsx")
    fsx.delete_data_repository_association(AssociationId=made.physical_id, DeleteDataInFileSystem=False)


def register(registry: Registry) -> None:
    """Add this file's types."""
    registry.add(
        "AWS::FSx::FileSystem",
        _FILE_SYSTEM + " Tags",
        create=_create_file_system,
        delete=_delete_file_system,
        update=_update_file_system,
    )
    registry.add(
        "AWS::FSx::DataRepositoryAssociation",
        _ASSOCIATION + " Tags",
        create=_create_association,
        delete=_delete_association,
        update=_update_association,
    )
