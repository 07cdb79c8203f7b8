"""A user's work folder, unpacked as root where every job may read it and none may change it.

    /fsx/.dure/code/SHA256/

The archive comes from the bucket, and is trusted no more than anything else from there: its hash is checked before it
is opened, and only plain files, folders and links that stay inside come out of it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from cluster_scripts.jobs.errors import InvalidCode
from cluster_scripts.jobs.spec import CodeRef

MAX_ARCHIVE = 512 << 20
MAX_UNPACKED = 4 << 30
MAX_MEMBERS = 100_000
MAX_NAME = 1_000
_CHUNK = 1 << 20

#: Writes the archive to a file: (key, file, limit in bytes) -> whether the bucket has it.
Download = Callable[[str, Path, int], bool]


def unpacked(code: CodeRef, *, folder: Path, download: Download) -> Path:
    """The unpacked folder of this code, fetched unless it is there. InvalidCode if the archive is missing, false or
    unsafe.

    Side effects: one new folder under `folder`, whole or not at all.
    """
    target = folder / code.sha256
    if target.is_dir():
        return target
    with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as name:
        archive, content = Path(name) / "archive", Path(name) / "content"
        if not download(code.key, archive, MAX_ARCHIVE):
            raise InvalidCode(f"the bucket has no {code.key}; was the code sent?")
        if (found := _sha256(archive)) != code.sha256:
            raise InvalidCode(f"{code.key} has the SHA-256 {found}: it was changed or cut on its way; send it again")
        unpack(archive, content)
        try:
            content.rename(target)
        except OSError:
            # another submission of the same code was faster
            if not target.is_dir():
                raise
    return target


def unpack(archive: Path, into: Path) -> None:
    """Unpack a .tar.gz into a new folder, owned by us, readable by all, writable by us alone. InvalidCode for an
    unsafe one.

    By hand, and not by tarfile's own extraction: that is safe with its filters only, which Python 3.11.2 (Debian 12)
    lacks.
    """
    into.mkdir(mode=0o755)
    try:
        with tarfile.open(archive, mode="r:gz") as tar:
            for member in _checked(tar):
                _write(tar, member, into / member.name)
    except (tarfile.TarError, EOFError, OSError, UnicodeError, zlib.error) as error:
        shutil.rmtree(into, ignore_errors=True)
        raise InvalidCode(f"the code archive can't be unpacked: {error}") from error
    except InvalidCode:
        shutil.rmtree(into, ignore_errors=True)
        raise


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    """One checked member. What is there already is never written to, nor through."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if member.isdir():
        path.mkdir(mode=0o755, exist_ok=True)
    elif member.issym():
        path.symlink_to(member.linkname)
    else:
        mode = 0o755 if member.mode & stat.S_IXUSR else 0o644
        content = tar.extractfile(member)
        assert content is not None
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with content, os.fdopen(descriptor, "wb") as file:
            shutil.copyfileobj(content, file, _CHUNK)


def _checked(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    total, links = 0, set[PurePosixPath]()
    for count, member in enumerate(tar, start=1):
        total += member.size
        if count > MAX_MEMBERS:
            raise InvalidCode(f"the code archive has more than {MAX_MEMBERS} members")
        if total > MAX_UNPACKED:
            raise InvalidCode(f"the code archive unpacks to more than {MAX_UNPACKED >> 20} MiB")
        place = PurePosixPath(member.name)
        problem = _problem(member) or ("it lies behind a link" if links.intersection(place.parents) else None)
        if member.issym():
            links.add(place)
        if problem:
            raise InvalidCode(f"the code archive has {member.name[:200]!r}: {problem}")
        yield member


def _problem(member: tarfile.TarInfo) -> str | None:
    """Why a member must not be unpacked."""
    if not (member.isreg() or member.isdir() or member.issym()):
        return "only files, folders and symbolic links are taken"
    if len(member.name) > MAX_NAME:
        return f"its name is longer than {MAX_NAME} characters"
    if ".." in PurePosixPath(member.name).parts or _leads_out(PurePosixPath(member.name)):
        return "its name leads out of the folder"
    if member.issym() and _leads_out(PurePosixPath(member.name).parent / member.linkname):
        return f"it is a link to {member.linkname[:200]!r}, out of the folder"
    return None


def _leads_out(path: PurePosixPath) -> bool:
    """Whether a path, read from the folder, is absolute or goes above it at any point."""
    depth = 0
    for part in path.parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            return True
    return path.is_absolute()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
