"""Files to and from the cluster's file system, by way of its bucket: FSx brings over what lands under an association.

Pure: `Places` maps paths of the file system to keys. Transfers: `upload` and `download`, several parts at once.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from cluster_scripts.backends.aws.bucket import Bucket
from cluster_scripts.backends.aws.errors import translating
from cluster_scripts.backends.aws.objects import is_absent
from cluster_scripts.jobs.errors import InvalidArgument
from infra.config.facts import FileSystem

if TYPE_CHECKING:
    from boto3.s3.transfer import TransferConfig

Progress = Callable[[int], None]

MEBIBYTE = 1 << 20
# parts of 16 MiB, eight at once: a line of 10 Gb/s is filled, and 160 GB fit into S3's 10,000 parts
PART_BYTES = 16 * MEBIBYTE
PARTS_AT_ONCE = 8
# S3's own limit of an object's name. Source: "Creating object key names"
MAX_KEY_BYTES = 1024


@dataclass(frozen=True)
class Places:
    """Which key of the bucket a path of the file system is."""

    file_system: FileSystem

    def key(self, path: str) -> str:
        """The key of /data/x or, the same, /fsx/data/x (without a slash at its end).

        Raises InvalidArgument for a path that no association covers, or that climbs with "..".
        """
        if not path.startswith("/"):
            raise InvalidArgument(f":{path} is no path of the file system; write it from the root, such as :/data/x")
        parts = PurePosixPath(path).parts[1:]
        if ".." in parts:
            raise InvalidArgument(f":{path} climbs with ..; write the path without")
        mount = PurePosixPath(self.file_system.mount_point).parts[1:]
        if parts[: len(mount)] == mount:
            parts = parts[len(mount) :]
        for association in sorted(self.file_system.associations, key=lambda a: -len(a.path)):
            root = PurePosixPath(association.path).parts[1:]
            if parts[: len(root)] == root:
                return _checked("/".join([association.prefix, *parts[len(root) :]]))
        folders = ", ".join(f":{a.path}" for a in self.file_system.associations) or "none"
        raise InvalidArgument(
            f":{path} is on the file system, but no association ties it to the bucket, and files get there through the "
            f"bucket only (tied: {folders}). Copy to such a folder, or add an association to the cluster file"
        )


def _checked(key: str) -> str:
    if len(key.encode()) > MAX_KEY_BYTES:
        raise InvalidArgument(
            f"the path is too long for S3 ({len(key.encode())} bytes, at most {MAX_KEY_BYTES}): {key[:80]}..."
        )
    return key


@dataclass(frozen=True)
class Item:
    """One file to copy. `name`: how it is shown; `size` in bytes."""

    path: Path
    key: str
    size: int
    name: str


def plan_upload(source: Path, key: str, *, into: bool) -> list[Item]:
    """The files to send: one file, or all below a folder (symbolic links to files count as files), in a fixed order.

    into: the target is a folder, so that the source's own name comes behind it. Raises InvalidArgument when there is
    nothing to send.
    """
    target = f"{key}/{source.resolve().name}" if into else key
    if source.is_file():
        return [Item(path=source, key=_checked(target), size=source.stat().st_size, name=source.name)]
    if not source.is_dir():
        raise InvalidArgument(f"there is no file or folder {str(source)!r}")
    items = [
        Item(path=path, key=_checked(f"{target}/{name}"), size=path.stat().st_size, name=name)
        for name, path in _files_below(source)
    ]
    if not items:
        raise InvalidArgument(f"the folder {str(source)!r} has no file in it")
    return items


def _files_below(folder: Path) -> Iterator[tuple[str, Path]]:
    found = []
    for place, _, files in os.walk(folder):
        for name in files:
            path = Path(place) / name
            if path.is_file():
                found.append((path.relative_to(folder).as_posix(), path))
    yield from sorted(found)


def is_folder(bucket: Bucket, key: str) -> bool:
    """Whether there are objects below the key."""
    with translating(f"listing s3://{bucket.name}/{key}/"):
        return bool(bucket.aws.s3.list_objects_v2(Bucket=bucket.name, Prefix=f"{key}/", MaxKeys=1).get("Contents"))


def plan_download(bucket: Bucket, key: str, target: Path, *, shown: str) -> list[Item]:
    """The objects to fetch: the one of that name, or all below it, and where each goes.

    A target that is an existing folder gets the source's own name inside. Raises InvalidArgument when there is nothing,
    or for an object whose name would lead out of the target.
    """
    goes = target / PurePosixPath(key).name if target.is_dir() else target
    with translating(f"listing s3://{bucket.name}/{key}"):
        try:
            size = bucket.aws.s3.head_object(Bucket=bucket.name, Key=key)["ContentLength"]
            return [Item(path=goes, key=key, size=size, name=goes.name)]
        except ClientError as error:
            if not is_absent(bucket.aws.s3, bucket.name, key, error):
                raise
        pages = bucket.aws.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket.name, Prefix=f"{key}/")
        found = [(item.get("Key", ""), item.get("Size", 0)) for page in pages for item in page.get("Contents", [])]
    # FSx writes an object "folder/" for a folder
    files = [(name.removeprefix(f"{key}/"), name, size) for name, size in found if not name.endswith("/")]
    if not files:
        raise InvalidArgument(
            f"there is nothing at :{shown} in the bucket; what a job writes there comes over a while after it is closed"
        )
    for name, _, _ in files:
        if ".." in PurePosixPath(name).parts or name.startswith("/"):
            raise InvalidArgument(f"the bucket has an object {name!r} that would be written outside of {str(target)!r}")
    return [Item(path=goes / name, key=full, size=size, name=name) for name, full, size in sorted(files)]


def _config() -> TransferConfig:
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=PARTS_AT_ONCE)


def upload(bucket: Bucket, items: Sequence[Item], *, progress: Progress) -> None:
    """Send the files, one after the other, each in parallel parts. Raises an OtherSide, or InvalidArgument."""
    for item in items:
        with translating(f"sending {item.path} to s3://{bucket.name}/{item.key}"):
            try:
                bucket.aws.s3.upload_file(str(item.path), bucket.name, item.key, Config=_config(), Callback=progress)
            except OSError as error:
                raise InvalidArgument(f"{item.path} can't be read: {error.strerror or error}") from error


def download(bucket: Bucket, items: Sequence[Item], *, progress: Progress) -> None:
    """Fetch the objects; each file appears whole or not at all. Raises an OtherSide, or InvalidArgument."""
    for item in items:
        try:
            item.path.parent.mkdir(parents=True, exist_ok=True)
            _download(bucket, item, progress=progress)
        except OSError as error:
            raise InvalidArgument(f"{item.path} can't be written: {error.strerror or error}") from error


def _download(bucket: Bucket, item: Item, *, progress: Progress) -> None:
    handle, name = tempfile.mkstemp(dir=item.path.parent, prefix=f".{item.path.name[:100]}.", suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            with translating(f"fetching s3://{bucket.name}/{item.key}"):
                bucket.aws.s3.download_fileobj(bucket.name, item.key, file, Config=_config(), Callback=progress)
            file.flush()
            os.fsync(file.fileno())
        part.chmod(0o666 & ~_umask())
        part.replace(item.path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
