"""This host, made ready to carry machines: mounts of our own, and what machines are shown of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from . import image, root
from .inside import syscalls

CLONE_NEWNS = 0x00020000


def own_mounts() -> None:
    """Give this process mounts of its own, so that nothing it mounts is seen on the host or outlives it."""
    syscalls.unshare(CLONE_NEWNS)
    syscalls.mount("none", "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)


def look(*, state: Path, repository: Path, environments: Sequence[Path], unprivileged: bool) -> root.Host:
    """This host as machines see it. Call it after `own_mounts`: in a user namespace it tries a mount."""
    folder = state / "image"
    return root.inspect(
        python=Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable))),
        virtual_environments=environments,
        hidden=[repository, state],
        base=folder / "base" if unprivileged else None,
        writable_on_disk=unprivileged and not image.memory_holds_notes(folder),
    )
