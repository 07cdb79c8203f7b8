"""The agent's two loops, each in its own thread, so that slow metrics never hold up log lines.

Side effects: network calls, and files under the state folder.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event, Thread
from typing import Protocol

from cluster_scripts.jobs.errors import DureError
from monitoring.agent.readings import Collector, Labels
from monitoring.agent.send import MetricQueue, MetricSink
from monitoring.agent.ship import LogSink, Shipper

POLL_SECONDS = 0.5  # between two looks at the logs
SAMPLE_SECONDS = 5.0  # between two looks at what changes within an interval
FIRST_SECONDS = 5.0  # until the first values: a machine that lives for a minute must be seen, too
FIRST_BACKOFF, LONGEST_BACKOFF = 1.0, 30.0
FLUSH_SECONDS = 10.0  # what the last look at the logs may take at the end

_JOB = re.compile(r"[0-9]+(_[0-9]+)?")


class Sink(MetricSink, LogSink, Protocol):
    """Takes both kinds."""


def note(text: str) -> None:
    """One line for the machine's log."""
    print(text, file=sys.stderr, flush=True)


def running_jobs(folder: Path) -> list[str]:
    """The jobs on this machine: files of the job's id, which the prolog makes and the epilog removes."""
    try:
        return sorted(entry.name for entry in folder.iterdir() if _JOB.fullmatch(entry.name))
    except OSError:
        return []


class Backoff:
    """How long to wait after failures, longer each time, never the same on all machines. random: gives 0 to 1."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._next = FIRST_BACKOFF

    def failed(self) -> float:
        """The seconds to wait now."""
        seconds, self._next = self._next, min(LONGEST_BACKOFF, self._next * 2)
        return seconds * (0.5 + 0.5 * self._random())

    def worked(self) -> None:
        """Begin with the shortest wait again."""
        self._next = FIRST_BACKOFF


class MetricsLoop:
    """Collects every interval and sends; what could not be sent is sent with the next interval's."""

    def __init__(
        self,
        collectors: Sequence[Collector],
        queue: MetricQueue,
        *,
        labels: Labels,
        interval: float,
        jobs: Callable[[], Sequence[str]],
        wall: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self._collectors = collectors
        self._queue = queue
        self._labels = labels
        self._interval = interval
        self._jobs = jobs
        self._wall = wall
        self._clock = clock

    def run(self, stop: Event) -> None:
        """Until `stop` is set; then what is left of the interval is sent."""
        self.collect()  # rates begin here; figures that a job wrote meanwhile are due already
        due = self._clock() + min(FIRST_SECONDS, self._interval)
        sample_every = min(SAMPLE_SECONDS, self._interval)
        while not stop.wait(min(sample_every, max(0.0, due - self._clock()))):
            if self._clock() < due:
                for collector in self._collectors:
                    collector.sample()
                continue
            self.collect()
            self.send()
            due = max(due + self._interval, self._clock())
        self.collect()
        self.send()

    def collect(self) -> None:
        """Queue what the collectors have."""
        jobs, time = self._jobs(), self._wall()
        for collector in self._collectors:
            readings = collector.collect(self._clock())
            high = self._interval < 60
            self._queue.add(self._labels.values(readings, jobs=jobs, time=time, high_resolution=high))

    def send(self) -> None:
        """Send the queue; a failure is noted, and the queue kept."""
        try:
            self._queue.flush()
        except DureError as error:
            note(f"{len(self._queue)} metric values wait: {error}")


class LogsLoop:
    """Looks at every source in turn; a source whose events did not arrive waits, longer each time, the others go on."""

    def __init__(
        self,
        shippers: Sequence[Shipper],
        *,
        wall: Callable[[], float],
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._shippers = shippers
        self._wall = wall
        self._clock = clock
        self._backoffs = [Backoff(random) for _ in shippers]
        self._not_before = [0.0 for _ in shippers]

    def run(self, stop: Event) -> None:
        """Until `stop` is set; then everything that is there already is sent."""
        while not stop.is_set():
            if not self.look():
                stop.wait(POLL_SECONDS)
        self._not_before = [0.0 for _ in self._shippers]
        give_up = self._clock() + FLUSH_SECONDS
        while self.look(stopping=True) and self._clock() < give_up:
            continue
        for shipper in self._shippers:
            shipper.close()

    def look(self, *, stopping: bool = False) -> bool:
        """One step of each source; whether there may be more at once."""
        moved = False
        for index, shipper in enumerate(self._shippers):
            if self._clock() < self._not_before[index]:
                continue
            try:
                moved = shipper.step(self._wall(), stopping=stopping) or moved
                self._backoffs[index].worked()
            except DureError as error:
                seconds = self._backoffs[index].failed()
                self._not_before[index] = self._clock() + (LONGEST_BACKOFF if stopping else seconds)
                note(f"log lines wait, next try in {seconds:.0f} s: {error}")
        return moved


def run_until(stop: Event, *loops: MetricsLoop | LogsLoop) -> int:
    """Run the loops, each in a thread, until `stop` is set; 1 if one of them broke, so that systemd starts it again."""
    broken: list[BaseException] = []

    def guarded(loop: MetricsLoop | LogsLoop) -> None:
        try:
            loop.run(stop)
        except BaseException as error:
            broken.append(error)
            stop.set()

    threads = [Thread(target=guarded, args=(loop,), name=type(loop).__name__) for loop in loops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in broken:
        note(f"the agent ends because of a mistake of its own: {type(error).__name__}: {error}")
    return 1 if broken else 0
