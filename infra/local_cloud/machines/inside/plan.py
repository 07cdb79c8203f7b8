"""What a machine's root is made of, as data: decided outside (`machines.root`), carried out by `inside.setup`."""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Bind:
    """A folder or file of the host shown in the machine. `source` holds no symbolic link; `target` is made if
    missing.
    """

    source: str
    target: str
    read_only: bool = True


@dataclass(frozen=True)
class NewFile:
    """A file written into the machine's own layer, replacing what is there (a symbolic link too)."""

    path: str
    content: str
    mode: int = 0o644
    owner: str = "root"


@dataclass(frozen=True)
class Join:
    """A folder of the machine made of read-only layers, the topmost first; what the machine writes there stays its own.

    `nested`: it lies in another joined folder, so what is written there must lie apart, and is no part of an image.
    """

    path: str
    layers: tuple[str, ...]
    nested: bool = False


@dataclass(frozen=True)
class Plan:
    """A machine's root and start. The root itself is an empty folder in memory; only what is named here appears in it.

    `mount_point`: an empty folder of the host. `kept`: the root lies mounted there already, and outlives this boot.
    `again`: an earlier boot made it. `joins`: the system's folders, outer ones first. `folders` and `links`:
    made in the root, with their mode or target. `writable`: a folder of the host for what the machine writes, None for
    memory.
    `masks`: folders inside joined ones that are shown empty, with their mode.
    `devices`: name under /dev -> device of the host. `log_folder`: becomes /var/log. `network`: a batch for ip(8), run
    when the cable is in; empty for none. `command`: what runs instead of user data and then ends the machine (image
    builds).
    """

    mount_point: str
    host_name: str
    python: str
    program_folder: str
    joins: tuple[Join, ...] = ()
    folders: tuple[tuple[str, int], ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    writable: str | None = None
    unprivileged: bool = False
    masks: tuple[tuple[str, int], ...] = ()
    binds: tuple[Bind, ...] = ()
    devices: tuple[tuple[str, str], ...] = ()
    files: tuple[NewFile, ...] = ()
    log_folder: str | None = None
    network: str = ""
    user_data: bytes = b""
    instance_id: str = ""
    command: tuple[str, ...] = ()
    memory_limit: str = "50%"
    kept: bool = False
    again: bool = False

    def to_message(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {**asdict(self), "user_data": base64.b64encode(self.user_data).decode()}

    @classmethod
    def from_message(cls, message: dict[str, Any]) -> Plan:
        """The inverse of `to_message`."""
        return cls(
            **{
                **message,
                "joins": tuple(Join(item["path"], tuple(item["layers"]), item["nested"]) for item in message["joins"]),
                "folders": tuple((path, mode) for path, mode in message["folders"]),
                "links": tuple((path, target) for path, target in message["links"]),
                "masks": tuple((path, mode) for path, mode in message["masks"]),
                "binds": tuple(Bind(**item) for item in message["binds"]),
                "devices": tuple((name, source) for name, source in message["devices"]),
                "files": tuple(NewFile(**item) for item in message["files"]),
                "command": tuple(message["command"]),
                "user_data": base64.b64decode(message["user_data"]),
            }
        )
