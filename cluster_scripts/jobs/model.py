"""Jobs, nodes and log lines as everything else in the toolkit speaks of them.

All values are immutable. Times are aware datetimes in UTC; in JSON they are ISO 8601 with a `Z`. `to_json` and
`from_json` are inverse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from cluster_scripts.jobs.errors import UnexpectedAnswer

PENDING = "pending"
CONFIGURING = "configuring"
RUNNING = "running"
COMPLETING = "completing"
SUSPENDED = "suspended"
COMPLETED = "completed"
FAILED = "failed"
CANCELLED = "cancelled"
TIMEOUT = "timeout"
NODE_FAIL = "node_fail"
OUT_OF_MEMORY = "out_of_memory"
PREEMPTED = "preempted"
DEADLINE = "deadline"
BOOT_FAIL = "boot_fail"
REQUEUED = "requeued"
REQUEUE_HOLD = "requeue_hold"
SPECIAL_EXIT = "special_exit"

#: Slurm's states from which a job never comes back by itself. Anything else, an unknown word included, counts as alive.
ENDED = frozenset({COMPLETED, FAILED, CANCELLED, TIMEOUT, NODE_FAIL, OUT_OF_MEMORY, PREEMPTED, DEADLINE, BOOT_FAIL})


def format_time(value: datetime | None) -> str | None:
    """ISO 8601 in UTC with a `Z`, to the second; None stays None."""
    return None if value is None else value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str | None) -> datetime | None:
    """The inverse of `format_time`. Raises ValueError for text without a time zone."""
    if text is None:
        return None
    value = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if value.tzinfo is None:
        raise ValueError(f"time without a zone: {text!r}")
    return value.astimezone(UTC)


_TIMES = frozenset({"submitted_at", "started_at", "ended_at"})


def _to_json(value: Any) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for field in fields(value):
        item = getattr(value, field.name)
        if field.name in _TIMES:
            item = format_time(item)
        out[field.name] = list(item) if isinstance(item, tuple) else item
    return out


def _from_json(cls: type[Any], data: Any) -> Any:
    if not isinstance(data, Mapping):
        raise UnexpectedAnswer(f"expected a {cls.__name__} as a JSON object, found {type(data).__name__}")
    arguments: dict[str, Any] = {}
    for field in fields(cls):
        if field.name not in data:
            raise UnexpectedAnswer(f"a {cls.__name__} without {field.name!r}: {sorted(data)}")
        item = data[field.name]
        if field.name in _TIMES:
            try:
                item = parse_time(item)
            except (ValueError, AttributeError) as error:
                raise UnexpectedAnswer(f"{cls.__name__}.{field.name} is not a time: {item!r}") from error
        arguments[field.name] = tuple(item) if isinstance(item, list) else item
    return cls(**arguments)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One Slurm job.

    `state` is Slurm's word in lower case, `reason` why it is in that state ("" if there is nothing to say; for a job
    that waits for machines which EC2 does not have, the words of EC2). `exit_code` and `signal` are None until the job
    ended.
    """

    id: str
    name: str
    queue: str
    state: str
    reason: str
    exit_code: int | None
    signal: int | None
    nodes: tuple[str, ...]
    node_count: int
    user: str
    submitted_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    submitted_by: str

    @property
    def ended(self) -> bool:
        """Whether the job is over for good."""
        return self.state in ENDED

    def to_json(self) -> dict[str, Any]:
        return _to_json(self)

    @classmethod
    def from_json(cls, data: Any) -> Job:
        """Raises UnexpectedAnswer. Keys that this version does not know are ignored: the cluster may be newer."""
        job: Job = _from_json(cls, data)
        return job


@dataclass(frozen=True, kw_only=True)
class Node:
    """One node as Slurm sees it; `instance_id` and `zone` are "" while no machine stands behind it.

    `state`: Slurm's word in lower case, with what the power saving does where it says more ("powered_down",
    "powering_up", "powering_down").
    """

    name: str
    queue: str
    state: str
    instance_id: str
    instance_type: str
    zone: str
    reason: str
    job_ids: tuple[str, ...]
    cpus: int
    gpus: int

    def to_json(self) -> dict[str, Any]:
        return _to_json(self)

    @classmethod
    def from_json(cls, data: Any) -> Node:
        """Raises UnexpectedAnswer. Keys that this version does not know are ignored: the cluster may be newer."""
        node: Node = _from_json(cls, data)
        return node


@dataclass(frozen=True, kw_only=True)
class LogEvent:
    """One line of a job's output. `timestamp_ms`: milliseconds since 1970, when the line was read; `message` has no
    line end."""

    timestamp_ms: int
    message: str


@dataclass(frozen=True, kw_only=True)
class LogPage:
    """What came after a cursor. `cursor` goes into the next call; equal to the one given when nothing new was there."""

    events: tuple[LogEvent, ...]
    cursor: str
