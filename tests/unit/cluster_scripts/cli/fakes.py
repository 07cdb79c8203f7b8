"""A cluster in memory and a clock that only moves when somebody waits, for the command line's tests."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cluster_scripts.backends.reached import QueueLimits, ReachedCluster
from cluster_scripts.jobs.errors import NoSuchJob
from cluster_scripts.jobs.model import Job, LogEvent, LogPage, Node
from cluster_scripts.jobs.spec import JobSpec

START = datetime(2026, 1, 2, 3, 0, 0, tzinfo=UTC)
END = LogEvent(timestamp_ms=0, message='{"dure":"end-of-log","bytes":3}')


def a_job(id: str = "12", *, state: str = "running", **changes: object) -> Job:
    """A job that started at START."""
    values: dict[str, object] = {
        "id": id,
        "name": "pretrain",
        "queue": "gpu",
        "state": state,
        "reason": "",
        "exit_code": None,
        "signal": None,
        "nodes": ("gpu-1", "gpu-2"),
        "node_count": 2,
        "user": "dure",
        "submitted_at": START,
        "started_at": START,
        "ended_at": None,
        "submitted_by": "arn:aws:sts::1:assumed-role/Dev/kim",
    }
    return Job(**(values | changes))  # type: ignore[arg-type]


def a_node(name: str = "gpu-1", **changes: object) -> Node:
    values: dict[str, object] = {
        "name": name,
        "queue": "gpu",
        "state": "allocated",
        "instance_id": "i-0123456789abcdef0",
        "instance_type": "p3dn.24xlarge",
        "zone": "use1-az6",
        "reason": "",
        "job_ids": ("12",),
        "cpus": 96,
        "gpus": 8,
    }
    return Node(**(values | changes))  # type: ignore[arg-type]


@dataclass
class FakeClock:
    """Seconds that pass only by waiting; `at` holds what happens when."""

    seconds: float = 0.0
    at: list[tuple[float, object]] = field(default_factory=list)

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        assert seconds > 0, "a busy loop"
        self.seconds += seconds

    def today(self) -> datetime:
        return START + timedelta(seconds=self.seconds)


@dataclass
class FakeCluster:
    """Jobs, nodes and logs as given; output of a job appears when the clock says so."""

    clock: FakeClock = field(default_factory=FakeClock)
    known: dict[str, Job] = field(default_factory=dict)
    there: list[Node] = field(default_factory=list)
    # (second from which on it can be read, event)
    output: list[tuple[float, LogEvent]] = field(default_factory=list)
    ends: tuple[float, Job] | None = None
    calls: list[str] = field(default_factory=list)
    submitted: list[tuple[JobSpec, bytes | None]] = field(default_factory=list)
    drain_seconds: float = 20.0
    marks_log_end: bool = True
    name: str = "kogpt2"

    def caller(self) -> str:
        return "arn:aws:iam::1:user/kim"

    def queues(self) -> tuple[QueueLimits, ...]:
        return (QueueLimits(name="gpu", nodes=4, gpus=8),)

    def submit(self, spec: JobSpec, *, code: Path | None) -> str:
        self.submitted.append((spec, None if code is None else code.read_bytes()))
        self.known["13"] = a_job("13", state="completed", ended_at=START)
        return "13"

    def jobs(self) -> list[Job]:
        return list(self.known.values())

    def job(self, id: str) -> Job:
        self.calls.append("job")
        if id not in self.known:
            raise NoSuchJob(f"no job {id}")
        if self.ends and self.clock.seconds >= self.ends[0]:
            return replace(self.ends[1], ended_at=START + timedelta(seconds=self.ends[0]))
        return self.known[id]

    def cancel(self, id: str) -> None:
        self.calls.append(f"cancel {id}")
        if id not in self.known:
            raise NoSuchJob(f"no job {id}")

    def nodes(self) -> list[Node]:
        return self.there

    def log_events(self, id: str, *, cursor: str | None) -> LogPage:
        self.calls.append("log")
        start = int(cursor or 0)
        there = [event for second, event in self.output if second <= self.clock.seconds]
        page = there[start : start + 3]
        end = str(start + len(page)) if there else (cursor or "")
        return LogPage(events=tuple(page), cursor=end)

    def is_log_end(self, event: LogEvent) -> bool:
        return event == END

    def last_lines(self, id: str, count: int) -> tuple[LogEvent, ...]:
        return tuple(event for _, event in self.output if event != END)[-count:]


def lines(*texts: str, second: float = 0.0) -> list[tuple[float, LogEvent]]:
    return [(second, LogEvent(timestamp_ms=int(second * 1000), message=text)) for text in texts]


_: type[ReachedCluster] = FakeCluster  # the fake is what the command line wants of a cluster
