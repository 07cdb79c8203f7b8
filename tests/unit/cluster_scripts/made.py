"""Values that several tests of the machines need: facts, and a machine that is a folder."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cluster_scripts.node.steps import StepLog
from cluster_scripts.node.system import Clock, Result, System
from infra.config import catalog
from infra.config.facts import (
    Association,
    Facts,
    FileSystem,
    Head,
    LaunchTemplate,
    LogGroups,
    Queue,
    SlurmTimes,
    Toolkit,
)
from infra.config.loader import load_cluster


def facts_of(file: Path) -> Facts:
    """The facts that a cluster file leads to, with made-up names of what AWS would make."""
    cluster = load_cluster(file)
    queues = []
    for queue in cluster.queues:
        known = catalog.find(queue.instance_type)
        assert known is not None
        queues.append(
            Queue(
                name=queue.name,
                instance_type=queue.instance_type,
                min=queue.min,
                max=queue.max,
                market=queue.market,
                efa=queue.efa,
                idle_seconds=queue.idle_seconds,
                cpus=known.vcpus,
                memory_mib=known.memory_mib,
                gpus=known.gpus,
                placement_group=None,
                fallback_types=queue.fallback_types,
                launch_templates=tuple(
                    LaunchTemplate(zone_id=zone, subnet_id="subnet-1", launch_template_id=f"lt-{zone}", version="1")
                    for zone in cluster.queue_zones(queue)
                ),
            )
        )
    return Facts(
        name=cluster.name,
        region=cluster.region,
        account="123456789012",
        bucket="bucket",
        file_system=FileSystem(
            id="fs-1",
            dns_name="fs-1.fsx.amazonaws.com",
            mount_name="abcdef",
            mount_point="/fsx",
            associations=(Association(path="/data", prefix="data"),),
        ),
        head=Head(private_ip="10.0.0.10", host_name="ip-10-0-0-10"),
        queues=tuple(queues),
        munge_secret="arn:aws:secretsmanager:us-east-1:123456789012:secret:munge",
        log_groups=LogGroups(jobs="/dure/x/jobs", nodes="/dure/x/nodes"),
        document=f"Dure-{cluster.name}",
        metrics_namespace="Dure",
        toolkit=Toolkit(bucket="assets", key="toolkit.zip", sha256="ab" * 32),
        slurm=SlurmTimes(
            resume_timeout_seconds=cluster.slurm.resume_timeout_seconds,
            suspend_timeout_seconds=cluster.slurm.suspend_timeout_seconds,
        ),
    )


CLUSTERS = Path(__file__).parents[3] / "clusters"
FACTS = facts_of(CLUSTERS / "local.yaml")


def queue(**changes: object) -> Facts:
    """The facts with another queue."""
    return replace(FACTS, queues=(replace(FACTS.queues[0], **changes),))  # type: ignore[arg-type]


@dataclass
class Time:
    """A clock that only moves when somebody sleeps."""

    seconds: float = 1_600_000_000.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds

    @property
    def clock(self) -> Clock:
        return Clock(now=lambda: self.seconds, sleep=self.sleep)


@dataclass
class Machine:
    """A machine whose root is a folder, whose users are us, and whose programs are answers by their first words."""

    root: Path
    time: Time = field(default_factory=Time)
    calls: list[list[str]] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    users: list[str | None] = field(default_factory=list)
    answers: dict[str, Callable[[list[str]], Result] | Result] = field(default_factory=dict)

    def run(self, argv: Sequence[str], *, input: str = "", user: str | None = None, timeout: float = 60) -> Result:
        words = list(argv)
        self.calls.append(words)
        self.inputs.append(input)
        self.users.append(user)
        line = " ".join(words)
        for start in sorted(self.answers, key=len, reverse=True):
            if line.startswith(start):
                answer = self.answers[start]
                return answer(words) if callable(answer) else answer
        return Result(0, "", "")

    def ran(self, start: str) -> list[str]:
        """The command lines that begin so."""
        return [line for words in self.calls if (line := " ".join(words)).startswith(start)]

    @property
    def system(self) -> System:
        return System(root=self.root, runner=self.run, clock=self.time.clock)

    def log(self, program: str = "test") -> StepLog:
        return StepLog(program, file=self.root / "log", clock=self.time.clock, out=io.StringIO())

    def logged(self) -> str:
        return (self.root / "log").read_text(encoding="utf-8")
