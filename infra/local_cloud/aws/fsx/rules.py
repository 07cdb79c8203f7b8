"""What FSx for Lustre accepts. Sources: the FSx API reference and user guide; figures as of 2025."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from infra.local_cloud.aws.errors import AwsError

# Throughput in MB/s per TiB that each deployment type takes (SSD); an empty set: none may be given.
THROUGHPUT = {
    "SCRATCH_1": frozenset[int](),
    "SCRATCH_2": frozenset[int](),
    "PERSISTENT_1": frozenset({50, 100, 200}),
    "PERSISTENT_2": frozenset({125, 250, 500, 1000}),
}
VERSIONS = {
    "SCRATCH_1": frozenset({"2.10"}),
    "SCRATCH_2": frozenset({"2.10", "2.12", "2.15"}),
    "PERSISTENT_1": frozenset({"2.10", "2.12", "2.15"}),
    "PERSISTENT_2": frozenset({"2.12", "2.15"}),
}
MAX_ASSOCIATIONS = 8
_CONFIGURATION = frozenset(
    [
        "DeploymentType",
        "PerUnitStorageThroughput",
        "DataCompressionType",
        "AutomaticBackupRetentionDays",
        "CopyTagsToBackups",
        "DailyAutomaticBackupStartTime",
        "WeeklyMaintenanceStartTime",
        "DriveCacheType",
        "LogConfiguration",
        "EfaEnabled",
        "MetadataConfiguration",
        "RootSquashConfiguration",
    ]
)


def bad(message: str) -> AwsError:
    """FSx's error for a request that it does not accept."""
    return AwsError("BadRequest", message)


def check_file_system(request: Mapping[str, Any]) -> None:
    """Raise BadRequest for a CreateFileSystem that FSx would refuse."""
    if request["FileSystemType"] != "LUSTRE":
        raise AwsError("NotImplemented", f"the local cloud has no {request['FileSystemType']} file systems", status=501)
    configuration = request.get("LustreConfiguration", {})
    if unknown := sorted(set(configuration) - _CONFIGURATION):
        raise AwsError(
            "NotImplemented", f"the local cloud does not model LustreConfiguration's {', '.join(unknown)}", status=501
        )
    kind = configuration.get("DeploymentType", "SCRATCH_1")
    if kind not in THROUGHPUT:
        raise bad(f"Invalid DeploymentType {kind}")
    if len(request.get("SubnetIds", [])) != 1:
        raise bad("A Lustre file system takes exactly one subnet")
    if request.get("StorageType", "SSD") != "SSD":
        raise AwsError("NotImplemented", "the local cloud models SSD file systems only", status=501)
    check_capacity(kind, request.get("StorageCapacity"))
    _check_throughput(kind, configuration)
    version = request.get("FileSystemTypeVersion")
    if version is not None and version not in VERSIONS[kind]:
        raise bad(f"Invalid FileSystemTypeVersion {version} for {kind}, allowed: {', '.join(sorted(VERSIONS[kind]))}")
    if kind.startswith("SCRATCH") and configuration.get("AutomaticBackupRetentionDays"):
        raise bad("Backups are not supported on scratch file systems")


def check_capacity(kind: str, capacity: Any) -> None:
    """1200, 2400, then steps of 2400 GiB (SCRATCH_1: 1200, 2400, then steps of 3600)."""
    if capacity is None:
        raise bad("StorageCapacity is required")
    step = 3600 if kind == "SCRATCH_1" else 2400
    if capacity not in (1200, 2400) and (capacity <= 0 or capacity % step):
        raise bad(f"Invalid StorageCapacity {capacity} for {kind}: 1200, 2400 or a multiple of {step} GiB")


def _check_throughput(kind: str, configuration: Mapping[str, Any]) -> None:
    given, allowed = configuration.get("PerUnitStorageThroughput"), THROUGHPUT[kind]
    if allowed and given not in allowed:
        raise bad(
            f"Invalid PerUnitStorageThroughput {given} for {kind}, allowed: {', '.join(map(str, sorted(allowed)))}"
        )
    if not allowed and given is not None:
        raise bad(f"PerUnitStorageThroughput is not supported for {kind}")


def split_repository(path: str) -> tuple[str, str]:
    """Bucket and prefix (without slashes at its ends) of an `s3://bucket/prefix/` path."""
    if not path.startswith("s3://") or not path.removeprefix("s3://").strip("/"):
        raise bad(f"Invalid DataRepositoryPath {path}: s3://bucket/optional-prefix/")
    bucket, _, prefix = path.removeprefix("s3://").partition("/")
    return bucket, prefix.strip("/")


def check_association(
    request: Mapping[str, Any], kind: str, version: str, existing: Iterable[Mapping[str, Any]]
) -> None:
    """Raise BadRequest for an association that FSx would refuse beside the existing ones.

    Associations exist on all file systems of Lustre 2.12 and 2.15 but SCRATCH_1's (CreateDataRepositoryAssociation).
    """
    others = list(existing)
    path = request.get("FileSystemPath")
    if kind == "SCRATCH_1" or version == "2.10":
        raise bad(f"Data repository associations are not supported on {kind} file systems of Lustre {version}")
    if not path or not path.startswith("/"):
        raise bad(f"FileSystemPath {path!r} must start with /")
    if len(others) >= MAX_ASSOCIATIONS:
        raise bad(f"A file system has at most {MAX_ASSOCIATIONS} data repository associations")
    split_repository(request["DataRepositoryPath"])
    for other in others:
        for key in ("FileSystemPath", "DataRepositoryPath"):
            mine, theirs = _parts(request[key]), _parts(other[key])
            if mine[: len(theirs)] == theirs or theirs[: len(mine)] == mine:
                raise bad(f"{key} {request[key]} overlaps with {other[key]} of {other['AssociationId']}")


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]
