"""What every way in gives beyond the port: what a command line wants to know before and after it submits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cluster_scripts.jobs.errors import InvalidArgument, NoSuchQueue
from cluster_scripts.jobs.model import LogEvent
from cluster_scripts.jobs.ports import Cluster


@dataclass(frozen=True)
class QueueLimits:
    """What a queue can give: its nodes, and the GPUs of each of them."""

    name: str
    nodes: int
    gpus: int


class ReachedCluster(Cluster, Protocol):
    """What every adapter gives beyond the port."""

    @property
    def name(self) -> str:
        """How the cluster is called."""
        ...

    @property
    def drain_seconds(self) -> float:
        """For how many seconds after a job's end its output may still arrive."""
        ...

    def queues(self) -> tuple[QueueLimits, ...]:
        """The queues that jobs may ask for, the default first where there is one."""
        ...

    def caller(self) -> str:
        """Who asks, as the other side sees it: an ARN, or user@host."""
        ...

    @property
    def marks_log_end(self) -> bool:
        """Whether a complete log ends with a mark."""
        ...

    def is_log_end(self, event: LogEvent) -> bool:
        """Whether the event is no line of the job's but says that the log ends here."""
        ...

    def last_lines(self, id: str, count: int) -> tuple[LogEvent, ...]:
        """The last lines of a job's output so far, oldest first, at most `count`."""
        ...


def check_queue(name: str, *, nodes: int, queues: Sequence[QueueLimits]) -> None:
    """Refuse what can't be had before anything is sent: NoSuchQueue, or InvalidArgument for too many nodes."""
    found = next((queue for queue in queues if queue.name == name), None)
    if found is None:
        there = ", ".join(queue.name for queue in queues)
        raise NoSuchQueue(f"the cluster has no queue {name!r}; it has {there or 'none'}")
    if nodes > found.nodes:
        raise InvalidArgument(
            f"{nodes} nodes were asked for, queue {name!r} has at most {found.nodes}; "
            "ask for fewer, or raise the queue's `max` in the cluster file and deploy it"
        )
