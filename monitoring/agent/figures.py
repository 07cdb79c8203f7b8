"""A job's own figures: /fsx/.dure/metrics/JOBID/*.jsonl, as the first rank of a job writes them, to readings.

One line is one JSON object: {"time": unix, "step": n, "loss": x, "records_per_second": x, "tokens_per_second": x, ...}.
What else is in it is not for us. The files belong to the job user: a line that can't be read costs that line only,
and a wild time is not believed.

Of each figure the values of one minute (of one interval, if that is shorter) become one statistic set, so a job that
writes a thousand lines a second costs no more than one that writes ten.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from monitoring.agent.files import entries, folder, open_regular, write_whole
from monitoring.agent.readings import Reading, summary

NAMES = ("loss", "records_per_second", "tokens_per_second", "step")
READ_BYTES = 4_000_000  # of one file at one collection
OLDEST_SECONDS = 7200.0  # a line's own time is believed if it is not older than this,
NEWEST_SECONDS = 60.0  # nor further in the future; else it is taken for written now
ENDED_SECONDS = 3600.0  # a job that wrote nothing for so long is looked at rarely
RARELY_SECONDS = 600.0

_JOB = re.compile(r"[0-9]+(_[0-9]+)?")
_NUMBER = re.compile(r"[0-9]+")


class Figures(NamedTuple):
    """One line: its time, its figures by metric name; a loss that is no number counts as loss_not_finite."""

    time: float | None
    values: Mapping[str, float]


def parse_line(line: bytes) -> Figures | None:
    """The figures of one line; None if it is not a JSON object or holds none."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    values: dict[str, float] = {}
    for name in NAMES:
        value = _number(data.get(name))
        if value is not None and math.isfinite(value):
            values[name] = value
        if name == "loss" and value is not None:
            values["loss_not_finite"] = float(not math.isfinite(value))
    time = _number(data.get("time"))
    return Figures(time if time is not None and math.isfinite(time) else None, values) if values else None


def is_first_rank(name: str) -> bool:
    """Whether a file of that name is the first rank's: no number in it but zero (rank-0.jsonl, metrics.jsonl)."""
    return name.endswith(".jsonl") and all(int(number) == 0 for number in _NUMBER.findall(name))


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


@dataclass
class _Job:
    """One job's folder. offsets: how far each of its files was read."""

    offsets: dict[str, int] = field(default_factory=dict)
    grew_at: float = 0.0
    look_at: float = 0.0


class JobFigures:
    """The collector of job figures; runs on the head.

    root, parts: the folder of the jobs' folders; no symbolic link is followed below root. bucket_seconds: width of a
    statistic set. wall: gives the seconds since 1970. state: file that keeps how far was read, so that a restart
    sends nothing twice.
    """

    def __init__(
        self, root: Path, parts: tuple[str, ...], *, bucket_seconds: float, wall: Callable[[], float], state: Path
    ) -> None:
        self._root = root
        self._parts = parts
        self._bucket = bucket_seconds
        self._wall = wall
        self._state = state
        self._jobs = {job: _Job(offsets) for job, offsets in _load(state).items()}

    def sample(self) -> None:
        """Nothing: the files keep everything."""

    def collect(self, now: float) -> list[Reading]:
        before = self._offsets()
        try:
            with folder(self._root, self._parts) as within:
                present = sorted(name for name in entries(within) if _JOB.fullmatch(name))
        except OSError:
            return []
        self._jobs = {job: self._jobs.get(job) or _Job(grew_at=now) for job in present}
        readings: list[Reading] = []
        for job in present:
            if now >= self._jobs[job].look_at:
                readings.extend(self._summaries(job, self._read_job(job, now)))
        after = self._offsets()
        if after != before:
            with suppress(OSError):  # a full disk: then a restart sends some figures twice
                write_whole(self._state, json.dumps(after).encode())
        return readings

    def _offsets(self) -> dict[str, dict[str, int]]:
        return {name: dict(job.offsets) for name, job in self._jobs.items()}

    def _read_job(self, name: str, now: float) -> list[Figures]:
        """What is new in the files of a job's first rank."""
        job = self._jobs[name]
        figures: list[Figures] = []
        try:
            with folder(self._root, (*self._parts, name)) as within:
                for file in sorted(filter(is_first_rank, entries(within))):
                    data, job.offsets[file] = _new_lines(file, within, offset=job.offsets.get(file, 0))
                    job.grew_at = now if data else job.grew_at
                    figures.extend(filter(None, map(parse_line, data.splitlines())))
        except OSError:
            job.look_at = now + RARELY_SECONDS
        if now - job.grew_at > ENDED_SECONDS:
            job.look_at = now + RARELY_SECONDS
        return figures

    def _summaries(self, job: str, lines: Sequence[Figures]) -> Iterator[Reading]:
        present = self._wall()
        found: dict[tuple[float, str], list[float]] = {}
        for line in lines:
            time = line.time
            if time is None or not present - OLDEST_SECONDS <= time <= present + NEWEST_SECONDS:
                time = present
            bucket = time // self._bucket * self._bucket
            for name, value in line.values.items():
                found.setdefault((bucket, name), []).append(value)
        for (bucket, name), values in sorted(found.items()):
            yield summary(name, values, {"Job": job}, time=bucket)


def _new_lines(name: str, within: int, *, offset: int) -> tuple[bytes, int]:
    """Whole lines after `offset`, and where they end. A file that shrank is read from its start; a line without an end
    that fills a whole read is skipped. Errors: OSError."""
    fd = open_regular(name, within=within)
    try:
        size = os.fstat(fd).st_size
        offset = 0 if size < offset else offset
        data = os.pread(fd, READ_BYTES, offset) if size > offset else b""
    finally:
        os.close(fd)
    whole = data.rfind(b"\n") + 1
    if not whole and len(data) == READ_BYTES:
        return b"", offset + len(data)
    return data[:whole], offset + whole


def _load(state: Path) -> dict[str, dict[str, int]]:
    try:
        data = json.loads(state.read_text())
        return {str(job): {str(f): int(o) for f, o in files.items()} for job, files in data.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
