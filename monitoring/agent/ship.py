"""Ships the log files of one folder to one log group, each file to its own stream.

Every step looks at every log; at one whose job ended (it may run again) or that was silent for a day, less often. A
file is open only while something comes, so that thousands of old logs cost neither descriptors nor time.
A rotated file is sent to its end before its successor is begun, also over a restart (it is found by its inode).
Positions are kept, one small file for each log, so a restart goes on where the last acknowledged line ended.

Side effects: sends to the sink, writes and removes position files; log files are only read.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cluster_scripts.backends.aws.telemetry import event_batches
from cluster_scripts.jobs.model import LogEvent
from monitoring.agent.files import entries, folder, open_regular
from monitoring.agent.tail import Position, Tail, load_position, save_position

END_OF_LOG = "end-of-log"
RESCAN_SECONDS = 10.0  # a network file system may keep a folder's time back
FRESH_SECONDS = 2.0  # a folder's time is too coarse to tell changes apart that are as young as this
SETTLE_SECONDS = 0.5  # from hearing of a job's end to believing that it writes nothing any more
LATER_SECONDS = 60.0  # until the second look at a log that can't be read
IDLE_SECONDS = 30.0  # then a file is closed
DAY_SECONDS = 86_400.0
NEVER = float("inf")


class LogSink(Protocol):
    """Where events go. Raises DureError if they did not arrive; else how many of them were refused for good."""

    def put_events(self, batch: Sequence[LogEvent], *, group: str, stream: str) -> int: ...


class Ends(Protocol):
    """Tells which jobs have ended; `monitoring.agent.ended.EndedJobs`."""

    def look(self) -> None: ...

    def times(self, job: str) -> int: ...

    def take_fresh(self) -> set[str]: ...


@dataclass(frozen=True)
class Source:
    """A folder of logs: `parts` below `root`, where no symbolic link is followed.

    names: what file names are logs; `stream` names the stream of one. state: folder of the position files.
    ends: where each log is that of a job (JOB.log, stream JOB): which have ended; their streams get the end event.
    """

    root: Path
    parts: tuple[str, ...]
    names: re.Pattern[str]
    group: str
    stream: Callable[[str], str]
    state: Path
    ends: Ends | None = None


def end_event(size: int) -> str:
    """The message that ends a complete log of `size` bytes."""
    return json.dumps({"dure": END_OF_LOG, "bytes": size}, separators=(",", ":"))


@dataclass
class _Log:
    """One log that is followed. tail: None while nothing new comes."""

    name: str
    position: Position | None
    tail: Tail | None = None
    rotated: bool = False
    ended_since: float = NEVER
    look_at: float = 0.0
    last_ms: int = 0


def pause(silence: float, *, ended: bool) -> float:
    """Seconds until the next look at a log that has been silent for so long and was sent whole."""
    if ended:
        return min(30.0, max(1.0, silence / 10))
    return 0.0 if silence < DAY_SECONDS else min(600.0, silence / 2880)


class Shipper:
    """Follows one source. Not for several threads.

    lost: told how many events were refused for good. note: takes one line about a file that can't be read.
    """

    def __init__(
        self, source: Source, sink: LogSink, *, lost: Callable[[int], None], note: Callable[[str], None]
    ) -> None:
        self._source = source
        self._sink = sink
        self._lost = lost
        self._note = note
        self._logs: dict[str, _Log] = {}
        self._inodes: dict[str, int] = {}
        self._scanned: tuple[int, float] = (-1, -RESCAN_SECONDS)
        self._without_log: dict[str, float] = {}
        self._now = 0.0

    def step(self, now: float, *, stopping: bool = False) -> bool:
        """Send what is new, one request a file at most; whether anything was sent (then there may be more).

        now: seconds since 1970. stopping: the last look, so an unchanged folder is read again, too.
        Errors: DureError (what was being sent did not arrive, nothing is lost: call again later).
        """
        self._notice_clock(now)
        if self._source.ends is not None:
            self._source.ends.look()
        try:
            with folder(self._source.root, self._source.parts) as within:
                self._scan(within, now, forced=stopping)
                moved = False
                for log in list(self._logs.values()):
                    moved = self._step(log, within, now=now) or moved
                self._end_without_logs(now)
                return moved
        except OSError as error:
            if not isinstance(error, FileNotFoundError):  # a folder that isn't there yet is no news
                self._note(f"can't read {self._source.root.joinpath(*self._source.parts)}: {error}")
            return False

    def _notice_clock(self, now: float) -> None:
        """When the machine's clock is set back, what was to be done at a time is done now."""
        if now < self._now:
            self._scanned = (-1, -RESCAN_SECONDS)
            self._without_log = dict.fromkeys(self._without_log, now)
            for log in self._logs.values():
                log.look_at, log.ended_since = 0.0, NEVER
        self._now = now

    def close(self) -> None:
        """Close all files."""
        for log in self._logs.values():
            if log.tail is not None:
                log.tail.close()
        self._logs.clear()

    def _scan(self, within: int, now: float, *, forced: bool) -> None:
        changed = os.fstat(within).st_mtime_ns
        fresh = now - changed / 1e9 < FRESH_SECONDS or now - self._scanned[1] >= RESCAN_SECONDS
        if not forced and not fresh and changed == self._scanned[0]:
            return
        self._scanned = (changed, now)
        self._inodes = entries(within)
        logs = {name for name in self._inodes if self._source.names.fullmatch(name)}
        for name in sorted(logs - self._logs.keys()):
            self._logs[name] = _Log(name, load_position(self._state(name)))
        for name in sorted(set(self._logs) - logs):
            self._forget(self._logs[name])

    def _ends(self, log: _Log) -> int:
        """How often the log's job has ended."""
        return self._source.ends.times(self._source.stream(log.name)) if self._source.ends is not None else 0

    def _step(self, log: _Log, within: int, *, now: float) -> bool:
        if now < log.look_at:
            return False
        try:
            return (log.tail is not None or self._open(log, within, now=now)) and self._send_new(log, now)
        except OSError as error:
            self._note(f"can't follow {log.name}: {error}")
            log.look_at = now + LATER_SECONDS
            return False

    def _open(self, log: _Log, within: int, *, now: float) -> bool:
        """Open the log, or first its rotated predecessor that may not be sent whole; False: there is nothing to do."""
        inode = self._inodes.get(log.name)
        position = log.position
        if position is not None and position.inode != inode:
            predecessors = [name for name, number in self._inodes.items() if number == position.inode]
            if predecessors:
                log.tail, log.rotated = Tail(open_regular(predecessors[0], within=within), position), True
                return True
        if inode is None:
            return False
        if position is not None and position.inode == inode and position.ends >= self._ends(log):
            state = os.stat(log.name, dir_fd=within, follow_symlinks=False)
            if state.st_size == position.offset:
                log.look_at = now + pause(now - state.st_mtime, ended=position.ends > 0)
                return False
        log.tail, log.rotated = Tail(open_regular(log.name, within=within), position), False
        return True

    def _send_new(self, log: _Log, now: float) -> bool:
        tail = log.tail
        assert tail is not None
        ends = self._ends(log)
        log.ended_since = min(log.ended_since, now) if ends > tail.position.ends else NEVER
        complete = now - log.ended_since >= SETTLE_SECONDS
        replaced = log.rotated or self._inodes.get(log.name) != tail.position.inode
        found = tail.read(now, final=replaced or complete)
        if found.messages:
            self._send(log, found.messages, now=now)
        if found.consumed:
            tail.acknowledge(found)
            self._keep(log)
        elif replaced:
            self._leave(log)
        elif complete:
            self._end(log, ends=ends, now=now)
        elif tail.idle(now) >= IDLE_SECONDS:
            self._close(log)
        return bool(found.consumed) or (replaced and log.name in self._logs)

    def _end(self, log: _Log, *, ends: int, now: float) -> None:
        """Everything arrived and the job has ended: tell it, and sleep."""
        tail = log.tail
        assert tail is not None
        self._send(log, [end_event(tail.position.offset)], now=now)
        tail.told(ends)
        self._keep(log)
        self._close(log)
        log.look_at = now + pause(0.0, ended=True)

    def _close(self, log: _Log) -> None:
        """Close the file; what comes later is noticed by its size."""
        assert log.tail is not None
        log.position = log.tail.position
        log.tail.close()
        log.tail = None

    def _end_without_logs(self, now: float) -> None:
        """A job that ended without a log (its machines never came): its stream holds the end event alone."""
        if self._source.ends is None:
            return
        self._without_log |= dict.fromkeys(self._source.ends.take_fresh(), now)
        for job, since in sorted(self._without_log.items()):
            log = f"{job}.log"
            if log not in self._logs and now - since < SETTLE_SECONDS:
                continue
            if log not in self._logs:
                self._send(_Log(log, None), [end_event(0)], now=now)
            del self._without_log[job]

    def _send(self, log: _Log, messages: Sequence[str], *, now: float) -> None:
        log.last_ms = max(log.last_ms, int(now * 1000))  # within a stream, time never goes back
        events = [LogEvent(timestamp_ms=log.last_ms, message=message) for message in messages]
        for batch in event_batches(events):  # one only: that is how much a tail reads
            refused = self._sink.put_events(batch, group=self._source.group, stream=self._source.stream(log.name))
            if refused:
                self._lost(refused)

    def _keep(self, log: _Log) -> None:
        assert log.tail is not None
        log.position = log.tail.position
        save_position(self._state(log.name), log.position)

    def _leave(self, log: _Log) -> None:
        """The rotated file was sent to its end: what has its name now begins anew."""
        assert log.tail is not None
        log.tail.close()
        log.position = Position(inode=0, ends=log.tail.position.ends)
        log.tail, log.rotated = None, False
        if log.name not in self._inodes:
            self._forget(log)

    def _forget(self, log: _Log) -> None:
        """The log is gone; a file that is still open is sent to its end first."""
        if log.tail is not None and self._has_more(log):
            log.rotated = True
            return
        if log.tail is not None:
            log.tail.close()
        self._logs.pop(log.name, None)
        self._state(log.name).unlink(missing_ok=True)

    def _has_more(self, log: _Log) -> bool:
        assert log.tail is not None
        try:
            return bool(log.tail.read(0.0, final=True).consumed)
        except OSError:
            return False

    def _state(self, name: str) -> Path:
        return self._source.state / f"{name}.json"
