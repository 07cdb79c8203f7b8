"""Starting a process in namespaces of its own, with a control channel, bound to the life of this process.

`setpriv` has the kernel kill `unshare` when the thread that started it ends, and `unshare` has it kill pid 1 of the
machine: so nothing is left after a `kill -9` of the owner. Since the kernel means the thread, machines are started from
threads that live as long as the owner.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from .api import MachineError
from .inside import channel
from .inside.plan import Plan

NAMESPACES = ("--net", "--uts", "--ipc", "--mount", "--pid")
HANDSHAKE_SECONDS = 20.0


class Process:
    """pid 1 of a machine, as its owner sees it. Made by `start`, only on a thread that lives as long as the owner."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket, pid: int) -> None:
        self.pid = pid
        self._process, self._control = process, control
        self._pidfd = os.pidfd_open(pid)
        self._lock = threading.Lock()
        self._closed = False

    @classmethod
    def start(cls, plan: Plan, *, program_folder: Path, console: Path) -> Process:
        """Make the namespaces and begin to build the root; `go` completes it. Raises `MachineError`."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(HANDSHAKE_SECONDS)
        Path(plan.mount_point).mkdir(parents=True, exist_ok=True)
        argv = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "unshare",
            *NAMESPACES,
            "--fork",
            "--kill-child=KILL",
            plan.python,
            "-EsS",
            str(program_folder),
            "setup",
        ]
        with console.open("ab") as output, theirs:
            process = subprocess.Popen(
                argv,
                stdin=theirs.fileno(),
                stdout=output,
                stderr=output,
                cwd="/",
                start_new_session=True,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
            )
        try:
            channel.send(ours, plan.to_message())
            pid = int(_expect(ours, "pid")["pid"])
            return cls(process, ours, pid)
        except (OSError, MachineError, ValueError) as error:
            ours.close()
            process.kill()
            process.wait()
            raise MachineError(f"no namespaces for {plan.host_name}: {error}; {_tail(console)}") from error

    def go(self) -> None:
        """The network is in place: let it leave the host's files and become pid 1."""
        self.send({"kind": "go"})

    def send(self, message: channel.Message, files: Sequence[int] = ()) -> None:
        """Send pid 1 a message. Raises OSError when it is gone."""
        with self._lock:
            if self._closed:
                raise BrokenPipeError(errno.EPIPE, "the machine is down")
            channel.send(self._control, message, files)

    def receive(self, *, timeout: float | None) -> channel.Message | None:
        """The next message of pid 1, None when it is gone. Raises TimeoutError."""
        self._control.settimeout(timeout)
        packet = channel.receive(self._control)
        return None if packet is None else packet[0]

    def kill(self) -> None:
        """Pull the plug: the kernel kills every process of the machine."""
        with self._lock, contextlib.suppress(ProcessLookupError):
            if not self._closed:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int | None:
        """Its exit code once every process of the machine is gone; None when some are left after `timeout` seconds."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        """Release what belongs to it on this side, when it is dead. Idempotent."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._control.close()
                os.close(self._pidfd)


def _expect(control: socket.socket, key: str) -> channel.Message:
    packet = channel.receive(control)
    if packet is None or key not in packet[0]:
        raise MachineError("it ended before it said its pid" if packet is None else f"it said {packet[0]}")
    return packet[0]


def _tail(path: Path) -> str:
    lines = path.read_text(errors="replace").splitlines()[-3:] if path.exists() else []
    return "its console says: " + (" | ".join(lines) or "nothing")
