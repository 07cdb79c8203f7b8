"""Without root: the whole local cloud runs in a user namespace, in which it is root and has the other users that
machines need.

It stays in the host's network and PID namespaces, so that its socket on 127.0.0.1 is everybody's and `down` can find
it.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .api import MachineError

FIRST_ID_SPAN = 65536


def id_map(text: str, *, user: str, own: int) -> list[tuple[int, int, int]]:
    """The map of /proc/PID/uid_map from /etc/subuid (or gid): root is us, the rest comes from our longest range."""
    ranges = [
        (int(start), int(length))
        for name, start, length in (line.split(":") for line in text.splitlines() if line.count(":") == 2)
        if name in (user, str(own))
    ]
    if not ranges:
        raise MachineError(
            f"{user} has no subordinate ids: sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 "
            f"{user}"
        )
    start, length = max(ranges, key=lambda item: item[1])
    return [(0, own, 1), (1, start, min(length, FIRST_ID_SPAN) - 1)]


def enter(argv: Sequence[str], *, cwd: Path) -> int:
    """Replace this process by `argv` as root of a new user namespace with mounts of its own. Returns only by
    raising.
    """
    user = pwd.getpwuid(os.getuid()).pw_name
    uids = id_map(Path("/etc/subuid").read_text(), user=user, own=os.getuid())
    gids = id_map(Path("/etc/subgid").read_text(), user=user, own=os.getgid())
    mapper_read, mapper_write = os.pipe()
    target = os.getpid()
    if os.fork() == 0:  # the maps are written from outside, by programs that hold the right to
        os.close(mapper_write)
        os.read(mapper_read, 1)
        failed = _map("newuidmap", target, uids) or _map("newgidmap", target, gids)
        os._exit(1 if failed else 0)
    os.close(mapper_read)
    _unshare_user()
    os.write(mapper_write, b"x")
    os.close(mapper_write)
    if os.waitstatus_to_exitcode(os.wait()[1]):
        raise MachineError("the ids of the user namespace could not be mapped; the lines above say why")
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    os.chdir(cwd)
    os.execv(argv[0], list(argv))


def _map(program: str, pid: int, entries: Sequence[tuple[int, int, int]]) -> int:
    words = [str(number) for entry in entries for number in entry]
    return subprocess.run([program, str(pid), *words], check=False).returncode


def _unshare_user() -> None:
    from .inside import syscalls

    syscalls.unshare(0x10000000)  # CLONE_NEWUSER
