"""Bytes of a log file to the messages of log events. Pure.

One line is one message of one byte at least and MAX_MESSAGE_BYTES bytes of UTF-8 at most, as CloudWatch Logs wants it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cluster_scripts.backends.aws.telemetry import EVENT_OVERHEAD, MAX_BATCH_BYTES, MAX_EVENTS, MAX_MESSAGE_BYTES

EMPTY_LINE = " "  # CloudWatch Logs refuses an empty message


class Cut(NamedTuple):
    """The messages found, which fit one request, and how many bytes of the data they stand for.

    within_line: the last byte taken lies within a line, so what comes next continues it.
    """

    messages: list[str]
    consumed: int
    within_line: bool


def cut(data: bytes, *, within_line: bool = False, final: bool = False) -> Cut:
    """Cut as much of `data` into messages as one request holds; what is left is for the next call.

    within_line: the data continues a line of which a part was taken before: if only its end follows, that makes no
    message. final: a line that has not ended is taken as it is (the file ended, or has long been silent); a
    character whose last bytes are missing stays out even then, unless nothing else is left.
    A line longer than one message is cut into several, between characters. Of what a progress bar draws over itself
    with carriage returns, the newest complete state is taken.
    """
    messages: list[str] = []
    position = size = 0
    while piece := _next_piece(data, position, final=final):
        line = _shown(data[position : piece.end])
        found = list(_messages(line)) if line or not (within_line or piece.within_line) else []
        size += sum(len(message.encode()) + EVENT_OVERHEAD for message in found)
        if messages and (len(messages) + len(found) > MAX_EVENTS or size > MAX_BATCH_BYTES):
            break
        messages.extend(found)
        position, within_line = piece.next, piece.within_line
    return Cut(messages, position, within_line)


class _Piece(NamedTuple):
    """A line or a part of one: where it ends, where the next begins."""

    end: int
    next: int
    within_line: bool


def _next_piece(data: bytes, start: int, *, final: bool) -> _Piece | None:
    newline = data.find(b"\n", start, start + MAX_MESSAGE_BYTES + 1)
    if newline >= 0:
        return _Piece(newline, newline + 1, False)
    rest = data[start : start + MAX_MESSAGE_BYTES]
    if final or len(rest) == MAX_MESSAGE_BYTES:
        taken = len(rest) - _missing_tail(rest) or (0 if start else len(rest))
    else:
        # Every state of a progress bar but the newest is complete. A \r at the very end may be half of a line end.
        taken = rest.rfind(b"\r", 0, max(0, len(rest) - 1)) + 1
    return _Piece(start + taken, start + taken, True) if taken else None


def _missing_tail(data: bytes) -> int:
    """How many bytes at the end begin a UTF-8 character whose other bytes are not there yet."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        needs = 2 if byte & 0xE0 == 0xC0 else 3 if byte & 0xF0 == 0xE0 else 4 if byte & 0xF8 == 0xF0 else 1
        return back if needs > back else 0
    return 0


def _shown(line: bytes) -> bytes:
    """What a terminal shows of a line that was drawn over with carriage returns: the last part that holds anything."""
    return next((part for part in reversed(line.split(b"\r")) if part), b"")


def _messages(line: bytes) -> Iterator[str]:
    text = line.decode("utf-8", errors="replace")
    if not text:
        yield EMPTY_LINE
        return
    encoded = text.encode()  # longer than `line` where bytes were replaced
    start = 0
    while len(encoded) - start > MAX_MESSAGE_BYTES:
        end = start + MAX_MESSAGE_BYTES
        end -= _missing_tail(encoded[start:end])
        yield encoded[start:end].decode()
        start = end
    yield encoded[start:].decode()
