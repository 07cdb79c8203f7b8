"""Files that the agent reads and writes: nothing under a folder of the job user is trusted, nothing appears by halves.

Side effects: `write_whole` writes; everything else only opens for reading.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def folder(root: Path, parts: Sequence[str] = ()) -> Iterator[int]:
    """A descriptor of the folder `parts` below `root`, reached without following a symbolic link below root.

    Errors: OSError (none there, a link on the way, not a folder).
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    here = os.open(root, flags)
    try:
        for part in parts:
            there = os.open(part, flags | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = there
        yield here
    finally:
        os.close(here)


def open_regular(name: str, *, within: int) -> int:
    """A descriptor for reading the regular file `name` in the folder `within`.

    Errors: OSError for anything else by that name: a link (which could name a file that the job may not read) or
    a pipe (which would block).
    """
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=within)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(f"{name} is not a regular file")
    return fd


def entries(within: int) -> dict[str, int]:
    """Names in an open folder, each with its inode. Errors: OSError."""
    with os.scandir(within) as found:
        return {entry.name: entry.inode() for entry in found}


def write_whole(path: Path, data: bytes) -> None:
    """Put `data` at `path`: after a crash at any moment there is the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)
