"""Which programs a machine gets from us, and the one way all of them start: `PYTHON FOLDER NAME ARGUMENTS`."""

from __future__ import annotations

import importlib
import sys

FOLDER = "/usr/lib/local-cloud"
_BASE = "infra.local_cloud."
MODULES = {
    "setup": _BASE + "machines.inside.setup",
    "init": _BASE + "machines.inside.init",
    "power": _BASE + "machines.inside.power",
    "systemctl": _BASE + "devices.systemd.systemctl",
    "journalctl": _BASE + "devices.systemd.journalctl",
    "mount.lustre": _BASE + "devices.mount_lustre",
    "volume": _BASE + "devices.volume_programs",
}
COMMANDS = {
    # path in the machine -> program and its first arguments
    "usr/bin/systemctl": "systemctl",
    "usr/bin/journalctl": "journalctl",
    "usr/sbin/mount.lustre": "mount.lustre",
    "usr/sbin/blkid": "volume blkid",
    "usr/sbin/mkfs.ext4": "volume mkfs",
    "usr/sbin/mount.ext4": "volume mount",
    "usr/sbin/resize2fs": "volume resize2fs",
    "usr/sbin/poweroff": "power poweroff",
    "usr/sbin/halt": "power halt",
    "usr/sbin/reboot": "power reboot",
    "usr/sbin/shutdown": "power shutdown",
}


def main() -> int:
    """Load and run the program that the first argument names."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in MODULES:
        print(f"no program of a machine is called {name!r}; there are {', '.join(MODULES)}", file=sys.stderr)
        return 2
    return int(importlib.import_module(MODULES[name]).main(sys.argv[2:]))
