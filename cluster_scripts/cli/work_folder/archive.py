"""The archive that a working folder becomes.

The same files give the same bytes, whoever packs them and when: names are sorted, times and owners are
left out. So its SHA-256 names it, and it is sent once.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath

from cluster_scripts.cli.work_folder.listing import list_files
from cluster_scripts.cli.work_folder.problems import MEBIBYTE, FolderProblem, FolderTooLarge, KeyLikeFiles
from cluster_scripts.cli.work_folder.secrets import LOOKED_AT_BYTES, suspicion

LIMIT_BYTES = 200 * MEBIBYTE
# zlib's own default; named because the bytes, and so the hash, hang on it
COMPRESSION = 6


@dataclass(frozen=True)
class Archive:
    """One packed folder.

    path:      the .tar.gz file, which lives as long as the `with` block that made it
    sha256:    of its bytes, in hexadecimal
    files:     how many files it has
    size:      bytes of the archive
    unpacked:  bytes of the files in it
    """

    path: Path
    sha256: str
    files: int
    size: int
    unpacked: int


@contextmanager
def packed(folder: Path, *, allowed: Collection[str] = (), limit: int = LIMIT_BYTES) -> Iterator[Archive]:
    """Pack the folder into a temporary file.

    allowed: paths relative to the folder that may go although they look like secrets.
    limit:   bytes that the files may have in all, before compression.

    Raises KeyLikeFiles, FolderTooLarge, or FolderProblem (nothing to send, a file can't be read, a link
    leads out of the folder, an allowed path that is not among the files).
    Side effects: a temporary folder, gone at the end of the block.
    """
    names = list_files(folder)
    _refuse_what_must_not_go(folder, names, allowed=allowed, limit=limit)
    with tempfile.TemporaryDirectory(prefix="dure-code-") as place:
        path = Path(place) / "code.tar.gz"
        unpacked = _write(folder, names, path)
        yield Archive(path=path, sha256=_sha256(path), files=len(names), size=path.stat().st_size, unpacked=unpacked)


def _refuse_what_must_not_go(folder: Path, names: Collection[str], *, allowed: Collection[str], limit: int) -> None:
    if not names:
        raise FolderProblem(
            f"{str(folder)!r} has no file to send (git ignores all, or it is empty); --no-code sends no folder"
        )
    allowed = {PurePosixPath(name).as_posix() for name in allowed}
    if strange := sorted(allowed.difference(names)):
        raise FolderProblem(f"--allow-file names what would not be sent anyway: {', '.join(strange)}")
    sizes = sorted(((name, (folder / name).lstat().st_size) for name in names), key=lambda pair: (-pair[1], pair[0]))
    total = sum(size for _, size in sizes)
    if total > limit:
        raise FolderTooLarge(total=total, limit=limit, largest=sizes)
    findings = []
    for name in names:
        path = folder / name
        if path.is_symlink():
            _check_link(folder, name)
        elif name not in allowed and (why := suspicion(name, _head(path))):
            findings.append((name, why))
    if findings:
        raise KeyLikeFiles(findings)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LOOKED_AT_BYTES)
    except OSError as error:
        raise FolderProblem(f"{str(path)!r} can't be read: {error.strerror}; fix its mode or ignore it") from error


def _check_link(folder: Path, name: str) -> None:
    target = str((folder / name).readlink())
    root = folder.resolve()
    inside = (root / name).parent.joinpath(target)
    if Path(target).is_absolute() or not Path(os.path.normpath(inside)).is_relative_to(root):
        raise FolderProblem(
            f"{name!r} is a symbolic link to {target!r}, outside of the folder that is sent; on the cluster it would "
            "lead nowhere. Ignore it in .gitignore, or copy what it points to."
        )


def _write(folder: Path, names: Collection[str], path: Path) -> int:
    """Write the archive; returns the bytes of the files in it."""
    total = 0
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=COMPRESSION) as packed_stream,
        tarfile.open(fileobj=packed_stream, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name in names:
            total += _add(tar, folder / name, name)
    return total


def _add(tar: tarfile.TarFile, path: Path, name: str) -> int:
    entry = tarfile.TarInfo(name)
    if path.is_symlink():
        entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, str(path.readlink()), 0o777
        tar.addfile(entry)
        return 0
    # read first: a file that grows meanwhile must not tear the archive
    content = path.read_bytes()
    entry.size = len(content)
    entry.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
    tar.addfile(entry, BytesIO(content))
    return len(content)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
