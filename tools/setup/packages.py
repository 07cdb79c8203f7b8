"""Debian packages: which are needed and why, which are missing, and how they come.

Services that these packages bring (munge, slurmctld, slurmd) are not started on the user's machine: Dure runs them
inside its machines only. A `policy-rc.d` that says no lies there during the installation, unless the machine has one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tools.setup.console import SetupError, run, say

PACKAGES: dict[str, str] = {
    "slurmctld": "the queue's controller, on the head",
    "slurmd": "the queue's daemon, on every compute node",
    "slurm-client": "sbatch, squeue, scontrol",
    "munge": "authenticates Slurm's daemons to each other",
    "openmpi-bin": "Horovod is built with MPI beside Gloo",
    "libopenmpi-dev": "its headers",
    "libquadmath0": "MXNet's OpenBLAS",
    "libgfortran5": "MXNet's OpenBLAS",
    "g++": "compiles Horovod, once",
    "make": "compiles Horovod, once",
    "cmake": "compiles Horovod, once",
    "python3-dev": "compiles Horovod, once",
    "python3-venv": "the virtual environments",
    "iproute2": "the machines' network",
    "nftables": "keeps jobs away from the metadata service",
    "util-linux": "nsenter, setpriv, mount",
    "git": "which files of a working folder a job takes along",
    "ca-certificates": "package downloads",
}
USER_PACKAGES: dict[str, str] = {"uidmap": "maps the machines' users where you are not root"}
TEST_PACKAGES: dict[str, str] = {
    "openssh-server": "the ssh backend is tested against a real sshd, in a machine",
    "systemd": "systemd-analyze verifies the unit files (it is not started)",
}
POLICY = Path("/usr/sbin/policy-rc.d")


def wanted(*, tests: bool) -> dict[str, str]:
    """The packages that this run needs, each with its reason."""
    names = dict(PACKAGES)
    if os.geteuid():
        names |= USER_PACKAGES
    if tests:
        names |= TEST_PACKAGES
    return names


def missing(names: dict[str, str]) -> list[str]:
    """Those of `names` that dpkg does not know as installed."""
    if not shutil.which("dpkg-query"):
        raise SetupError(
            "This machine has no dpkg: `make demo` sets up Debian 12 and Ubuntu 22.04 or 24.04.\n"
            "    Elsewhere, run it in a virtual machine of one of these."
        )
    out = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *names],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    have = {line.split()[0] for line in out.splitlines() if line.endswith(" installed")}
    return sorted(set(names) - have)


def install(names: list[str], *, reasons: dict[str, str], logs: Path) -> None:
    """Installs `names` by apt-get, as root or by sudo.

    Errors: SetupError with the exact command to run where neither is possible.
    """
    say(f"    will install {len(names)} Debian packages:")
    for name in names:
        say(f"      {name:16} {reasons[name]}")
    command = f"apt-get update && apt-get install -y --no-install-recommends {' '.join(names)}"
    prefix = _privilege(command)
    quiet = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive"]
    with _no_services(prefix):
        run("apt-get update", [*quiet, "apt-get", "update"], log=logs / "apt-update.log")
        run(
            "apt-get install",
            [*quiet, "apt-get", "install", "-y", "--no-install-recommends", *names],
            log=logs / "apt-install.log",
            hint=f"Install them by hand and run this again: sudo sh -c '{command}'",
        )


def _privilege(command: str) -> list[str]:
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    asks = sys.stdin.isatty()
    if sudo and subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode == 0:
        return [sudo, "-n"]
    if sudo and asks and subprocess.run([sudo, "-v"], check=False).returncode == 0:
        return [sudo, "-n"]
    raise SetupError(
        "Debian packages are missing, you are not root, and sudo is not possible here.\n"
        f"    Ask an administrator to run: sudo sh -c '{command}'\n    Then run this again."
    )


@contextlib.contextmanager
def _no_services(prefix: list[str]) -> Iterator[None]:
    """Keeps the packages' services from starting on this machine while they are installed."""
    if POLICY.exists():
        yield
        return
    script = "#!/bin/sh\nexit 101\n"
    subprocess.run([*prefix, "tee", str(POLICY)], input=script, text=True, stdout=subprocess.DEVNULL, check=True)
    try:
        subprocess.run([*prefix, "chmod", "755", str(POLICY)], check=True)
        yield
    finally:
        subprocess.run([*prefix, "rm", "-f", str(POLICY)], check=False)
