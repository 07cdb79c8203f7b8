"""Who owns what, carried into a user namespace.

In a user namespace every file of this host's root and of its daemons' users belongs to "nobody", and can't be given to
anybody. Programs such as munged check owners, and overlayfs can't copy what it can't give an owner. So before the
namespace is entered the true owners are written down (`record`), and in it a layer is made (`make_layer`) of copies:
/etc whole, and of /var, /opt and /usr/local the folders, each with the owner that it has on this host, as machines
number their users in the same way. The host's own /etc and /var are then left out altogether: other programs mount
things below them (containers, say), and overlayfs in a user namespace can't look past a mount that it did not make.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

WHOLE = ("/etc",)
FOLDERS = {"/usr": 0, "/usr/local": 1, "/var": 3, "/opt": 1}
"""Folders of which only folders are copied, with how deep."""
LAST_ID = 65535
BIGGEST_FILE = 4 << 20
_OPAQUE = "user.overlay.opaque"

Owners = Mapping[str, tuple[int, int]]


def record(file: Path) -> None:
    """Write down the owners of everything that `make_layer` will copy and that is not root's. Call it outside."""
    owners = {path: (known.st_uid, known.st_gid) for path, known in _walk() if known.st_uid or known.st_gid}
    file.write_text(json.dumps(owners))


def load(file: Path) -> Owners:
    """What `record` wrote."""
    return {path: (uid, gid) for path, (uid, gid) in json.loads(file.read_text()).items()}


def make_layer(layer: Path, owners: Owners) -> None:
    """Copy into `layer` what the module's docstring says. Call it as root of the user namespace.

    What can't be read is left out; a folder that can't be read hides the host's own in the overlay.
    """
    for path, known in _walk():
        target = layer / path.lstrip("/")
        if stat.S_ISDIR(known.st_mode):
            target.mkdir(parents=True, exist_ok=True)
            if not os.access(path, os.R_OK | os.X_OK):
                os.setxattr(target, _OPAQUE, b"y")
        elif not _copy(path, target, known):
            continue
        os.lchown(target, *owners.get(path, (0, 0)))
        if not stat.S_ISLNK(known.st_mode):
            target.chmod(stat.S_IMODE(known.st_mode))


def _copy(path: str, target: Path, known: os.stat_result) -> bool:
    if stat.S_ISLNK(known.st_mode):
        target.symlink_to(Path(path).readlink())
        return True
    if not stat.S_ISREG(known.st_mode) or known.st_size > BIGGEST_FILE or not os.access(path, os.R_OK):
        return False
    shutil.copyfile(path, target)
    return True


def _walk() -> Iterator[tuple[str, os.stat_result]]:
    """Everything to be copied, folders before what is in them."""
    for top in WHOLE:
        yield from _below(top, depth=50, files=True)
    for top, depth in FOLDERS.items():
        yield from _below(top, depth=depth, files=False)


def _below(path: str, *, depth: int, files: bool) -> Iterator[tuple[str, os.stat_result]]:
    try:
        known = os.lstat(path)
    except OSError:
        return
    if not stat.S_ISDIR(known.st_mode):
        if files:
            yield path, known
        return
    if known.st_uid > LAST_ID and known.st_gid > LAST_ID:
        return
    yield path, known
    if depth > 0:
        try:
            names = sorted(os.listdir(path))  # noqa: PTH208 - many folders: strings are enough
        except PermissionError:
            return
        for name in names:
            yield from _below(f"{path}/{name}", depth=depth - 1, files=files)


def hand_back(folder: Path) -> None:
    """Give everything below a folder to root of this namespace, who is the user outside, so that the user can delete
    it.
    """
    for parent, names, files in os.walk(folder):
        os.chown(parent, 0, 0)
        for name in [*names, *files]:
            os.lchown(Path(parent, name), 0, 0)
