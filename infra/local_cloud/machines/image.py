"""The image layer: what an AMI holds beyond this host's installed software, made once per start of the local cloud.

It is the writable layer of a throw-away machine in which `ami/install.sh` ran, so that a slip in that script can't
touch this host. The layer lies in memory, in this process's own mount namespace: overlayfs refuses a layer that lies
below another one.
"""

from __future__ import annotations

import compileall
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from . import ownership
from .api import MachineError
from .inside import syscalls
from .inside.plan import Bind
from .inside.programs import COMMANDS, FOLDER
from .machine import run_to_end
from .process import Process
from .root import Host, build_plan

PACKAGE = Path(__file__).resolve().parents[1]
_SHIPPED = ("machines/inside", "devices/systemd", "devices/mount_lustre.py", "devices/volume_programs.py")
_WITHOUT_HOST_IDENTITY = """
set -eu
rm -rf /etc/systemd/system/* /etc/ssh/ssh_host_* /etc/munge/munge.key
: >/etc/fstab
[ ! -e /etc/shadow ] || { sed 's/^\\([^:]*\\):[^:]*:/\\1:*:/' /etc/shadow >/etc/shadow.new; chmod 640 /etc/shadow.new
  mv /etc/shadow.new /etc/shadow; }
"""
_INSTALL = """
set -eu
exec env DESTDIR=/ bash "$1/ami/install.sh"
"""


def owners_file(folder: Path) -> Path:
    """Where the owners are written down for an image at `folder`, before the user namespace is entered."""
    return folder.with_name("owners.json")


def install_programs(layer: Path, *, python: str) -> Path:
    """Put our own programs into a layer; returns the folder that `PYTHON FOLDER NAME` runs."""
    folder = layer / FOLDER.lstrip("/")
    package = folder / "infra" / "local_cloud"
    for name in _SHIPPED:
        target = package / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (PACKAGE / name).is_dir():
            shutil.copytree(PACKAGE / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(PACKAGE / name, target)
    for empty in (folder / "infra", package, package / "machines", package / "devices"):
        (empty / "__init__.py").write_text("")
    (folder / "__main__.py").write_text(
        "import sys\n\nfrom infra.local_cloud.machines.inside.programs import main\n\nsys.exit(main())\n"
    )
    compileall.compile_dir(folder, quiet=2, stripdir=str(folder), prependdir=FOLDER)
    for path, words in COMMANDS.items():
        command = layer / path
        command.parent.mkdir(parents=True, exist_ok=True)
        command.write_text(f"#!/bin/sh\nexec '{python}' -EsS {FOLDER} {words} \"$@\"\n")
        command.chmod(0o755)
    for made in layer.rglob("*"):
        if made.is_dir():
            made.chmod(0o755)
    return folder


def memory_holds_notes(folder: Path) -> bool:
    """Whether this kernel's tmpfs can hold overlayfs's notes in a user namespace (user.* attributes, Linux 6.6)."""
    folder.mkdir(parents=True, exist_ok=True)
    syscalls.mount("trial", str(folder), kind="tmpfs")
    try:
        os.setxattr(folder, "user.overlay.trial", b"y")
    except OSError:
        return False
    finally:
        syscalls.unmount_lazily(str(folder))
    return True


def mount_layer(folder: Path, *, on_disk: bool) -> Path:
    """A place for the layer at `folder`, in memory if it can be; returns the layer's own folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if not on_disk:
        syscalls.mount("image", str(folder), kind="tmpfs", data="mode=755,size=256m")
    for name in ("upper", "work", "build", "base"):
        (folder / name).mkdir()
    return folder / "upper"


def build(folder: Path, *, host: Host, repository: Path, console: Path) -> Path:
    """Make the image below `folder` and return its layer. Raises `MachineError` with the script's last words.

    Must run on a thread that lives as long as the owner (see `process`). Side effect: a mount at `folder`.
    """
    layer = mount_layer(folder, on_disk=host.writable_on_disk)
    if host.base is not None:
        ownership.make_layer(Path(host.base), ownership.load(owners_file(folder)))
    programs = install_programs(layer, python=host.python)
    _step(
        ["bash", "-c", _WITHOUT_HOST_IDENTITY], folder=folder, host=host, binds=(), console=console, programs=programs
    )
    if (repository / "ami" / "install.sh").exists():
        source = Bind(str(repository), str(repository))
        _step(
            ["bash", "-c", _INSTALL, "install", str(repository)],
            folder=folder,
            host=host,
            binds=(source,),
            console=console,
            programs=programs,
        )
    return layer


def _step(
    command: Sequence[str], *, folder: Path, host: Host, binds: Sequence[Bind], console: Path, programs: Path
) -> None:
    plan = build_plan(host=host, folder=folder / "build", writable=folder, binds=binds, command=command)
    process = Process.start(plan, program_folder=programs, console=console)
    try:
        code = run_to_end(process, timeout=120)
    finally:
        process.close()
    if code:
        words = " | ".join(console.read_text(errors="replace").splitlines()[-5:])
        raise MachineError(f"the image could not be made ({command[-1]!r} ended with {code}): {words}")
