"""Mounting FSx for Lustre, and its client's settings.

A file system that isn't ready is waited for; a name that is wrong is an error at once, with what the mount said.
"""

from __future__ import annotations

import re

from cluster_scripts.jobs.errors import StepFailed
from cluster_scripts.node.system import Result, System
from infra.config.facts import FileSystem

#: How long a file system may take until it answers, in seconds, and the pause between two tries.
READY_SECONDS = 600
PAUSE = 2.0

#: What the client says of a name that leads nowhere: waiting would not help. Source: mount.lustre's messages.
_WRONG = re.compile(
    r"Is the filesystem name correct|No such file or directory|Can't parse NID|Invalid argument|invalid mount|"
    r"No such device|unknown filesystem type|usage:",
    re.IGNORECASE,
)

#: For machines with many cores, from the FSx user guide; not kept over a reboot. Each is set only where it exists.
PARAMETERS: tuple[tuple[str, str], ...] = (
    ("osc.*OST*.max_rpcs_in_flight", "32"),
    ("mdc.*.max_rpcs_in_flight", "64"),
    ("mdc.*.max_mod_rpcs_in_flight", "50"),
)


def source(file_system: FileSystem) -> str:
    """What is mounted: `fs-1.fsx.us-east-1.amazonaws.com@tcp:/abcdef`."""
    return f"{file_system.dns_name}@tcp:/{file_system.mount_name}"


def mount(system: System, file_system: FileSystem) -> None:
    """Mount the file system unless it is mounted. StepFailed for a wrong name, or when it isn't ready in time.

    Side effects: makes the mount point.
    """
    target = file_system.mount_point
    system.folder(target)
    if system.run(["mountpoint", "--quiet", target]).code == 0:
        return
    argv = ["mount", "-t", "lustre", "-o", "noatime,flock", source(file_system), target]
    end = system.clock.now() + READY_SECONDS
    while (result := system.run(argv, timeout=READY_SECONDS)).code:
        said = _said(result)
        if _WRONG.search(said):
            raise StepFailed(
                f"{source(file_system)} can't be mounted at {target}: {said}. "
                "Is the name that of the cluster's file system, and does the image have the Lustre client?"
            )
        if system.clock.now() >= end:
            raise StepFailed(
                f"{source(file_system)} was not ready to be mounted within {READY_SECONDS} s; the last try: {said}. "
                "Look at the file system's state in FSx, and at ports 988 and 1018-1023 of its security group"
            )
        system.clock.sleep(PAUSE)


def tune(system: System) -> None:
    """Set the client's parameters. A machine whose client has no lctl, or lacks one of them, keeps its own values."""
    if system.run(["sh", "-c", "command -v lctl"]).code == 0:
        for name, value in PARAMETERS:
            system.run(["lctl", "set_param", f"{name}={value}"])


def _said(result: Result) -> str:
    return " ".join((result.stderr or result.stdout).split()) or f"nothing (exit code {result.code})"
