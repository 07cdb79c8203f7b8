"""The keeper: makes Slurm's idea of the machines and EC2's the same again, every few seconds, as the user slurm on the
head.

A machine that is gone (a spot interruption, a fault, somebody's console) takes its node down at once; a node that is
down without a machine is made ready for its next one; a machine that no node knows is ended; a queue's `min` nodes are
kept running. What to do is decided by `plan`, which is pure; a finding counts when it was there in the look before as
well, as EC2's answers lag behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from cluster_scripts.backends.aws.node_services import Instance
from cluster_scripts.jobs.errors import DureError
from cluster_scripts.jobs.model import Node
from cluster_scripts.node.slurm import MARK, Slurm
from cluster_scripts.node.steps import StepLog
from cluster_scripts.node.system import Clock
from infra.config.facts import Facts

#: Seconds between two looks.
INTERVAL = 5.0
#: A launch tells Slurm about its machines within seconds; one that no node knows after this long is nobody's.
UNKNOWN_AFTER = timedelta(minutes=5)

_GOING = frozenset({"powering_down", "power_down"})
_WITHOUT = _GOING | {"powered_down", "powering_up"}


class Services(Protocol):
    """What the keeper asks of AWS; backends.aws.node_services.NodeServices is one."""

    def cluster_nodes(self, cluster: str) -> list[Instance]: ...

    def terminate(self, ids: Iterable[str]) -> list[str]: ...


@dataclass(frozen=True, order=True)
class Finding:
    """Something that isn't as it should be. kind: gone, dead, unknown or missing; `name`: a node, or an instance id."""

    kind: str
    name: str
    instance_id: str = ""


def plan(
    facts: Facts,
    nodes: Iterable[Node],
    words: Mapping[str, frozenset[str]],
    instances: Iterable[Instance],
    now: datetime,
) -> Iterator[Finding]:
    """Every difference between Slurm and EC2. `words`: each node's state and flags; `instances`: pending and running
    ones."""
    instances = list(instances)
    live = {instance.id for instance in instances}
    known = set[str]()
    kept = {name for queue in facts.queues for name in queue.node_names()[: queue.min]}
    for node in nodes:
        flags = words.get(node.name, frozenset())
        known.add(node.instance_id)
        has_machine = node.instance_id in live
        if "down" in flags:
            if not has_machine and not flags & _GOING:
                yield Finding("dead", node.name)
        elif node.instance_id and not has_machine and not flags & _GOING:
            yield Finding("gone", node.name, node.instance_id)
        elif "drain" in flags and not node.job_ids and node.reason.startswith((MARK, "Prolog error")):
            # our own check refused this machine: the next one may be sound
            yield Finding("dead", node.name)
        elif node.name in kept and "powered_down" in flags and not flags & (_GOING | {"powering_up", "drain"}):
            yield Finding("missing", node.name)
    for instance in instances:
        if instance.id not in known and instance.launched_at and now - instance.launched_at > UNKNOWN_AFTER:
            yield Finding("unknown", instance.id)


@dataclass(frozen=True, kw_only=True)
class Keeper:
    """Looks, compares, acts."""

    facts: Facts
    services: Services
    slurm: Slurm
    log: StepLog
    clock: Clock

    def run(self) -> None:
        """For ever. What goes wrong in one look is logged, and the next one comes."""
        before: frozenset[Finding] = frozenset()
        while True:
            try:
                before = self.look(before)
            except DureError as error:
                self.log.note("look", str(error), ok=False)
            self.clock.sleep(INTERVAL)

    def look(self, before: frozenset[Finding]) -> frozenset[Finding]:
        """One look: act on what was found in the look before as well; returns what was found."""
        nodes, words = self.slurm.nodes_and_words()
        instances = self.services.cluster_nodes(self.facts.name)
        now = datetime.fromtimestamp(self.clock.now(), tz=UTC)
        found = frozenset(plan(self.facts, nodes, words, instances, now))
        for finding in sorted(found & before):
            self._act(finding)
        return found - before

    def _act(self, finding: Finding) -> None:
        name = finding.name
        with self.log.step(f"{finding.kind}: {name} {finding.instance_id}".rstrip()):
            if finding.kind == "unknown":
                self.services.terminate([name])
            elif finding.kind == "missing":
                self.slurm.update_nodes([name], state="POWER_UP")
            elif finding.kind == "gone":
                # its job starts again now, not after SlurmdTimeout
                self.slurm.update_nodes([name], state="DOWN", reason=f"{MARK}its machine {finding.instance_id} is gone")
            else:
                self.slurm.update_nodes([name], state="POWER_DOWN_FORCE")
