"""What a rule is: a pure function of the cluster file, with an id, a reason and its findings.

A rule sees a file whose shape is right already. An `error` is something that AWS (or Slurm) refuses, or that can't
work; `advice` works, but there is something better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from infra.config.problems import KeyPath
from infra.config.schema import ClusterFile, Queue

Severity = Literal["error", "advice"]


@dataclass(frozen=True)
class Finding:
    """What a rule found at a path of the file; `allowed` states the allowed range, `fix` what to do."""

    rule: str
    severity: Severity
    path: KeyPath
    found: str
    allowed: str
    fix: str = ""


@dataclass(frozen=True)
class Found:
    """A finding before its rule's name is on it."""

    path: KeyPath
    found: str
    allowed: str
    fix: str = ""


@dataclass(frozen=True)
class Rule:
    """One rule. `why` is a sentence for docs/rules.md; `source` says where the limit is written down."""

    id: str
    severity: Severity
    why: str
    source: str
    find: Callable[[ClusterFile], Iterable[Found]]

    def check(self, cluster: ClusterFile) -> list[Finding]:
        """The findings of this rule."""
        return [
            Finding(
                rule=self.id,
                severity=self.severity,
                path=found.path,
                found=found.found,
                allowed=found.allowed,
                fix=found.fix,
            )
            for found in self.find(cluster)
        ]


def rule(
    id: str, *, why: str, source: str, severity: Severity = "error"
) -> Callable[[Callable[[ClusterFile], Iterable[Found]]], Rule]:
    """Make a rule of the function below it."""

    def make(find: Callable[[ClusterFile], Iterable[Found]]) -> Rule:
        return Rule(id=id, severity=severity, why=why, source=source, find=find)

    return make


def queues(cluster: ClusterFile) -> Iterator[tuple[KeyPath, Queue]]:
    """Every queue with its path."""
    for index, queue in enumerate(cluster.queues):
        yield ("queues", index), queue
