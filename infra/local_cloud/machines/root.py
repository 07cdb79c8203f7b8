"""What a machine's root is made of: pure decisions over a few facts of this host, handed to `inside.setup` as a
`Plan`.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .api import MachineSpec
from .inside.plan import Bind, Join, NewFile, Plan
from .inside.programs import FOLDER
from .network import machine_batch
from .services import sdk_config

JOINED = ("/usr", "/etc", "/var", "/opt")
_MERGED = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_FOLDERS = (
    ("/boot", 0o755),
    ("/dev", 0o755),
    ("/home", 0o755),
    ("/media", 0o755),
    ("/mnt", 0o755),
    ("/proc", 0o555),
    ("/run", 0o755),
    ("/srv", 0o755),
    ("/sys", 0o555),
    ("/tmp", 0o1777),
)
_DISKS = {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "virtiofs", "9p"}
_COPIED = ("/etc", "/var")  # in a user namespace: `ownership` says why
_NOT_COPIED = "/var/lib/dpkg"  # big, and what says which packages there are


@dataclass(frozen=True)
class Host:
    """What of this host bears on a machine's root.

    `hidden`: folders that machines must not see although they lie in the system's (homes, the repository, the state).
    `python`: the interpreter that runs our own programs. `bases`: Python installations that must be reachable at their
    own path.
    `links`: the top folders that are links here (/bin -> usr/bin). `nested`: file systems mounted below the system's
    folders.
    `base`: the layer of copies with mapped owners, in a user namespace. `writable_on_disk`: this kernel's tmpfs can't
    hold overlayfs's notes in a user namespace.
    """

    hidden: tuple[str, ...]
    python: str
    bases: tuple[str, ...]
    links: tuple[tuple[str, str], ...] = ()
    nested: tuple[str, ...] = ()
    top: tuple[str, ...] = JOINED
    base: str | None = None
    writable_on_disk: bool = False
    nsswitch: str = ""

    @property
    def unprivileged(self) -> bool:
        """Whether we are root in a user namespace only."""
        return self.base is not None


def inspect(
    *,
    python: Path,
    virtual_environments: Sequence[Path],
    hidden: Sequence[Path],
    base: Path | None = None,
    writable_on_disk: bool = False,
) -> Host:
    """Look at this host. Side effects: reads /etc/passwd, /etc/nsswitch.conf, /proc/self/mounts and the
    environments.
    """
    bases = {
        str(base) for venv in virtual_environments for base in python_bases(venv / "bin" / "python") if base != venv
    }
    bases |= {str(base) for base in python_bases(python)}
    nsswitch = Path("/etc/nsswitch.conf")
    merged = [Path(path) for path in _MERGED if Path(path).exists()]
    top = (*JOINED, *(str(path) for path in merged if not path.is_symlink()))
    return Host(
        hidden=tuple(sorted({*homes(pwd.getpwall()), *map(str, hidden)})),
        python=str(python),
        bases=tuple(sorted(bases)),
        links=tuple((str(path), str(path.readlink())) for path in merged if path.is_symlink()),
        nested=tuple(nested_mounts(Path("/proc/self/mounts").read_text(), top)),
        top=top,
        base=str(base) if base else None,
        writable_on_disk=writable_on_disk,
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
    outside = {
        home for home in people if re.fullmatch(r"(/[^/]+){2,}", home) and not home.startswith(("/home/", "/nonexist"))
    }
    return {"/root", "/home", *outside}


def nested_mounts(mounts: str, top: Sequence[str]) -> list[str]:
    """The disks that /proc/self/mounts has below the system's folders: an overlay of the folder does not include them.

    Deep below /var lie other programs' data and containers, which are no part of the system.
    """
    found = set()
    for line in mounts.splitlines():
        _, target, kind = line.split()[:3]
        path = target.encode().decode("unicode_escape")
        data = path.startswith("/var/") and path.count("/") > 2
        if kind in _DISKS and not data and any(path.startswith(f"{folder}/") for folder in top) and Path(path).is_dir():
            found.add(path)
    return sorted(found)


def files_only(nsswitch: str) -> str:
    """nsswitch.conf with local files as the only source of names: anything else would wait for a server that isn't
    there.
    """
    lines = [
        line for line in nsswitch.splitlines() if not re.match(r"\s*(hosts|passwd|group|shadow|gshadow)\s*:", line)
    ]
    return "\n".join([*lines, *(f"{key}: files" for key in ("passwd", "group", "shadow", "gshadow", "hosts"))]) + "\n"


def within(path: str, folders: Iterable[str]) -> bool:
    """Whether a path is one of these folders or lies in one."""
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def masks(host: Host) -> tuple[tuple[str, int], ...]:
    """Hidden folders that lie in the system's: shown empty, and passable when they hold a Python that is needed."""
    inside = [path for path in host.hidden if within(path, host.top)]
    outer = [path for path in inside if not within(path, set(inside) - {path})]
    return tuple((path, 0o711 if any(within(base, [path]) for base in host.bases) else 0o700) for path in outer)


def base_binds(host: Host) -> tuple[Bind, ...]:
    """The Python installations that the system's folders do not show."""
    return tuple(
        Bind(os.path.realpath(base), base)
        for base in host.bases
        if not within(base, host.top) or within(base, host.hidden)
    )


def joins(host: Host, image: Path | None) -> tuple[Join, ...]:
    """The system's folders: the image's layer, in a user namespace the copies with mapped owners (`ownership`), this
    host's.
    """
    found = []
    for path in host.top:
        upper = [f"{layer}{path}" for layer in (image, host.base) if layer]
        found.append(Join(path, tuple(upper if host.base and path in _COPIED else [*upper, path])))
    below = host.nested if host.base is None else (_NOT_COPIED,)
    return (*found, *(Join(path, (path,), nested=True) for path in below))


def folders(host: Host) -> tuple[tuple[str, int], ...]:
    """The folders of the root that are nobody's layer; /root is root's alone unless a Python that others need lies
    in it.
    """
    return (*_FOLDERS, ("/root", 0o711 if any(within(base, ["/root"]) for base in host.bases) else 0o700))


def machine_plan(
    spec: MachineSpec,
    *,
    host: Host,
    folder: Path,
    image: Path,
    binds: Sequence[Bind],
    api_port: int,
    disks: Sequence[NewFile] = (),
    again: bool = False,
) -> Plan:
    """The plan of one boot of an EC2 instance. `folder` is the machine's own folder on this host, `image` the image's
    layer, `disks` what stands for its volumes, `again` whether it has booted before.
    """
    aws = sdk_config(api_port)
    return Plan(
        mount_point=str(folder / "root"),
        host_name=spec.host_name,
        python=host.python,
        program_folder=FOLDER,
        joins=joins(host, image),
        folders=folders(host),
        links=host.links,
        writable=str(folder / "writable") if host.writable_on_disk else None,
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
            *disks,
        ),
        log_folder=str(folder / "log"),
        network=machine_batch(private_ip=spec.private_ip, prefix_length=spec.prefix_length, gateway=spec.gateway),
        user_data=spec.user_data,
        instance_id=spec.instance_id,
        kept=True,
        again=again,
    )


def build_plan(*, host: Host, folder: Path, writable: Path, binds: Sequence[Bind], command: Sequence[str]) -> Plan:
    """The plan of a throw-away machine without a network whose writes become the image's layer."""
    return Plan(
        mount_point=str(folder),
        host_name="image",
        python=host.python,
        program_folder=FOLDER,
        joins=joins(host, None),
        folders=folders(host),
        links=host.links,
        writable=str(writable),
        unprivileged=host.unprivileged,
        masks=masks(host),
        binds=(*base_binds(host), *binds),
        command=tuple(command),
    )


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
