"""The machines' network: one unnamed network namespace with a bridge that every machine is plugged into.

It routes between the subnets of all VPCs and holds the addresses of their gateways, of the metadata service and of the
AWS API. Nothing is made in the host's own network namespace, and nothing outlives this process.
"""

from __future__ import annotations

import queue
import socket
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from .api import API_ADDRESS, METADATA_ADDRESS, MachineError
from .inside import syscalls

BRIDGE = "br0"
# A bridge takes the lowest address of its ports unless told; each new machine could then cut the others off for a
# minute.
BRIDGE_MAC = "02:d0:00:00:00:01"
BACKLOG = 128
_SYSCTL = (
    "cd /proc/sys/net/ipv4 && echo 1 >ip_forward && echo 0 >conf/all/send_redirects && echo 0 >conf/br0/send_redirects"
)


class Router:
    """The namespace, and the one thread that lives in it. `start` first; every method may be called from any thread."""

    def __init__(self) -> None:
        self._work: queue.Queue[tuple[Callable[[], Any], Future[Any]] | None] = queue.Queue()
        self._addresses: set[str] = set()
        self._ports = 0
        self._thread = threading.Thread(target=self._serve, name="router", daemon=True)

    def start(self) -> None:
        """Make the namespace and its bridge. Raises `MachineError`."""
        self._thread.start()
        self.run(self._make)

    def stop(self) -> None:
        """Let go of the namespace; the kernel removes it with its interfaces once no machine uses it."""
        if self._thread.is_alive():
            self._work.put(None)
            self._thread.join(5)

    def run(self, work: Callable[[], Any]) -> Any:
        """Call a function on the thread that lives in the namespace, and return what it returns."""
        future: Future[Any] = Future()
        self._work.put((work, future))
        return future.result(30)

    def listen(self, address: str, port: int) -> socket.socket:
        """A TCP socket that listens in the namespace; it stays there, whoever serves it."""
        result: socket.socket = self.run(lambda: _listen(address, port))
        return result

    def plug(self, pid: int, *, mac: str, gateway: str, prefix_length: int) -> None:
        """Give the machine whose pid 1 is `pid` its `eth0`, and its subnet a gateway."""
        self.run(lambda: self._plug(pid, mac, f"{gateway}/{prefix_length}"))

    def _serve(self) -> None:
        while (item := self._work.get()) is not None:
            work, future = item
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)

    def _make(self) -> None:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        ip(
            "link set lo up\n"
            f"link add {BRIDGE} address {BRIDGE_MAC} type bridge forward_delay 0\nlink set {BRIDGE} up\n"
            f"addr add {API_ADDRESS}/32 dev {BRIDGE}\naddr add {METADATA_ADDRESS}/32 dev {BRIDGE}\n"
        )
        # In a child: /proc/sys/net shows the namespace of the process's main thread, which is the host's.
        done = subprocess.run(["sh", "-c", _SYSCTL], capture_output=True, text=True, check=False)
        if done.returncode:
            raise MachineError(f"the machines' network can't route between subnets: {done.stderr.strip()}")

    def _plug(self, pid: int, mac: str, gateway: str) -> None:
        self._ports += 1
        port = f"port{self._ports}"
        batch = (
            f"link add {port} type veth peer name eth0 address {mac} netns {pid}\nlink set {port} master {BRIDGE} up\n"
        )
        if gateway not in self._addresses:
            batch += f"addr add {gateway} dev {BRIDGE}\n"
            self._addresses.add(gateway)
        ip(batch)


def ip(batch: str) -> None:
    """Run a batch of ip(8) commands in the calling thread's network namespace. Raises `MachineError` with its words."""
    done = subprocess.run(["ip", "-batch", "-"], input=batch, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MachineError(f"ip {batch!r} failed: {done.stderr.strip()}")


def machine_batch(*, private_ip: str, prefix_length: int, gateway: str) -> str:
    """What a machine does with its `eth0`: its address, its way out."""
    return f"addr add {private_ip}/{prefix_length} dev eth0\nlink set eth0 up\nroute add default via {gateway}\n"


def _listen(address: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(BACKLOG)
    return listener
