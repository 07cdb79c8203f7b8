"""The ladder of a first deployment: from what costs nothing to the whole cluster, each step with its price first.

    identity, quotas, dry-run      ask AWS, make nothing
    cpu, gpu, all                  deploy: one cheap CPU queue, one GPU node, the file itself

The steps and their cluster files are pure; `climb` runs one of the paid steps by the commands that it prints.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from infra.config.catalog import find, instance_types, price_per_hour
from infra.config.estimate import costs, total
from infra.config.live import FREE_STEPS
from infra.config.schema import ClusterFile, Queue, Storage

PaidStep = Literal["cpu", "gpu", "all"]
PAID_STEPS: tuple[PaidStep, ...] = ("cpu", "gpu", "all")
FOLDER = Path(".dure/ladder")
LEAST_MEMORY_MIB = 8 * 1024
_WHAT = {
    "identity": "who you are, and what of the file this account knows",
    "quotas": "quotas, addresses, reservations",
    "dry-run": "each launch as EC2 judges it, without making it",
    "cpu": "one cheap CPU node end to end: deployed, a job, taken away",
    "gpu": "one GPU node end to end: deployed, a job, taken away",
    "all": "the file itself, a job on all nodes of each queue; it stays",
}


@dataclass(frozen=True)
class Step:
    """One step. `usd_an_hour`: with its queues full; 0 for a free step, None where the catalog has no price.
    `cluster` is what a paid step deploys.
    """

    name: str
    what: str
    usd_an_hour: float | None
    cluster: ClusterFile | None = None

    @property
    def price(self) -> str:
        """The price in words."""
        if self.cluster is None:
            return "costs nothing"
        if self.usd_an_hour is None:
            return "no price in the catalog"
        return f"{self.usd_an_hour:.2f} USD for each hour that it stands"


def steps(cluster: ClusterFile) -> tuple[Step, ...]:
    """The ladder of a cluster file; a file without GPUs has no step for them. Pure."""
    found = [Step(name, _WHAT[name], 0.0) for name in FREE_STEPS]
    for name in PAID_STEPS:
        variant = variant_of(cluster, name)
        if variant is not None:
            lines = costs(variant)
            known = all(line.full is not None for line in lines)
            found.append(Step(name, _WHAT[name], total(lines).full if known else None, variant))
    return tuple(found)


def variant_of(cluster: ClusterFile, step: PaidStep) -> ClusterFile | None:
    """The cluster that a paid step deploys: the file's region, network, head and image, with less of the rest. Pure."""
    if step == "all":
        return cluster
    queue = _cpu_queue(cluster) if step == "cpu" else _gpu_queue(cluster)
    if queue is None:
        return None
    small = Storage(
        deployment="SCRATCH_2", capacity_gib=1200, throughput=None, associations=cluster.storage.associations
    )
    name = f"{cluster.name[: 19 - len(step)].rstrip('-')}-{step}"
    less = {"name": name, "queues": (queue,), "storage": small, "budget": None, "protect": False}
    return cluster.model_copy(update=less)


def _cpu_queue(cluster: ClusterFile) -> Queue | None:
    """A queue of one node of the cheapest type without GPUs that the home zone has."""
    zone = cluster.home_zone
    offered = [
        (price, known.name)
        for known in instance_types().values()
        if known.gpus == 0 and known.memory_mib >= LEAST_MEMORY_MIB and known.architecture == "x86_64"
        if zone in known.zones.get(cluster.region, ())
        if (price := price_per_hour(known.name, cluster.region)) is not None
    ]
    name = min(offered)[1] if offered else cluster.head.instance_type
    return Queue(name="cpu", instance_type=name, max=1, zones=(zone,), root_volume_gib=50, idle_seconds=60)


def _gpu_queue(cluster: ClusterFile) -> Queue | None:
    """The file's first queue with GPUs, with one node."""
    for queue in cluster.queues:
        known = find(queue.instance_type)
        if known is not None and known.gpus:
            return queue.model_copy(update={"min": 0, "max": 1})
    return None


def commands(step: Step, file: Path) -> tuple[tuple[str, ...], ...]:
    """The commands of a paid step; `file` holds the step's cluster. Pure."""
    assert step.cluster is not None
    cluster = step.cluster
    which = ("--cluster", cluster.name, "--region", cluster.region)
    jobs = tuple(
        ("submit", *which, "--queue", queue.name, "--nodes", str(queue.max), "--no-code", "--wait", "--", "hostname")
        for queue in cluster.queues
    )
    down = () if step.name == "all" else (("down", str(file), "--delete-data", "--yes"),)
    return (("up", str(file)), *jobs, *down)


def written(step: Step, given: Path) -> Path:
    """The file of a paid step: the one that was given for the whole cluster, else one that is written now.

    Side effects: the file in .dure/ladder.
    """
    assert step.cluster is not None
    if step.name == "all":
        return given
    import yaml

    path = FOLDER / f"{step.cluster.name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = step.cluster.model_dump(mode="json", exclude_defaults=True)
    # what differs from a default by being absent has to be said
    content["storage"]["throughput"] = step.cluster.storage.throughput
    path.write_text(f"# made by `dure check --live --step {step.name}`\n" + yaml.safe_dump(content, sort_keys=False))
    return path


def climb(step: Step, file: Path, *, call: Callable[[Sequence[str]], int], yes: bool) -> int:
    """Runs a paid step by its commands, after asking. Returns the exit code of the first that fails, else 0.

    A step that fails is left standing, so that one can look; the command that takes it away is said.
    """
    from cluster_scripts.cli.output import say
    from cluster_scripts.jobs.errors import RequestError

    lines = commands(step, file)
    print(f"step {step.name}: {step.what}; {step.price}. It runs:", flush=True)
    for words in lines:
        print(f"  dure {' '.join(words)}", flush=True)
    if not yes and not _confirmed():
        raise RequestError("not confirmed: nothing was deployed")
    for words in lines:
        print(f"$ dure {' '.join(words)}", flush=True)
        if code := call(words):
            away = "" if words[0] == "down" else f"; it is left as it is and costs money: `dure down {file}` ends it"
            say(f"step {step.name} failed at `dure {' '.join(words)}` with exit code {code}{away}")
            return code
    print(f"step {step.name} passes", flush=True)
    return 0


def _confirmed() -> bool:
    print("Type yes to go on: ", end="", flush=True)
    return sys.stdin.readline().strip() == "yes"
