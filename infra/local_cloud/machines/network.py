"""The machines' network: one unnamed network namespace, a router to which every machine has a line of its own.

Within a subnet too every packet passes the router: it answers for the other machines (proxy ARP), takes from each line
only what has that machine's address as its source (reverse path filter), and holds the ruleset of `firewall`. It has
the addresses of the subnets' gateways, of the metadata service and of AWS's services. Nothing is made in the host's own
network namespace, and nothing outlives this process.
"""

from __future__ import annotations

import queue
import socket
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from .api import METADATA_ADDRESS, MachineError
from .inside import syscalls
from .services import OTHER_ADDRESS, SERVICES

BACKLOG = 128
_SYSCTL = "cd /proc/sys/net/ipv4 && echo 1 >ip_forward && echo 1 >conf/all/proxy_arp && echo 1 >conf/all/rp_filter"


class Router:
    """The namespace, and the one thread that lives in it. `start` first; every method may be called from any thread."""

    def __init__(self) -> None:
        self._work: queue.Queue[tuple[Callable[[], Any], Future[Any]] | None] = queue.Queue()
        self._addresses: set[str] = set()
        self._ports = 0
        self._thread = threading.Thread(target=self._serve, name="router", daemon=True)

    def start(self) -> None:
        """Make the namespace and its router. Raises `MachineError`."""
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

    def plug(self, pid: int, *, mac: str, address: str, gateway: str) -> None:
        """Give the machine whose pid 1 is `pid` its `eth0`, and its subnet a gateway."""
        self.run(lambda: self._plug(pid, mac, address, gateway))

    def filter(self, ruleset: str) -> None:
        """Put a ruleset in the place of the one before. Raises `MachineError` with nft's words."""
        self.run(lambda: nft(ruleset))

    def _serve(self) -> None:
        while (item := self._work.get()) is not None:
            work, future = item
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)

    def _make(self) -> None:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        addresses = [METADATA_ADDRESS, OTHER_ADDRESS, *(service.address for service in SERVICES.values())]
        ip("link set lo up\n" + "".join(f"addr add {address}/32 dev lo\n" for address in addresses))
        # In a child: /proc/sys/net shows the namespace of the process's main thread, which is the host's.
        done = subprocess.run(["sh", "-c", _SYSCTL], capture_output=True, text=True, check=False)
        if done.returncode:
            raise MachineError(f"the machines' network can't route between machines: {done.stderr.strip()}")

    def _plug(self, pid: int, mac: str, address: str, gateway: str) -> None:
        self._ports += 1
        port = f"port{self._ports}"
        batch = (
            f"link add {port} type veth peer name eth0 address {mac} netns {pid}\n"
            # Linux would wait up to 0.8 s before it answers for somebody else
            f"ntable change name arp_cache dev {port} proxy_delay 0\n"
            f"link set {port} up\nneigh replace {address} lladdr {mac} dev {port} nud permanent\n"
            f"route replace {address}/32 dev {port}\n"
        )
        if gateway not in self._addresses:
            batch += f"addr add {gateway}/32 dev lo\n"
            self._addresses.add(gateway)
        ip(batch)


def ip(batch: str) -> None:
    """Run a batch of ip(8) commands in the calling thread's network namespace. Raises `MachineError` with its words."""
    done = subprocess.run(["ip", "-batch", "-"], input=batch, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MachineError(f"ip {batch!r} failed: {done.stderr.strip()}")


def nft(ruleset: str) -> None:
    """Apply a file of nft(8) in the calling thread's network namespace. Raises `MachineError` with its words."""
    done = subprocess.run(["nft", "-f", "-"], input=ruleset, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MachineError(f"the machines' network does not take the security groups' rules: {done.stderr.strip()}")


def machine_batch(*, private_ip: str, prefix_length: int, gateway: str) -> str:
    """What a machine does with its `eth0`: its address, its way out."""
    return f"addr add {private_ip}/{prefix_length} dev eth0\nlink set eth0 up\nroute add default via {gateway}\n"


def _listen(address: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(BACKLOG)
    return listener
