"""What collectors give, and how it becomes metric values: one for each dimension set that the catalog lists.

A collector knows a metric's name and its value. This machine's names (cluster, node, queue) and the jobs that run
on it are added here, once, so that no collector can emit dimensions of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cluster_scripts.backends.aws.telemetry import MetricValue
from monitoring import catalog

# CloudWatch refuses a whole request for one value outside these (or NaN). Source: the API reference of MetricDatum.
SMALLEST, LARGEST = 8.515920e-109, 1.174271e108


@dataclass(frozen=True, slots=True)
class Reading:
    """The values of one metric since the last collection.

    labels: dimensions beyond the machine's own (Gpu, Job). A reading with a Gpu is emitted with the sets that name Gpu
    only, one without it with the others. time: when, in seconds since 1970; None means now.
    """

    name: str
    count: float
    sum: float
    minimum: float
    maximum: float
    labels: Mapping[str, str] = field(default_factory=dict)
    time: float | None = None


def reading(name: str, value: float, labels: Mapping[str, str] | None = None) -> Reading:
    """A reading of one single value."""
    return Reading(name=name, count=1, sum=value, minimum=value, maximum=value, labels=labels or {})


def summary(
    name: str, values: Sequence[float], labels: Mapping[str, str] | None = None, *, time: float | None = None
) -> Reading:
    """A reading of several values; there must be one at least."""
    return Reading(name, len(values), math.fsum(values), min(values), max(values), labels or {}, time)


class Collector(Protocol):
    """One source of readings. `sample` may be called often, `collect` once an interval; neither raises for a source
    that is missing, unreadable or odd: there are no readings of it then."""

    def sample(self) -> None:
        """Look at values that change within an interval."""
        ...

    def collect(self, now: float) -> list[Reading]:
        """The readings since the last call. now: a clock that only grows, in seconds."""
        ...


@dataclass(frozen=True)
class Labels:
    """The dimensions of this machine. `queue` is "" on the head."""

    cluster: str
    node: str
    queue: str

    def values(
        self, readings: Iterable[Reading], *, jobs: Sequence[str], time: float, high_resolution: bool
    ) -> Iterator[MetricValue]:
        """The metric values of `readings`, those of CloudWatch's range only. jobs: those that run on this machine."""
        for each in readings:
            if not (_allowed(each.minimum) and _allowed(each.maximum) and _allowed(each.sum)):
                continue
            metric = catalog.METRICS[each.name]
            for dimensions in self._dimension_sets(metric, each.labels, jobs):
                yield MetricValue(
                    name=each.name,
                    unit=metric.unit,
                    dimensions=dimensions,
                    time=time if each.time is None else each.time,
                    count=each.count,
                    sum=each.sum,
                    minimum=each.minimum,
                    maximum=each.maximum,
                    high_resolution=high_resolution,
                )

    def _dimension_sets(
        self, metric: catalog.Metric, labels: Mapping[str, str], jobs: Sequence[str]
    ) -> Iterator[tuple[tuple[str, str], ...]]:
        known = {"Cluster": self.cluster, "Node": self.node, "Queue": self.queue, **labels}
        for names in metric.dimensions:
            if ("Gpu" in names) != ("Gpu" in labels):
                continue
            for job in [labels["Job"]] if "Job" in labels else (jobs if "Job" in names else [""]):
                filled = tuple((name, job if name == "Job" else known.get(name, "")) for name in names)
                if all(value for _, value in filled):
                    yield filled


def _allowed(value: float) -> bool:
    return value == 0 or SMALLEST <= abs(value) <= LARGEST
