"""What a machine's root is made of: pure decisions over a few facts of this host, handed to `inside.setup` as a `Plan`."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .api import MachineSpec
from .inside.plan import Bind, NewFile, Plan
from .inside.programs import FOLDER
from .network import machine_batch

PRIVATE = ("/tmp", "/var/tmp", "/run", "/dev", "/proc", "/sys")
_SYSTEM = ("/usr", "/opt", "/var", "/etc", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/srv")
_SHOWN = {"bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "opt", "proc", "root", "run", "sbin", "sys", "tmp",
          "usr", "var"}
_REAL = {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "overlay", "squashfs", "erofs", "virtiofs", "9p"}


@dataclass(frozen=True)
class Host:
    """What of this host bears on a machine's root.

    `hidden`: folders that machines must not see (homes, data at the top of the root, the repository, the state). `python`: the interpreter that runs our
    own programs. `bases`: Python installations that must be reachable at their own path. `host_mounts`: see `Plan`.
    """

    hidden: tuple[str, ...]
    python: str
    bases: tuple[str, ...]
    host_mounts: tuple[str, ...] = ()
    unprivileged: bool = False
    nsswitch: str = ""


def inspect(*, python: Path, virtual_environments: Sequence[Path], hidden: Sequence[Path], unprivileged: bool) -> Host:
    """Look at this host. Side effects: reads /etc/passwd, /etc/nsswitch.conf, /proc/self/mounts and the environments."""
    bases = {str(base) for venv in virtual_environments for base in python_bases(venv / "bin" / "python") if base != venv}
    bases |= {str(base) for base in python_bases(python)}
    nsswitch = Path("/etc/nsswitch.conf")
    return Host(
        hidden=tuple(sorted({*homes(pwd.getpwall()), *strangers(os.scandir("/")), *map(str, hidden)})),
        python=str(python),
        bases=tuple(sorted(bases)),
        host_mounts=tuple(system_mounts(Path("/proc/self/mounts").read_text())),
        unprivileged=unprivileged,
        nsswitch=files_only(nsswitch.read_text() if nsswitch.exists() else ""),
    )


def python_bases(python: Path) -> list[Path]:
    """The installation folders that a Python needs: one for each symbolic link on the way to the program itself."""
    found, current = [], python
    for _ in range(20):
        if not current.is_symlink():
            break
        current = Path(os.path.normpath(current.parent / current.readlink()))
        found.append(current.parent.parent)
    real = current.resolve().parent.parent
    return sorted({*found, real} - {Path("/"), Path("/usr"), Path("/usr/local")})


def homes(entries: Iterable[pwd.struct_passwd]) -> set[str]:
    """The home folders of people: /root, /home, and wherever else an account of a person lives."""
    people = {entry.pw_dir for entry in entries if 1000 <= entry.pw_uid < 60000}
    outside = {home for home in people if re.fullmatch(r"(/[^/]+){2,}", home) and not home.startswith(("/home/", "/nonexist"))}
    return {"/root", "/home", *outside}


def strangers(entries: Iterable[os.DirEntry[str]]) -> set[str]:
    """The folders at the top of this host that belong to no Linux system: its people's data."""
    return {entry.path for entry in entries if entry.name not in _SHOWN and entry.is_dir(follow_symlinks=False)}


def system_mounts(mounts: str) -> list[str]:
    """What the host has mounted below its root that belongs to the installed system, from /proc/self/mounts."""
    found = set()
    for line in mounts.splitlines():
        _, target, kind = line.split()[:3]
        path = target.encode().decode("unicode_escape")
        if kind in _REAL and Path(path).is_dir() and any(path == top or path.startswith(f"{top}/") for top in _SYSTEM):
            found.add(path)
    return sorted(found)


def files_only(nsswitch: str) -> str:
    """nsswitch.conf with local files as the only source of names: anything else would wait for a server that isn't there."""
    lines = [line for line in nsswitch.splitlines() if not re.match(r"\s*(hosts|passwd|group|shadow|gshadow)\s*:", line)]
    return "\n".join([*lines, *(f"{key}: files" for key in ("passwd", "group", "shadow", "gshadow", "hosts"))]) + "\n"


def within(path: str, folders: Iterable[str]) -> bool:
    """Whether a path is one of these folders or lies in one."""
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def masks(host: Host) -> tuple[tuple[str, int], ...]:
    """Folders shown empty. One that holds a Python can be passed through but not listed; others are their owner's alone."""
    needed = [*host.bases]
    outer = [path for path in host.hidden if not within(path, set(host.hidden) - {path} | set(PRIVATE))]
    return tuple((path, 0o711 if path == "/home" or any(within(base, [path]) for base in needed) else 0o700) for path in outer)


def base_binds(host: Host) -> tuple[Bind, ...]:
    """The Python installations that would be hidden otherwise."""
    veiled = [*host.hidden, *PRIVATE]
    return tuple(Bind(os.path.realpath(base), base) for base in host.bases if within(base, veiled))


def machine_plan(spec: MachineSpec, *, host: Host, folder: Path, image: Path, binds: Sequence[Bind], endpoint: str) -> Plan:
    """The plan of one EC2 instance. `folder` is the machine's own folder on this host, `image` the image's layer."""
    aws = f"[default]\nendpoint_url = {endpoint}\n"
    return Plan(
        mount_point=str(folder / "root"),
        layers=(str(image), "/"),
        host_name=spec.host_name,
        python=host.python,
        program_folder=FOLDER,
        host_mounts=host.host_mounts,
        unprivileged=host.unprivileged,
        masks=masks(host),
        binds=(*base_binds(host), *binds),
        devices=gpu_devices(spec.gpus),
        files=(
            NewFile("/etc/hostname", f"{spec.host_name}\n"),
            NewFile("/etc/hosts", hosts_file(spec)),
            NewFile("/etc/resolv.conf", ""),
            NewFile("/etc/nsswitch.conf", host.nsswitch),
            NewFile("/etc/machine-id", f"{spec.instance_id.removeprefix('i-'):0>32}\n"),
            # The AWS libraries know no system-wide file, and Slurm gives its programs no environment: one in each home.
            NewFile("~root/.aws/config", aws),
            NewFile("~slurm/.aws/config", aws),
        ),
        log_folder=str(folder / "log"),
        network=machine_batch(private_ip=spec.private_ip, prefix_length=spec.prefix_length, gateway=spec.gateway),
        user_data=spec.user_data,
        instance_id=spec.instance_id,
    )


def build_plan(*, host: Host, folder: Path, writable: Path, binds: Sequence[Bind], command: Sequence[str]) -> Plan:
    """The plan of a throw-away machine without a network whose writes become the image's layer."""
    return Plan(
        mount_point=str(folder), layers=("/",), host_name="image", python=host.python, program_folder=FOLDER,
        host_mounts=(), upper=str(writable), unprivileged=host.unprivileged, masks=masks(host),
        binds=(*base_binds(host), *binds), command=tuple(command))


def hosts_file(spec: MachineSpec) -> str:
    """/etc/hosts: itself, under the names that EC2 gives it."""
    short = spec.host_name.partition(".")[0]
    names = dict.fromkeys((spec.host_name, f"{short}.ec2.internal", short))
    return f"127.0.0.1 localhost\n{spec.private_ip} {' '.join(names)}\n"


def gpu_devices(count: int) -> tuple[tuple[str, str], ...]:
    """Device nodes that stand for GPUs: they exist and can be opened, as Slurm's gres plug-in wants."""
    if not count:
        return ()
    return tuple((name, "null") for name in (*(f"nvidia{n}" for n in range(count)), "nvidiactl", "nvidia-uvm"))
