"""What this host must be able to do, tried before anything starts; each lack is one line with its remedy."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGES = {
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "prlimit": "util-linux",
    "ip": "iproute2",
    "nft": "nftables",
    "bash": "bash",
}
USER_PACKAGES = {"newuidmap": "uidmap", "newgidmap": "uidmap"}
OLDEST_KERNEL = (5, 12)  # mount_setattr, overlayfs in user namespaces
DISK_NEEDED = 500 << 20
IDS_NEEDED = 65536
_TRIAL = """
mount -t tmpfs trial "$1" && cd "$1" && mkdir upper work root &&
mount -t overlay -o "lowerdir=/usr,upperdir=upper,workdir=work$2" trial root && mount -t proc proc upper &&
mount -t sysfs sysfs upper && ip link add trial1 type veth peer name trial2 || exit
said=$(echo "$3" | nft -f - 2>&1) || { echo "no nftables: $(echo "$said" | head -n 1)" >&2; exit 1; }
"""
NO_FILTER = "no nftables: "
# What the machines' ruleset needs of the kernel: sets of pairs, connection tracking, the hook of forwarded packets
_TRIAL_RULES = """table ip trial {
  set pairs {
    type ipv4_addr . ipv4_addr
    elements = { 192.0.2.1 . 192.0.2.2 }
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    ip saddr . ip daddr @pairs tcp dport 1-9 accept
  }
}"""


@dataclass(frozen=True)
class Facts:
    """What `problems` judges; gathered by `look`."""

    kernel: str
    missing_programs: tuple[str, ...]
    free_bytes: int
    root: bool
    user: str = "root"
    subordinate_uids: int = 0
    subordinate_gids: int = 0
    sysctls: Mapping[str, str] | None = None
    mounts: str = ""
    trial_error: str = ""


def problems(facts: Facts, *, state: Path) -> list[str]:
    """Every reason why machines can't run here, each with what to do. Pure."""
    found = []
    version = tuple(int(part) for part in re.findall(r"\d+", facts.kernel)[:2])
    if version < OLDEST_KERNEL:
        found.append(
            f"the kernel is {facts.kernel}; machines need Linux {'.'.join(map(str, OLDEST_KERNEL))} or later: update it"
        )
    packages = {**PACKAGES, **USER_PACKAGES}
    for program in facts.missing_programs:
        found.append(f"{program} is missing: sudo apt-get install --no-install-recommends {packages[program]}")
    if facts.free_bytes < DISK_NEEDED:
        found.append(
            f"only {facts.free_bytes >> 20} MB are free below {state}, {DISK_NEEDED >> 20} MB are needed: make room or "
            "give --state a folder elsewhere"
        )
    if not facts.root:
        found += user_problems(facts)
    if facts.trial_error.startswith(NO_FILTER) and not found:
        found.append(
            f"this kernel can't filter what passes between machines ({facts.trial_error.removeprefix(NO_FILTER)}): "
            "sudo modprobe -a nf_tables nf_conntrack nft_ct, or boot a kernel that has them"
        )
    elif facts.trial_error and not found:
        found.append(
            f"this host refuses namespaces, overlayfs or virtual interfaces ({facts.trial_error}): "
            + (
                "run as root, or with more rights if this is a container (docker run --privileged)"
                if facts.root
                else "run with sudo, or ask for user namespaces to be allowed"
            )
        )
    return found


def user_problems(facts: Facts) -> list[str]:
    """What keeps somebody who is not root from having machines in a user namespace."""
    sysctls, found = facts.sysctls or {}, []
    if sysctls.get("kernel.unprivileged_userns_clone") == "0":
        found.append("user namespaces are off: sudo sysctl -w kernel.unprivileged_userns_clone=1, or run with sudo")
    if sysctls.get("user.max_user_namespaces") == "0":
        found.append("user namespaces are off: sudo sysctl -w user.max_user_namespaces=10000, or run with sudo")
    if sysctls.get("kernel.apparmor_restrict_unprivileged_userns") == "1":
        found.append(
            "AppArmor takes away the rights in user namespaces: sudo sysctl -w "
            "kernel.apparmor_restrict_unprivileged_userns=0, or run with sudo"
        )
    for path in mounts_in_the_way(facts.mounts):
        found.append(
            f"{path} is mounted, and in a user namespace overlayfs can't look past it: unmount it or run with sudo"
        )
    for kind, count in (("uids", facts.subordinate_uids), ("gids", facts.subordinate_gids)):
        if count < IDS_NEEDED:
            found.append(
                f"{facts.user} has {count} subordinate {kind}, machines need {IDS_NEEDED} for their own users: "
                f"sudo usermod --add-sub{kind} 100000-165535 {facts.user}"
            )
    return found


def look(state: Path) -> Facts:
    """Gather the facts. Side effect: makes and unmakes namespaces with trial mounts, seen by nobody else."""
    root, user = os.geteuid() == 0, pwd.getpwuid(os.geteuid()).pw_name
    programs = {**PACKAGES, **({} if root else USER_PACKAGES)}
    search = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    facts = Facts(
        kernel=os.uname().release,
        missing_programs=tuple(name for name in programs if shutil.which(name, path=search) is None),
        free_bytes=shutil.disk_usage(state).free,
        root=root,
        user=user,
        mounts=_read("/proc/self/mounts"),
        subordinate_uids=count_ids(_read("/etc/subuid"), user, os.geteuid()),
        subordinate_gids=count_ids(_read("/etc/subgid"), user, os.geteuid()),
        sysctls={
            name: _read("/proc/sys/" + name.replace(".", "/")).strip()
            for name in (
                "kernel.unprivileged_userns_clone",
                "user.max_user_namespaces",
                "kernel.apparmor_restrict_unprivileged_userns",
            )
        },
    )
    return Facts(**{**facts.__dict__, "trial_error": "" if facts.missing_programs else _try(state, root=root)})


def mounts_in_the_way(mounts: str) -> list[str]:
    """What /proc/self/mounts has below the folders of which a user's machines join the host's own."""
    paths = [line.split()[1] for line in mounts.splitlines() if len(line.split()) > 1]
    return sorted(path for path in paths if path.startswith(("/usr/", "/opt/", "/var/lib/dpkg/")))


def count_ids(text: str, user: str, uid: int) -> int:
    """The length of a user's longest range in /etc/subuid or /etc/subgid."""
    lines = [line.split(":") for line in text.splitlines() if line.count(":") == 2]
    return max((int(length) for name, _, length in lines if name in (user, str(uid)) and length.isdigit()), default=0)


def _read(path: str) -> str:
    return Path(path).read_text() if Path(path).exists() else ""


def _try(state: Path, *, root: bool) -> str:
    folder = state / "trial"
    folder.mkdir(exist_ok=True)
    user = [] if root else ["--user", "--map-root-user"]
    argv = [
        "unshare",
        *user,
        "--net",
        "--uts",
        "--ipc",
        "--mount",
        "--pid",
        "--fork",
        "sh",
        "-c",
        _TRIAL,
        "trial",
        str(folder),
        "" if root else ",userxattr",
        _TRIAL_RULES,
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    folder.rmdir()
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
