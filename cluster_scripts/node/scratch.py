"""A queue's NVMe scratch space: the instance-store devices of a node as one file system at /scratch.

Several devices are striped (RAID 0, mdadm), one is used as it is; ext4, mounted noatime. What lies there is gone with
the instance, and between jobs: the epilog clears it. A machine without such devices gets a plain folder on its root
volume, and its boot log says so.
"""

from __future__ import annotations

import re

from cluster_scripts.node.steps import StepLog
from cluster_scripts.node.system import System

FOLDER = "/scratch"
LABEL = "dure-scratch"
ARRAY = f"/dev/md/{LABEL}"
# What the NVMe controller of an instance-store volume calls itself. Source: EC2 User Guide, NVMe instance store volumes
MODEL = "Amazon EC2 NVMe Instance Storage"
_DEVICE = re.compile(r"nvme\d+n\d+")
# Zeroing what is blank already, and trimming it, would take minutes on some terabytes
_FORMAT = ("mkfs.ext4", "-q", "-F", "-m", "0", "-L", LABEL, "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1")
#: Seconds for a program that writes to the devices.
FORMAT_SECONDS = 300


def devices(system: System) -> list[str]:
    """The instance-store devices of this machine, in the order of their numbers; none on a machine without them."""
    blocks = system.path("/sys/block")
    found = []
    for entry in blocks.iterdir() if blocks.is_dir() else ():
        model = entry / "device/model"
        if _DEVICE.fullmatch(entry.name) and model.is_file() and model.read_text(errors="replace").strip() == MODEL:
            found.append(entry.name)
    return [f"/dev/{name}" for name in sorted(found, key=lambda name: [int(part) for part in re.findall(r"\d+", name)])]


def make(system: System, log: StepLog) -> None:
    """Make /scratch, open to every user as /tmp is. What is mounted there already stays.

    Side effects: formats the instance-store devices unless they carry our file system. StepFailed when a program fails.
    """
    if system.run(["mountpoint", "--quiet", FOLDER]).code:
        found = devices(system)
        system.folder(FOLDER)
        if found:
            device = _formatted(system) or _format(system, found)
            system.check(["mount", "-t", "ext4", "-o", "noatime", device, FOLDER])
            log.note(f"{FOLDER} is on {len(found)} NVMe device{'' if len(found) == 1 else 's'}", ", ".join(found))
        else:
            log.note(f"this machine has no NVMe instance store: {FOLDER} is a folder of its root volume", ok=False)
    system.folder(FOLDER, mode=0o1777, owner="root")


def _formatted(system: System) -> str:
    """The device that carries our file system from before a reboot; "" for none."""
    result = system.run(["blkid", "--label", LABEL])
    return result.stdout.strip() if result.code == 0 else ""


def _format(system: System, found: list[str]) -> str:
    """Put one file system on all devices; the device to mount."""
    target = found[0]
    if len(found) > 1:
        target = ARRAY
        count = f"--raid-devices={len(found)}"
        system.check(["mdadm", "--create", ARRAY, "--run", "--level=0", count, *found], timeout=FORMAT_SECONDS)
    system.check([*_FORMAT, target], timeout=FORMAT_SECONDS)
    return target
