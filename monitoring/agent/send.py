"""Metric values on their way to CloudWatch: a bounded queue, so that an outage costs neither memory nor silence."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from threading import Lock
from typing import Protocol

from cluster_scripts.backends.aws.telemetry import MetricValue, metric_batches
from monitoring.agent.readings import Reading, reading

MOST_VALUES = 50_000  # about 20 MB; two hours of an 8-GPU machine at one value a minute are 15,000


class MetricSink(Protocol):
    """Where values go. Raises DureError if they did not arrive; else how many of them were refused for good."""

    def put_metrics(self, namespace: str, batch: Sequence[MetricValue]) -> int: ...


class Losses:
    """Counts what was lost, for the metrics that tell of it. A collector itself; for several threads."""

    NAMES = ("agent_dropped_metrics", "agent_dropped_log_events")

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts = dict.fromkeys(self.NAMES, 0)

    def metrics(self, count: int) -> None:
        """`count` metric values were lost."""
        self._add(self.NAMES[0], count)

    def events(self, count: int) -> None:
        """`count` log events were lost."""
        self._add(self.NAMES[1], count)

    def sample(self) -> None:
        """Nothing: every loss is counted."""

    def collect(self, now: float) -> list[Reading]:
        with self._lock:
            counts, self._counts = self._counts, dict.fromkeys(self.NAMES, 0)
        return [reading(name, count) for name, count in counts.items()]

    def _add(self, name: str, count: int) -> None:
        with self._lock:
            self._counts[name] += count


class MetricQueue:
    """Values wait here until CloudWatch has them; when it is full the oldest go. Not for several threads."""

    def __init__(self, sink: MetricSink, namespace: str, *, losses: Losses, most: int = MOST_VALUES) -> None:
        self._sink = sink
        self._namespace = namespace
        self._losses = losses
        self._values: deque[MetricValue] = deque()
        self._most = most

    def __len__(self) -> int:
        return len(self._values)

    def add(self, values: Iterable[MetricValue]) -> None:
        """Queue values; the oldest are dropped, and counted, above the bound."""
        self._values.extend(values)
        excess = len(self._values) - self._most
        if excess > 0:
            for _ in range(excess):
                self._values.popleft()
            self._losses.metrics(excess)

    def flush(self) -> None:
        """Send everything, batch by batch. Errors: DureError; what did not arrive stays queued."""
        for batch in metric_batches(list(self._values)):
            refused = self._sink.put_metrics(self._namespace, batch)
            for _ in batch:
                self._values.popleft()
            if refused:
                self._losses.metrics(refused)
