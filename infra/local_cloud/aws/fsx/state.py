"""FSx's table of operations and its state."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.local_cloud.aws.errors import AwsError
from infra.local_cloud.aws.operations import Operations

OPERATIONS = Operations("fsx")


@dataclass
class FileSystem:
    """One file system: what the API shows, and the folder that it is."""

    view: dict[str, Any]
    folder: Path
    interface_id: str

    @property
    def id(self) -> str:
        """Its file system id."""
        return str(self.view["FileSystemId"])

    @property
    def deployment(self) -> str:
        """Its deployment type."""
        return str(self.view["LustreConfiguration"]["DeploymentType"])

    @property
    def version(self) -> str:
        """Its Lustre version."""
        return str(self.view["FileSystemTypeVersion"])


@dataclass(frozen=True)
class Seen:
    """A file as it was when folder and bucket last agreed on it."""

    size: int
    mtime_ns: int
    etag: str


@dataclass
class Association:
    """One data repository association. `known` is what folder and bucket agree on, by path relative to the folder."""

    view: dict[str, Any]
    folder: Path
    bucket: str
    prefix: str
    known: dict[str, Seen] = field(default_factory=dict)
    candidates: dict[str, tuple[int, int]] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def events(self, direction: str) -> frozenset[str]:
        """The events (NEW, CHANGED, DELETED) that are carried: direction AutoImportPolicy or AutoExportPolicy."""
        return frozenset(self.view.get("S3", {}).get(direction, {}).get("Events", []))

    def key(self, relative: str) -> str:
        """The object key of a file."""
        return f"{self.prefix}/{relative}" if self.prefix else relative

    def relative(self, key: str) -> str | None:
        """The path of an object's file relative to the folder, or None for a key outside the prefix."""
        if not self.prefix:
            return key
        return key.removeprefix(f"{self.prefix}/") if key.startswith(f"{self.prefix}/") else None


class FsxState:
    """FSx's state of one region."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.file_systems: dict[str, FileSystem] = {}
        self.associations: dict[str, Association] = {}
        self.tasks: dict[str, dict[str, Any]] = {}
        self.tokens: dict[str, str] = {}
        self.waiting: dict[str, tuple[float, float]] = {}  # file system id -> what its metric said last, and when
        self.watcher: threading.Thread | None = None

    def file_system(self, identity: str) -> FileSystem:
        """A file system by id. Raises FileSystemNotFound."""
        if identity not in self.file_systems:
            raise AwsError("FileSystemNotFound", f"File system '{identity}' does not exist.")
        return self.file_systems[identity]

    def association(self, identity: str) -> Association:
        """An association by id. Raises DataRepositoryAssociationNotFound."""
        if identity not in self.associations:
            raise AwsError(
                "DataRepositoryAssociationNotFound", f"Data repository association '{identity}' does not exist."
            )
        return self.associations[identity]

    def of(self, file_system_id: str) -> list[Association]:
        """The associations of a file system."""
        return [item for item in self.associations.values() if item.view["FileSystemId"] == file_system_id]


def now() -> datetime:
    """The time for the API's timestamps."""
    return datetime.now(UTC)
