"""Messages between a machine's pid 1 and its owner, or its own programs: one JSON object a packet, with open files.

The socket is a SOCK_SEQPACKET of the Unix family, so packets keep their bounds and their end is the other side's death.
"""

from __future__ import annotations

import array
import json
import os
import socket
from collections.abc import Sequence
from typing import Any

MAX_PACKET = 180_000  # below the kernel's default send buffer (212,992 bytes, of which some are its own)
MAX_FILES = 4
SOCKET = "/run/local-cloud/init.sock"
"""Where programs of a machine reach its pid 1; root only."""
Message = dict[str, Any]


def send(sock: socket.socket, message: Message, files: Sequence[int] = ()) -> None:
    """Send one message; raises OSError when the other side is gone or the message is too long."""
    data = json.dumps(message).encode()
    if len(data) > MAX_PACKET:
        raise OSError(f"a message of {len(data)} bytes to or from a machine; at most {MAX_PACKET} fit")
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
    sock.sendmsg([data], ancillary)


def receive(sock: socket.socket) -> tuple[Message, list[int]] | None:
    """The next message and the open files that came with it (close them), or None when the other side is gone."""
    try:
        data, ancillary, _, _ = sock.recvmsg(MAX_PACKET, socket.CMSG_SPACE(MAX_FILES * 4), socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        return None
    files = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            files.frombytes(content[: len(content) - len(content) % files.itemsize])
    if not data:
        close_all(files)
        return None
    message = json.loads(data)
    if not isinstance(message, dict):
        raise ValueError(f"not a message: {data[:100]!r}")
    return message, list(files)


def close_all(files: Sequence[int]) -> None:
    """Close file descriptors."""
    for file in files:
        os.close(file)


def ask(request: Message) -> tuple[Message, list[int]]:
    """Send pid 1 one request and wait for its answer. Raises OSError when it can't be reached or hangs up."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(SOCKET)
        send(connection, request)
        packet = receive(connection)
    if packet is None:
        raise ConnectionError("pid 1 gave no answer")
    return packet
