"""Files between a file system's folder and its bucket, both ways, whole files only.

Imported files and folders belong to root with mode 0755, as FSx gives objects that carry no POSIX metadata; objects
that a file system exported carry it and get it back. So a job user may write only where somebody gave it a folder,
exactly as on AWS. Contents arrive at once (FSx fetches them when they are first read: nothing can tell).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from botocore.exceptions import ClientError

from infra.local_cloud.aws.cloud import Cloud
from infra.local_cloud.aws.fsx import waiting
from infra.local_cloud.aws.fsx.state import Association, FsxState, Seen

SCAN_SECONDS = 1.0
DEFAULT_MODE = 0o755
_PART = ".fsx-import-"


# ---- import


def import_object(cloud: Cloud, region: str, association: Association, key: str) -> bool:
    """Bring one object into the folder. Returns whether it is there now. A vanished object is no error."""
    relative = association.relative(key)
    if not relative or not _is_safe(relative):
        return False
    s3 = cloud.client("s3", region)
    with association.lock:
        target = association.folder / relative.rstrip("/")
        if relative.endswith("/"):
            make_folders(association.folder, target)
            return True
        try:
            answer = s3.get_object(Bucket=association.bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                return False
            raise
        make_folders(association.folder, target.parent)
        part = target.with_name(f"{_PART}{uuid.uuid4().hex}")
        try:
            with part.open("wb") as out:
                for chunk in answer["Body"].iter_chunks(1 << 20):
                    out.write(chunk)
            _apply_metadata(part, answer.get("Metadata", {}))
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        found = target.stat()
        association.known[relative] = Seen(found.st_size, found.st_mtime_ns, answer["ETag"])
        association.candidates.pop(relative, None)
    return True


def _is_safe(relative: str) -> bool:
    return all(part not in ("", ".", "..") for part in relative.rstrip("/").split("/"))


def make_folders(root: Path, folder: Path) -> None:
    missing = [item for item in (folder, *folder.parents) if item.is_relative_to(root) and not item.exists()]
    for item in reversed(missing):
        item.mkdir()
        item.chmod(DEFAULT_MODE)


def _apply_metadata(path: Path, metadata: Mapping[str, str]) -> None:
    mode = metadata.get("file-permissions")
    path.chmod(int(mode, 8) & 0o7777 if mode else DEFAULT_MODE)
    owner, group = metadata.get("file-owner"), metadata.get("file-group")
    if owner is not None and group is not None:
        with contextlib.suppress(PermissionError):  # without root, owners cannot be given
            os.chown(path, int(owner), int(group))


def import_all(cloud: Cloud, region: str, association: Association, *, under: str = "") -> tuple[int, int]:
    """Import every object of the association (or under a relative path). Returns how many, and how many failed."""
    s3 = cloud.client("s3", region)
    prefix = association.key(under) if under else (f"{association.prefix}/" if association.prefix else "")
    done = failed = 0
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=association.bucket, Prefix=prefix):
        for item in page.get("Contents", []):
            relative = association.relative(item["Key"])
            known = association.known.get(relative or "")
            if known is not None and known.etag == item["ETag"]:
                continue
            ok = import_object(cloud, region, association, item["Key"])
            done, failed = done + ok, failed + (not ok)
    return done, failed


def object_changed(cloud: Cloud, region: str, bucket: str, key: str, *, deleted: bool) -> None:
    """S3 tells: an object was written or deleted. Carries it to every association that imports such events."""
    for association in list(cloud.store(FsxState, region).associations.values()):
        relative = association.relative(key) if association.bucket == bucket else None
        if relative is None or association.view["Lifecycle"] not in ("AVAILABLE", "UPDATING"):
            continue
        events = association.events("AutoImportPolicy")
        if deleted:
            if "DELETED" in events:
                _remove_file(association, relative)
            continue
        event = "CHANGED" if (association.folder / relative).exists() else "NEW"
        if event in events:
            import_object(cloud, region, association, key)


def _remove_file(association: Association, relative: str) -> None:
    if not _is_safe(relative):
        return
    with association.lock:
        association.known.pop(relative, None)
        target = association.folder / relative.rstrip("/")
        with contextlib.suppress(FileNotFoundError, OSError):
            target.rmdir() if relative.endswith("/") else target.unlink()


# ---- export


def export_changes(
    cloud: Cloud, region: str, association: Association, *, settled: bool, everything: bool = False
) -> int:
    """Send what changed in the folder to the bucket; returns how many objects were written or deleted.

    `settled`: skip files that changed since the last scan. `everything`: an export task, whatever the policy says.
    """
    events = frozenset({"NEW", "CHANGED", "DELETED"}) if everything else association.events("AutoExportPolicy")
    count = 0
    with association.lock:
        present: set[str] = set()
        for relative, found in _files(association.folder):
            present.add(relative)
            known, now = association.known.get(relative), (found.st_size, found.st_mtime_ns)
            if known is not None and (known.size, known.mtime_ns) == now:
                continue
            if ("CHANGED" if known else "NEW") not in events:
                continue
            if settled and association.candidates.get(relative) != now:
                association.candidates[relative] = now
                continue
            count += _export_file(cloud, region, association, relative, found)
        for relative in [name for name in association.known if name not in present]:
            if "DELETED" in events:
                cloud.client("s3", region).delete_object(Bucket=association.bucket, Key=association.key(relative))
                count += 1
            del association.known[relative]
        association.candidates = {name: seen for name, seen in association.candidates.items() if name in present}
    return count


def _files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    pending = [folder]
    while pending:
        current = pending.pop()
        with contextlib.suppress(FileNotFoundError), os.scandir(current) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    found = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(found.st_mode):
                        pending.append(Path(entry.path))
                    elif stat.S_ISREG(found.st_mode) and not entry.name.startswith(_PART):
                        yield str(Path(entry.path).relative_to(folder)), found


def _export_file(cloud: Cloud, region: str, association: Association, relative: str, before: os.stat_result) -> bool:
    path = association.folder / relative
    try:
        if _is_being_written(path):
            return False
        s3, key = cloud.client("s3", region), association.key(relative)
        metadata = {
            "file-owner": str(before.st_uid),
            "file-group": str(before.st_gid),
            "file-permissions": f"0{stat.S_IFREG | stat.S_IMODE(before.st_mode):o}",
            "file-mtime": f"{before.st_mtime_ns}ns",
        }
        s3.upload_file(str(path), association.bucket, key, ExtraArgs={"Metadata": metadata})
    except FileNotFoundError:
        return False
    etag = s3.head_object(Bucket=association.bucket, Key=key)["ETag"]
    # as it was before it was sent: if it changed or vanished meanwhile, the next scan sees that
    association.known[relative] = Seen(before.st_size, before.st_mtime_ns, etag)
    association.candidates.pop(relative, None)
    return True


def _is_being_written(path: Path) -> bool:
    """Whether any process has the file open for writing: then the kernel refuses a read lease."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False  # a file system without leases: two equal scans have to do
    finally:
        os.close(descriptor)
    return False


# ---- the watcher


def watch(cloud: Cloud, region: str) -> None:
    """Start the thread that exports changes, once a region."""
    state = cloud.store(FsxState, region)
    with state.lock:
        if state.watcher is None:
            state.watcher = threading.Thread(target=_watch, args=(cloud, region), name=f"fsx-{region}", daemon=True)
            state.watcher.start()


def _watch(cloud: Cloud, region: str) -> None:
    state = cloud.store(FsxState, region)
    while True:
        time.sleep(SCAN_SECONDS)
        for identity, association in list(state.associations.items()):
            if association.view["Lifecycle"] != "AVAILABLE" or not association.events("AutoExportPolicy"):
                continue
            try:
                export_changes(cloud, region, association, settled=True)
                association.view.pop("FailureDetails", None)
            except Exception as error:  # the bucket may be gone, or be refused: said once a scan, tried again
                if identity in state.associations:
                    association.view["FailureDetails"] = {"Message": f"{type(error).__name__}: {error}"}
                    cloud.record("export failed", association=identity, error=str(error))
        waiting.publish(cloud, region)


def objects_vanished(cloud: Cloud, region: str, bucket: str) -> None:
    """S3 tells: several objects of a bucket were deleted. Removes the files whose objects are gone."""
    for association in list(cloud.store(FsxState, region).associations.values()):
        if association.bucket != bucket or "DELETED" not in association.events("AutoImportPolicy"):
            continue
        listed: set[str] = set()
        pages = cloud.client("s3", region).get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=bucket, Prefix=f"{association.prefix}/" if association.prefix else ""):
            listed |= {item["Key"] for item in page.get("Contents", [])}
        for relative in list(association.known):
            if association.key(relative) not in listed:
                _remove_file(association, relative)
