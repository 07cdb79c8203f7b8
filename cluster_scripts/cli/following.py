"""Following a job's output until the job is over and the output is drained.

How the end is told: a job is final when Slurm says so, and its output is drained when the shipper's end mark was
the last event, or when nothing came for a while after the job ended. The mark makes it quick, the quiet makes it
sure. What Slurm says costs a command to the head, so it is asked only when the output pauses.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from cluster_scripts.cli.output import utc_now
from cluster_scripts.cli.wording import progress
from cluster_scripts.jobs.errors import OtherSide
from cluster_scripts.jobs.model import Job, LogEvent, LogPage

# seconds between two looks at the log: right after output, and at most
SHORTEST_PAUSE, LONGEST_PAUSE, PAUSE_FACTOR = 0.5, 3.0, 1.3
# seconds of quiet before Slurm is asked for the job's state, and between two such questions at most
FIRST_ASK, LONGEST_ASK = 2.0, 15.0
# the output of a job that ended so many seconds ago is there or never comes
LONG_AGO = 60.0
# the head may be away for a while (it is being replaced): so many failed questions in a row are too many
PATIENCE = 10


class Source(Protocol):
    """The part of a cluster that following needs."""

    @property
    def drain_seconds(self) -> float: ...

    @property
    def marks_log_end(self) -> bool: ...

    def is_log_end(self, event: LogEvent) -> bool: ...

    def job(self, id: str) -> Job: ...

    def log_events(self, id: str, *, cursor: str | None) -> LogPage: ...


@dataclass
class Follower:
    """Follows one job.

    write: called with each line of output. tell: called with what is worth saying beside it (the job's state while
    it waits). now, sleep: the clock in seconds; today: the time.
    """

    source: Source
    id: str
    write: Callable[[LogEvent], None]
    tell: Callable[[str], None]
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    today: Callable[[], datetime] = utc_now
    _told: str = field(default="", init=False)
    _failures: int = field(default=0, init=False)
    _marked: bool = field(default=False, init=False)  # whether the last event so far was the end mark

    def follow(self) -> Job:
        """Write the output from its beginning until the job is over; returns the job as it ended.

        Raises NoSuchJob, and any OtherSide that lasts.
        """
        job = self.source.job(self.id)
        self._tell_progress(job)
        cursor = ""
        quiet_since = asked = self.now()
        pause = SHORTEST_PAUSE
        while True:
            page = self.source.log_events(self.id, cursor=cursor or None)
            at_end = not page.events and page.cursor == cursor
            cursor = page.cursor
            if page.events:
                self._write(page)
                quiet_since, pause = self.now(), SHORTEST_PAUSE
            quiet = self.now() - quiet_since
            if at_end and not job.ended and self._due(quiet, self.now() - asked):
                job, asked = self._ask(job), self.now()
            if job.ended:
                if at_end and self._drained(job, quiet):
                    self._tell_incomplete(job)
                    return job
                if not at_end:
                    continue  # all there is, as fast as it comes
            self.sleep(pause)
            pause = min(pause * PAUSE_FACTOR, LONGEST_PAUSE)

    def _write(self, page: LogPage) -> None:
        for event in page.events:
            if not self.source.is_log_end(event):
                self.write(event)
        self._marked = self.source.is_log_end(page.events[-1])

    def _due(self, quiet: float, asked_ago: float) -> bool:
        """Whether to ask for the job's state: seldom while nothing happens, at once after the end mark."""
        wait = FIRST_ASK / 2 if self._marked else min(LONGEST_ASK, max(FIRST_ASK, quiet / 3))
        return asked_ago >= wait and (self._marked or quiet >= FIRST_ASK)

    def _drained(self, job: Job, quiet: float) -> bool:
        if self._marked or quiet >= self.source.drain_seconds or job.started_at is None:
            return True
        return job.ended_at is not None and (self.today() - job.ended_at).total_seconds() >= LONG_AGO

    def _tell_incomplete(self, job: Job) -> None:
        if self.source.marks_log_end and not self._marked and job.started_at is not None:
            self.tell("(the log has no end mark: its last lines may be missing)")

    def _ask(self, job: Job) -> Job:
        try:
            fresh = self.source.job(self.id)
        except OtherSide as error:
            self._failures += 1
            if self._failures >= PATIENCE:
                raise
            if self._failures == 1:
                self.tell(f"the head does not answer, trying on: {error.message}")
            return job
        self._failures = 0
        self._tell_progress(fresh)
        return fresh

    def _tell_progress(self, job: Job) -> None:
        text = progress(job)
        if not job.ended and text != self._told:
            self._told = text
            self.tell(text)
