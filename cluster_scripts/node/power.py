"""Machines for jobs: what slurmctld's ResumeProgram, SuspendProgram and ResumeFailProgram do, as the user slurm on the
head.

resume: for each job all of its machines or none, from the queue's launch templates in their order (the zones). Why a
job gets none is written where its user sees it: in the job, and as the reason of its nodes, which the keeper brings
back after a rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from cluster_scripts.backends.aws.node_services import Instance, Launch
from cluster_scripts.jobs.errors import DureError, NoCapacity, StepFailed, Throttled, Unreachable
from cluster_scripts.node import launches
from cluster_scripts.node.slurm import MARK, Slurm, reason
from cluster_scripts.node.steps import StepLog
from cluster_scripts.node.system import Clock
from cluster_scripts.slurm.power import Machine, Resume
from infra.config import catalog
from infra.config.facts import Facts, LaunchTemplate, Queue

NO_CAPACITY = MARK + "no capacity"

#: Waits after RequestLimitExceeded, or after no answer, in seconds.
BACK_OFF: tuple[float, ...] = (5, 10, 20, 40, 60, 60, 60)
#: How long EC2 may take until it shows what it has launched.
SHOW_SECONDS = 60


class Services(Protocol):
    """What the power programs ask of AWS; backends.aws.node_services.NodeServices is one."""

    def launch(self, wish: Launch) -> list[str]: ...

    def instances(self, ids: Sequence[str]) -> list[Instance]: ...

    def cluster_nodes(self, cluster: str) -> list[Instance]: ...

    def terminate(self, ids: Iterable[str]) -> list[str]: ...

    def put_object(self, bucket: str, key: str, content: bytes) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Group:
    """Nodes that are launched together, all or none: those of one job in one queue."""

    queue: Queue
    nodes: tuple[str, ...]
    job_id: str | None


def groups(resumes: Iterable[Resume], facts: Facts) -> Iterator[Group]:
    """What to launch, in Slurm's order. StepFailed for a node of no queue: slurm.conf and the facts do not fit."""
    queue_of = {name: queue for queue in facts.queues for name in queue.node_names()}
    for resume in resumes:
        if unknown := [name for name in resume.nodes if name not in queue_of]:
            raise StepFailed(
                f"no queue of the facts has the nodes {', '.join(unknown)}; was slurm.conf changed by hand?"
            )
        for queue in facts.queues:
            if names := tuple(name for name in resume.nodes if queue_of[name] == queue):
                yield Group(queue=queue, nodes=names, job_id=resume.job_id)


@dataclass(frozen=True, kw_only=True)
class Power:
    """The three programs. `new_id` gives names that never come twice."""

    facts: Facts
    services: Services
    slurm: Slurm
    log: StepLog
    clock: Clock
    new_id: Callable[[], str]

    def resume(self, resumes: Iterable[Resume]) -> bool:
        """Launch what these jobs wait for. False if one of them got nothing; the others have their machines then."""
        results = [self._resume(group) for group in groups(resumes, self.facts)]
        return all(results)

    def suspend(self, names: Sequence[str]) -> None:
        """End exactly the machines behind these nodes. One that is gone already is no error."""
        behind = {node.name: node.instance_id for node in self.slurm.bare_nodes() if node.name in set(names)}
        ids = [id for id in behind.values() if id]
        if without := sorted(set(names) - {name for name, id in behind.items() if id}):
            self.log.note("no machine known behind", ", ".join(without))
        with self.log.step(f"end {', '.join(ids) or 'nothing'} behind {', '.join(names)}"):
            self.services.terminate(ids)
            self.slurm.update_nodes(names, Comment="")

    def fail(self, names: Sequence[str]) -> None:
        """Slurm gave these nodes up, as they did not join within ResumeTimeout: end their machines, and let the nodes
        rest."""
        self.log.note("did not join in time", ", ".join(names), ok=False)
        self.suspend(names)
        self.slurm.update_nodes(names, state="POWER_DOWN_FORCE")

    def _resume(self, group: Group) -> bool:
        what = f"job {group.job_id or '-'}: {', '.join(group.nodes)}"
        try:
            with self.log.step(f"launch for {what}"):
                self._launch(group)
        except DureError as error:
            self._refuse(group, error)
            return False
        if group.job_id:
            self.slurm.note_job(group.job_id, "")
        return True

    def _launch(self, group: Group) -> None:
        launch, ids = self._ask(group)
        try:
            instances = self._shown(ids)
            check_interfaces(group.queue, instances)
            nodes = {instance.id: name for instance, name in zip(instances, group.nodes, strict=True)}
            content = launches.content(launch, queue=group.queue.name, nodes=nodes)
            self.services.put_object(self.facts.bucket, launches.key(launch), content)
            for instance in instances:
                self._introduce(nodes[instance.id], instance)
        except BaseException:
            # half a launch is worth nothing to its job, and costs the same
            self._give_back(ids)
            raise

    def _give_back(self, ids: Iterable[str]) -> None:
        """End machines that were launched a moment ago: EC2 may not know them yet, and then says that they are gone."""
        left, end = set(ids), self.clock.now() + SHOW_SECONDS
        while left := left - set(self.services.terminate(left)):
            if self.clock.now() >= end:
                self.log.note("launched, but not known to EC2: the keeper ends them", ", ".join(sorted(left)), ok=False)
                return
            self.clock.sleep(0.5)

    def _introduce(self, name: str, instance: Instance) -> None:
        machine = Machine(instance_id=instance.id, instance_type=instance.instance_type, zone=instance.zone)
        self.slurm.update_nodes(
            [name], NodeAddr=instance.private_ip, NodeHostname=instance.host_name, Comment=machine.comment()
        )

    def _ask(self, group: Group) -> tuple[str, list[str]]:
        """The launch id and its instances, from the first zone, and then the first type, that has them all."""
        queue, refusals = group.queue, list[str]()
        for instance_type in (queue.instance_type, *queue.fallback_types):
            for template in queue.launch_templates:
                wish = self._wish(group, template, instance_type)
                try:
                    return wish.token, self._ask_patiently(wish)
                except NoCapacity as error:
                    place = f"{instance_type} in {template.zone_id}"
                    self.log.note(f"no capacity for {place}", str(error), ok=False)
                    refusals.append(f"{place}: {_aws_words(error)}")
        raise NoCapacity(f"for {len(group.nodes)} x {queue.instance_type} now ({'; '.join(refusals)})")

    def _wish(self, group: Group, template: LaunchTemplate, instance_type: str) -> Launch:
        launch = self.new_id()
        return Launch(
            template_id=template.launch_template_id,
            template_version=template.version,
            instance_type=instance_type,
            count=len(group.nodes),
            token=launch,
            tags={
                "Name": f"dure-{self.facts.name}-{group.queue.name}",
                "dure:cluster": self.facts.name,
                "dure:role": "compute",
                "dure:queue": group.queue.name,
                "dure:launch": launch,
            },
        )

    def _ask_patiently(self, wish: Launch) -> list[str]:
        for wait in BACK_OFF:
            try:
                return self.services.launch(wish)
            except (Throttled, Unreachable) as error:
                # the token makes sure that a launch whose answer was lost is not made twice
                self.log.note(f"EC2 does not take the launch now, next try in {wait:.0f} s", str(error), ok=False)
                self.clock.sleep(wait)
        return self.services.launch(wish)

    def _shown(self, ids: list[str]) -> list[Instance]:
        """What EC2 says of the new instances, as soon as it shows all of them with their addresses."""
        end = self.clock.now() + SHOW_SECONDS
        while True:
            found = [instance for instance in self.services.instances(ids) if instance.private_ip]
            if len(found) == len(ids):
                return found
            if self.clock.now() >= end:
                missing = sorted(set(ids) - {instance.id for instance in found})
                raise StepFailed(f"EC2 launched {', '.join(missing)} but does not show them after {SHOW_SECONDS} s")
            self.clock.sleep(0.5)

    def _refuse(self, group: Group, error: DureError) -> None:
        """No machines for this job: tell its user, and let Slurm go on without these nodes for a while."""
        why = reason(NO_CAPACITY if isinstance(error, NoCapacity) else MARK + "no machines:", error)
        if group.job_id:
            self.slurm.note_job(group.job_id, why)
        # DOWN takes the job off the nodes at once; alone it would leave them "powering up" until ResumeTimeout
        self.slurm.update_nodes(group.nodes, state="DOWN", reason=why)
        self.slurm.update_nodes(group.nodes, state="POWER_DOWN_FORCE")


def check_interfaces(queue: Queue, instances: Iterable[Instance]) -> None:
    """Without its EFA interfaces a node trains several times slower and says nothing. StepFailed if one lacks some."""
    known = catalog.find(queue.instance_type)
    wanted = (known.efa_interfaces if known else 1) if queue.efa else 0
    for instance in instances:
        if instance.efa_interfaces != wanted:
            raise StepFailed(
                f"{instance.id} ({instance.instance_type}) came with {instance.efa_interfaces} EFA interfaces, queue "
                f"{queue.name} needs {wanted}: the launch template's network interfaces were not used"
            )


def _aws_words(error: DureError) -> str:
    """The part of a message between its brackets: AWS's own words."""
    text = str(error)
    return text[text.index("(") + 1 : -1] if "(" in text and text.endswith(")") else text
