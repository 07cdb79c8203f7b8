"""A growing output file as log events. Pure: bytes and a cursor in, events and a cursor out.

A cursor is the byte offset up to which lines were given; with ":N" behind it, N bytes of an unfinished line were seen
there. When they are still all there is at the next look, they are given as a line: a job that ends without a line end
loses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from cluster_scripts.jobs.errors import InvalidArgument
from cluster_scripts.jobs.model import LogEvent, LogPage

#: so much is read at a time
CHUNK = 1 << 20


@dataclass(frozen=True)
class Place:
    """Where in the file: everything before `offset` was given, `seen` bytes of an unfinished line were seen."""

    offset: int = 0
    seen: int = 0

    @classmethod
    def of(cls, cursor: str | None) -> Place:
        """Read a cursor; raises InvalidArgument for one that is none of ours."""
        if not cursor:
            return cls()
        offset, _, seen = cursor.partition(":")
        if not offset.isdigit() or not (seen or "0").isdigit():
            raise InvalidArgument(f"{cursor!r} is no cursor of a log")
        return cls(int(offset), int(seen or 0))

    def cursor(self) -> str:
        return f"{self.offset}:{self.seen}" if self.seen else str(self.offset)


def page(content: bytes, place: Place, *, now_ms: int) -> LogPage:
    """The lines in `content`, which was read from `place.offset` on and is at most CHUNK bytes."""
    end = content.rfind(b"\n") + 1
    rest = len(content) - end
    if not end and rest and (rest == place.seen or rest >= CHUNK):
        end, rest = len(content), 0
    lines = content[:end].removesuffix(b"\n").split(b"\n") if end else []
    events = tuple(LogEvent(timestamp_ms=now_ms, message=text_of(line)) for line in lines)
    return LogPage(events=events, cursor=Place(place.offset + end, rest).cursor())


def text_of(line: bytes) -> str:
    """A line as a terminal would leave it: what a carriage return overwrote is gone."""
    return line.decode("utf-8", "replace").rstrip("\r").rsplit("\r", 1)[-1]
