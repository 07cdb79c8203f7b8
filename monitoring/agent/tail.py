"""One log file followed from where it was left: a position that only moves when what lies before it has arrived.

`Position` is what survives a restart. A file is known by its inode and its first bytes: another inode under the same
name means that it was rotated, fewer bytes than before, or other first bytes, that it was written anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from monitoring.agent.files import write_whole
from monitoring.agent.lines import Cut, cut

READ_BYTES = 1_000_000  # of one file at a time, so that one job's flood can't silence the others
HEAD_BYTES = 256  # what a file is recognised by
SILENT_SECONDS = 5.0  # then a line without an end is sent as it is: a question at a prompt, dots of progress


@dataclass(frozen=True)
class Position:
    """How far a file was acknowledged. head: hash of its first `head_bytes`; ends: told ends of its job."""

    inode: int
    offset: int = 0
    within_line: bool = False
    head_bytes: int = 0
    head: str = ""
    ends: int = 0


def load_position(path: Path) -> Position | None:
    """The position noted at `path`; None if there is none, or none of use (the file is then sent anew)."""
    try:
        return Position(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def save_position(path: Path, position: Position) -> None:
    """Note the position, whole or not at all."""
    write_whole(path, json.dumps(asdict(position)).encode())


class Tail:
    """Follows one open file, which it closes at the end. Not for several threads.

    found = tail.read(now)          # what is new; nothing has moved yet
    ... send found.messages ...
    tail.acknowledge(found)         # now it has
    """

    def __init__(self, fd: int, position: Position | None) -> None:
        self._fd = fd
        inode = os.fstat(fd).st_ino
        if position is None or position.inode != inode:
            position = Position(inode=inode, ends=position.ends if position is not None else 0)
        self.position = position
        self._version = (-1, -1)
        self._quiet_since = 0.0

    def close(self) -> None:
        os.close(self._fd)

    def read(self, now: float, *, final: bool = False) -> Cut:
        """Messages after the position. final: take a line without an end, too. Errors: OSError."""
        state = os.fstat(self._fd)
        version = (state.st_size, state.st_mtime_ns)
        if version != self._version:
            self._version, self._quiet_since = version, now
            if state.st_size < self.position.offset or not self._same_head():
                # Cut, or written anew under its old inode: what it holds now is all new.
                self.position = Position(inode=self.position.inode, ends=self.position.ends)
        if state.st_size == self.position.offset:
            return Cut([], 0, self.position.within_line)
        data = os.pread(self._fd, READ_BYTES, self.position.offset)
        to_its_end = self.position.offset + len(data) >= state.st_size
        silent = now - self._quiet_since >= SILENT_SECONDS
        return cut(data, within_line=self.position.within_line, final=to_its_end and (final or silent))

    def acknowledge(self, done: Cut) -> None:
        """The messages of `done` arrived: move past them."""
        offset = self.position.offset + done.consumed
        head_bytes = min(HEAD_BYTES, offset)
        head = self.position.head if head_bytes == self.position.head_bytes else self._head(head_bytes)
        self.position = replace(
            self.position,
            offset=offset,
            within_line=done.within_line,
            head_bytes=head_bytes,
            head=head,
        )

    def idle(self, now: float) -> float:
        """For how long nothing came, in seconds; 0 while a part of a line waits for its end."""
        return now - self._quiet_since if self._version[0] == self.position.offset else 0.0

    def told(self, ends: int) -> None:
        """Note that so many ends of the log's job were told."""
        self.position = replace(self.position, ends=ends)

    def _same_head(self) -> bool:
        return not self.position.head_bytes or self._head(self.position.head_bytes) == self.position.head

    def _head(self, count: int) -> str:
        return hashlib.sha256(os.pread(self._fd, count, 0)).hexdigest()[:16]
