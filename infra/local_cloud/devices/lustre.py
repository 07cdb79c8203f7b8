"""The Lustre file systems that machines can mount: folders of this host, found by DNS name and mount name as on AWS."""

from __future__ import annotations

import errno
import re
import shutil
import threading
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

_SOURCE = re.compile(r"(?P<host>[^@:/\s]+)@tcp:/(?P<name>[^/\s]+)(?P<below>(?:/[^/\s]+)*)/?")


@dataclass
class FileSystem:
    """One file system; `folder` holds its files."""

    file_system_id: str
    dns_name: str
    mount_name: str
    folder: Path
    available: bool = False


@dataclass(frozen=True)
class Refusal:
    """A mount that fails: the real client's error number and words."""

    code: int
    text: str


class FileSystems:
    """The file systems of one local cloud; every method may be called from any thread."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._known: dict[str, FileSystem] = {}
        self._lock = threading.Lock()

    def add(self, file_system_id: str, *, dns_name: str, mount_name: str) -> Path:
        """Make a file system known, not available yet; returns its folder."""
        folder = self._base / file_system_id
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        with self._lock:
            self._known[file_system_id] = FileSystem(file_system_id, dns_name, mount_name, folder)
        return folder

    def set_available(self, file_system_id: str, available: bool) -> None:
        """Let it be mounted, or not. Raises KeyError for an unknown one."""
        with self._lock:
            self._known[file_system_id].available = available

    def remove(self, file_system_id: str) -> None:
        """Forget it and delete its folder; unknown ones are fine."""
        with self._lock:
            known = self._known.pop(file_system_id, None)
        if known is not None:
            shutil.rmtree(known.folder, ignore_errors=True)

    def find(self, source: str, target: str, *, reached: Collection[str]) -> Path | Refusal:
        """The folder that `mount -t lustre SOURCE TARGET` gets, or why it fails.

        `reached`: the ids of the file systems to and from which the network lets Lustre's ports through. The client of
        another waits for minutes and then says what is said here at once.
        """
        match = _SOURCE.fullmatch(source)
        with self._lock:
            known = next((fs for fs in self._known.values() if match and fs.dns_name == match["host"]), None)
        if match is None or known is None:  # a name that does not resolve is no network identifier
            return Refusal(errno.EINVAL, f"mount.lustre: Can't parse NID '{source}'\n")
        if known.file_system_id not in reached:
            return _failed(source, target, errno.ETIMEDOUT, "Connection timed out")
        if not known.available:
            return _failed(source, target, errno.EIO, "Input/output error\nIs the MGS running?")
        folder = (known.folder / match["below"].lstrip("/")).resolve()  # neither `..` nor a link leads out of it
        inside = folder == known.folder.resolve() or known.folder.resolve() in folder.parents
        if match["name"] != known.mount_name or not inside or not folder.is_dir():
            return _failed(
                source,
                target,
                errno.ENOENT,
                "No such file or directory\nIs the MGS specification correct?\nIs the filesystem name correct?",
            )
        return folder


def _failed(source: str, target: str, code: int, why: str) -> Refusal:
    return Refusal(code, f"mount.lustre: mount {source} at {target} failed: {why}\n")
