"""blkid, mkfs.ext4, mount.ext4 and resize2fs of a machine, for EBS volumes that are attached to it.

A machine has no block devices of its own, so these stand in the place of the host's. Each asks the owner of the
machines, who has the volumes, and says what the real program would; a mount comes back as an open mount, as Lustre's.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from infra.local_cloud.machines.inside import channel, syscalls

FILE_SYSTEM = "ext4"
BY_ID = "/dev/disk/by-id"
_WITH_VALUE = {"blkid": "osLUn", "mkfs": "LbmNTEOUiIJgGrC", "mount": "o", "resize2fs": "S"}


def device_of(volume_id: str) -> str:
    """The name that udev gives an NVMe disk of EBS: its volume id without the hyphen."""
    return f"{BY_ID}/nvme-Amazon_Elastic_Block_Store_{volume_id.replace('-', '')}"


def main(arguments: list[str]) -> int:
    """`PROGRAM [OPTIONS] DEVICE [TARGET]`; returns the program's exit code."""
    program = arguments[0]
    options, words = _split(arguments[1:], _WITH_VALUE[program])
    if len(words) != (2 if program == "mount" else 1):
        print(f"usage: {program} [options] device{' target' if program == 'mount' else ''}", file=sys.stderr)
        return 1
    request = {"kind": "volume", "program": program, "device": words[0], "force": "-F" in options}
    if program == "mount":
        if not Path(words[1]).is_dir():
            print(f"mount: {words[1]}: {os.strerror(errno.ENOENT)}.", file=sys.stderr)
            return 32
        request["target"] = words[1]
    try:
        answer, files = channel.ask(request)
    except OSError as error:
        print(f"{program}: {words[0]}: {error}", file=sys.stderr)
        return errno.EIO
    if not files:
        sys.stdout.write(answer.get("stdout", ""))
        sys.stderr.write(answer.get("stderr", ""))
        return int(answer["code"])
    syscalls.attach_tree(files[0], words[1])
    if "ro" in options.get("-o", "").split(","):
        syscalls.make_read_only(words[1])
    return 0


def _split(arguments: list[str], with_value: str) -> tuple[dict[str, str], list[str]]:
    """Options with their values, and the other words."""
    options: dict[str, str] = {}
    words, rest = [], list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            words.append(word)
        elif len(word) == 2 and word[1] in with_value and rest:
            options[word] = rest.pop(0)
        else:
            options[word] = ""
    return options, words
