"""Where a rank stands among all ranks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from training.errors import LaunchError


@dataclass(frozen=True)
class Slot:
    """One rank of the plan that Horovod's rendezvous is given."""

    host: str
    rank: int
    local_rank: int
    local_size: int
    cross_rank: int
    cross_size: int


@dataclass(frozen=True)
class Place:
    """This rank: its numbers, how many ranks each node has, and rank 0's address (empty for a single rank)."""

    rank: int
    local_rank: int
    node: int
    tasks_per_node: tuple[int, ...]
    master: str

    @property
    def size(self) -> int:
        """Ranks in all."""
        return sum(self.tasks_per_node)

    @property
    def local_size(self) -> int:
        """Ranks on this node."""
        return self.tasks_per_node[self.node]

    def slot(self) -> Slot:
        """This rank's entry of the plan."""
        return self.plan()[self.rank]

    def plan(self) -> list[Slot]:
        """All ranks in order. Nodes go by labels: names need not resolve."""
        slots: list[Slot] = []
        for node, count in enumerate(self.tasks_per_node):
            for local in range(count):
                having = [other for other, tasks in enumerate(self.tasks_per_node) if tasks > local]
                slots.append(Slot(f"node{node}", len(slots), local, count, having.index(node), len(having)))
        return slots


def parse_tasks_per_node(text: str) -> tuple[int, ...]:
    """Slurm's short form, "2(x3),1" for 2, 2, 2, 1."""
    counts: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if not match:
            raise LaunchError(f"SLURM_STEP_TASKS_PER_NODE is {text!r}, which is not Slurm's form such as 2(x3),1")
        counts += [int(match[1])] * int(match[2] or 1)
    return tuple(counts)


def from_slurm(environment: Mapping[str, str], *, master: Callable[[], str]) -> Place:
    """This task's place from srun's variables; without srun a single rank. `master` is asked only when there are
    several ranks.
    """
    if "SLURM_PROCID" not in environment:
        return Place(rank=0, local_rank=0, node=0, tasks_per_node=(1,), master="")
    try:
        tasks = environment.get("SLURM_STEP_TASKS_PER_NODE") or environment["SLURM_TASKS_PER_NODE"]
        counts = parse_tasks_per_node(tasks)
        rank, local, node = (int(environment[key]) for key in ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"))
    except (KeyError, ValueError) as error:
        raise LaunchError(
            f"Slurm's environment is incomplete: {error}; start the command with srun (dure submit does)"
        ) from error
    if not (node < len(counts) and local < counts[node] and rank < sum(counts)):
        raise LaunchError(
            f"Slurm says rank {rank}, node {node}, local rank {local} among tasks {counts}: that does not fit"
        )
    # srun numbers tasks block by block unless asked otherwise; any other order would give two ranks the same slot
    if rank != sum(counts[:node]) + local:
        raise LaunchError("ranks are not numbered node by node; start with srun --distribution=block")
    return Place(rank, local, node, counts, master() if sum(counts) > 1 else "")
