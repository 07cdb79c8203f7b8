"""The processes of pid 1: started with what systemd gives them, all reaped, those that are ours awaited by status."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Identity:
    """Whom a process runs as."""

    uid: int
    gid: int
    groups: tuple[int, ...]


class _Unwaited(subprocess.Popen[bytes]):
    """A process that the reaper waits for; `subprocess` must neither do so nor complain that it did not."""

    def __del__(self) -> None:
        """Nothing."""


class Children:
    """Starts processes and hands out their exit codes (128+N for signal N). pid 1's main thread calls `reap`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: set[int] = set()
        self._codes: dict[int, int] = {}

    def spawn(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        stdout: int,
        stderr: int,
        cwd: str = "/",
        identity: Identity | None = None,
        umask: int = 0o022,
    ) -> int:
        """Start a process in its own session and return its pid. Raises OSError when it can't be executed."""
        who = (
            {}
            if identity is None
            else {"user": identity.uid, "group": identity.gid, "extra_groups": list(identity.groups)}
        )
        with self._changed:  # so that the reaper can't see its end before we know its pid
            process = _Unwaited(
                list(argv),
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=cwd,
                start_new_session=True,
                umask=umask,
                **who,
            )  # type: ignore[call-overload]
            self._running.add(process.pid)
        return int(process.pid)

    def adopt(self, pid: int) -> bool:
        """Follow a process that we did not start but that is our child now (a daemon that forked); False if it is
        gone.
        """
        with self._changed:
            if not alive(pid):
                return False
            self._running.add(pid)
            return True

    def reap(self) -> None:
        """Collect every child that has ended, orphans included."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            with self._changed:
                if pid in self._running:
                    self._running.discard(pid)
                    code = os.waitstatus_to_exitcode(status)
                    self._codes[pid] = 128 - code if code < 0 else code
                    self._changed.notify_all()

    def wait(self, pid: int, *, timeout: float | None = None) -> int | None:
        """The exit code of a process of ours, once; None when it still runs after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: pid in self._codes, timeout)
            return self._codes.pop(pid, None)

    def running(self, pid: int) -> bool:
        """Whether a process of ours has not ended yet."""
        with self._changed:
            return pid in self._running


def alive(pid: int) -> bool:
    """Whether there is such a process, and not only its remains."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, IndexError):
        return False


def session_members(session: int) -> list[int]:
    """The processes of a session: those that a service or command started, unless they began their own."""
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - pid 1 avoids thousands of Path objects
        if name.isdigit():
            try:
                if os.getsid(int(name)) == session:
                    found.append(int(name))
            except ProcessLookupError:
                continue
    return found


def signal_all(pids: Sequence[int], number: int) -> None:
    """Send a signal to each, those that are gone aside."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def end_everything(*, grace: float) -> None:
    """TERM to every process but pid 1, `grace` seconds to follow it, then KILL. Returns when only pid 1 is left."""
    for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        try:
            os.kill(-1, number)
        except ProcessLookupError:
            return
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    time.sleep(0.01)
            except ChildProcessError:
                return
