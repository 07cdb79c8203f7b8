"""EBS volumes: folders of this host that outlive the machines they are attached to.

A volume is a folder; its file system, once mkfs made one, a folder in it. A machine that a volume is attached to has a
file in the place of its block device, by which the machine's own mkfs, blkid and mount (`devices.volume_programs`)
name it. What is on a disk beside a file system, its speed and its size are not imitated.
"""

from __future__ import annotations

import errno
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.local_cloud.devices.volume_programs import FILE_SYSTEM, device_of

_MADE = "file-system"


@dataclass
class _Volume:
    """One volume: where it lies, the machine that has it, and the folders in that machine where it was mounted."""

    folder: Path
    machine: str = ""
    mounted_at: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Said:
    """What a program says and ends with."""

    code: int
    stdout: str = ""
    stderr: str = ""


class Volumes:
    """The volumes of one local cloud; every method may be called from any thread."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._known: dict[str, _Volume] = {}
        self._lock = threading.Lock()

    def add(self, volume_id: str) -> None:
        """A new volume, with nothing on it."""
        folder = self._base / volume_id
        folder.mkdir(parents=True)
        with self._lock:
            self._known[volume_id] = _Volume(folder)

    def remove(self, volume_id: str) -> None:
        """Forget it and what is on it; unknown ones are fine."""
        with self._lock:
            known = self._known.pop(volume_id, None)
        if known is not None:
            shutil.rmtree(known.folder, ignore_errors=True)

    def attach(self, volume_id: str, machine: str) -> None:
        """Give it to a machine. KeyError for an unknown one."""
        with self._lock:
            self._known[volume_id].machine = machine
            self._known[volume_id].mounted_at = []

    def detach(self, volume_id: str) -> None:
        """Take it from its machine; unknown ones are fine."""
        with self._lock:
            if known := self._known.get(volume_id):
                known.machine, known.mounted_at = "", []

    def leave(self, machine: str) -> None:
        """A machine is dead: it has no volume any more."""
        with self._lock:
            for known in self._known.values():
                if known.machine == machine:
                    known.machine, known.mounted_at = "", []

    def of(self, machine: str) -> list[str]:
        """The volumes that a machine has."""
        with self._lock:
            return sorted(identity for identity, known in self._known.items() if known.machine == machine)

    def unmount(self, machine: str) -> None:
        """A machine is down: it keeps its volumes, and has none of them mounted."""
        with self._lock:
            for known in self._known.values():
                if known.machine == machine:
                    known.mounted_at = []

    def mounted_at(self, volume_id: str) -> list[str]:
        """Where its machine has mounted it, whether or not it still is."""
        with self._lock:
            known = self._known.get(volume_id)
            return list(known.mounted_at) if known else []

    def answer(self, machine: str, message: dict[str, Any]) -> Path | Said:
        """What a machine's program gets: the folder to mount, or what it says.

        message: `program` (blkid, mkfs, mount or resize2fs), `device`, and for mount `target`.
        """
        program, device = str(message["program"]), str(message["device"])
        with self._lock:
            known = next((v for id, v in self._known.items() if device_of(id) == device and v.machine == machine), None)
            if known is None:
                return Said(errno.ENXIO, stderr=f"{program}: {device}: No such device or address\n")
            there = (known.folder / _MADE).is_dir()
            if program == "blkid":
                return Said(0, stdout=f"{FILE_SYSTEM}\n") if there else Said(2)
            if program == "mkfs":
                return self._make(known, device, there=there, force=bool(message.get("force")))
            if not there:
                return Said(32, stderr=f"{program}: {device}: wrong fs type, bad option, bad superblock\n")
            if program == "mount":
                known.mounted_at.append(str(message["target"]))
                return known.folder / _MADE
            return Said(0, stdout="Nothing to do!\n")

    def _make(self, known: _Volume, device: str, *, there: bool, force: bool) -> Said:
        if there and not force:
            return Said(1, stderr=f"{device} contains a {FILE_SYSTEM} file system\n")
        shutil.rmtree(known.folder / _MADE, ignore_errors=True)
        (known.folder / _MADE).mkdir(mode=0o755)
        return Said(0)
