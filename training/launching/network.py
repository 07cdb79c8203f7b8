"""This machine's side of the way to another one."""

from __future__ import annotations

import fcntl
import socket
import struct
import time

from training.errors import LaunchError

_SIOCGIFADDR = 0x8915
_RETRY_SECONDS = 0.1


def local_address_towards(host: str, *, port: int, timeout: float) -> str:
    """The address of ours that packets to `host` carry; waits while the name does not resolve or no route exists yet.
    Sends nothing.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.connect((host, port))
                return str(probe.getsockname()[0])
        except OSError as error:
            if time.monotonic() > deadline:
                raise LaunchError(f"no way to rank 0 at {host}: {error}") from error
            time.sleep(_RETRY_SECONDS)


def interface_of(address: str) -> str:
    """The name of the interface with this IPv4 address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue  # an interface without an IPv4 address
            if socket.inet_ntoa(answer[20:24]) == address:
                return name
    if address.startswith("127."):
        return "lo"
    raise LaunchError(f"no interface has the address {address}")


def wait_for_port(host: str, *, port: int, timeout: float) -> None:
    """Until something listens there; LaunchError with the last reason."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection((host, port), timeout=2).close()
        except OSError as error:
            if time.monotonic() > deadline:
                raise LaunchError(f"rank 0 does not answer at {host}:{port} after {timeout:.0f} s: {error}") from error
            time.sleep(_RETRY_SECONDS)
        else:
            return
