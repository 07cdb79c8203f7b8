"""Tell the neighbours whose an address is.

It may have been another machine's a moment ago, and they would go on sending to that one for up to a minute.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import time
from pathlib import Path

INTERFACE = "eth0"
# The bridge lets frames through some milliseconds after the cable is in; the first announcement may come too early.
MOMENTS = (0.0, 0.02, 0.1, 0.5)
_SIOCGIFADDR, _ETH_P_ARP, _BROADCAST = 0x8915, 0x0806, b"\xff" * 6


def frame(hardware: bytes, address: bytes) -> bytes:
    """A gratuitous ARP request (RFC 5227, "ARP Announcement")."""
    header = _BROADCAST + hardware + struct.pack("!H", _ETH_P_ARP)
    return header + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + hardware + address + bytes(6) + address


def announce() -> None:
    """Send it a few times. Raises OSError without an address or where the kernel has no packet sockets."""
    hardware = bytes.fromhex(Path(f"/sys/class/net/{INTERFACE}/address").read_text().strip().replace(":", ""))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ARP)) as sender:
        request = struct.pack("256s", INTERFACE.encode())
        address = fcntl.ioctl(sender.fileno(), _SIOCGIFADDR, request)[20:24]
        sender.bind((INTERFACE, _ETH_P_ARP))
        for earlier, moment in zip((0.0, *MOMENTS), MOMENTS, strict=False):
            time.sleep(moment - earlier)
            sender.send(frame(hardware, address))
