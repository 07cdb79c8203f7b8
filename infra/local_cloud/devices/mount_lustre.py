"""mount.lustre of a machine: `mount -t lustre DNS_NAME@tcp:/MOUNT_NAME TARGET`.

The owner of the machines knows the file systems. It answers with an open mount of the right folder, which is attached
at the target here, or with the words and the error number of the real client.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from infra.local_cloud.machines.inside import channel, syscalls


def main(arguments: list[str]) -> int:
    """Returns the error number as its exit code, as the real helper does."""
    words, options = _split(arguments)
    if len(words) != 2:
        print("usage: mount.lustre [-fhnvV] [-o <mntopt>] <device> <mountpt>", file=sys.stderr)
        return errno.EINVAL
    source, target = words
    if not Path(target).is_dir():
        print(f"mount.lustre: {target} inaccessible: {os.strerror(errno.ENOENT)}", file=sys.stderr)
        return errno.ENOENT
    if os.path.ismount(target):
        print(f"mount.lustre: according to /etc/mtab {source} is already mounted on {target}", file=sys.stderr)
        return errno.EEXIST
    try:
        answer, files = channel.ask({"kind": "lustre", "source": source, "target": target, "options": options})
    except OSError as error:
        print(f"mount.lustre: mount {source} at {target} failed: {error}", file=sys.stderr)
        return errno.EIO
    if not files:
        sys.stderr.write(answer.get("stderr", ""))
        return int(answer["code"])
    syscalls.attach_tree(files[0], target)
    if "ro" in options.split(","):
        syscalls.make_read_only(target)
    return 0


def _split(arguments: list[str]) -> tuple[list[str], str]:
    words, options, rest = [], "", list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "-o":
            options = rest.pop(0) if rest else ""
        elif not word.startswith("-"):
            words.append(word)
    return words, options
