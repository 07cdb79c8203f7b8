"""Slurm as a program on a machine asks it: runs the commands of cluster_scripts.slurm and reads their answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cluster_scripts.jobs.errors import DureError, NoSuchJob, StepFailed, Unreachable
from cluster_scripts.jobs.model import Job, Node
from cluster_scripts.node.system import System
from cluster_scripts.slurm import commands, parse

#: Every reason that we give to a node or a job begins so: the keeper looks for it.
MARK = "dure: "
MAX_REASON = 400

#: Seconds that a Slurm command may take: a busy slurmctld answers late, not never.
PATIENCE = 45


def reason(kind: str, error: DureError) -> str:
    """An error as the reason of a node or a job: one line, not too long."""
    return " ".join(f"{kind} {error}".split())[:MAX_REASON]


@dataclass(frozen=True)
class Slurm:
    """Every method may raise the errors of `parse.refusal`, and Unreachable when the controller does not answer in
    time."""

    system: System

    def jobs(self) -> list[Job]:
        """Every job that slurmctld knows."""
        return parse.jobs(self._ask(commands.JOBS))

    def job(self, id: str) -> Job:
        """One job, from the completion log if slurmctld has forgotten it. NoSuchJob if neither knows it."""
        for job in self.jobs():
            if job.id == id:
                return job
        old = parse.history(self._ask(commands.history(id)))
        if not old:
            raise NoSuchJob(f"the cluster knows no job {id}; `dure jobs` lists those that it knows")
        return old[-1]

    def nodes(self) -> list[Node]:
        """Every node, with the jobs that are on it."""
        return parse.nodes(self._ask(commands.NODES), jobs=self.jobs())

    def bare_nodes(self) -> list[Node]:
        """Every node, without its jobs: one question less."""
        return parse.nodes(self._ask(commands.NODES))

    def nodes_and_words(self) -> tuple[list[Node], dict[str, frozenset[str]]]:
        """Every node with its jobs, and each node's state with all its flags."""
        jobs, text = self.jobs(), self._ask(commands.NODES)
        return parse.nodes(text, jobs=jobs), parse.node_words(text)

    def submit(self, argv: Sequence[str], *, script: str, user: str) -> str:
        """sbatch as that user: the job's id."""
        return parse.submitted(self._ask(argv, input=script, user=user))

    def cancel(self, id: str) -> None:
        """End a job. NoSuchJob if nobody knows it; one that has ended already is left as it is."""
        if not self.job(id).ended:
            self._ask(commands.cancel(id))

    def update_nodes(self, names: Iterable[str], **values: str) -> None:
        """scontrol update of these nodes."""
        self._ask(commands.update_nodes(names, **values))

    def note_job(self, id: str, text: str) -> None:
        """Leave word for the job's user: it shows as the job's reason while the job has not run. "" takes it back."""
        self._ask(commands.note_job(id, text))

    def answers(self) -> bool:
        """Whether the controller is up."""
        result = self.system.run(commands.PING, timeout=PATIENCE)
        return result.code == 0 and " UP" in result.stdout

    def _ask(self, argv: Sequence[str], *, input: str = "", user: str | None = None) -> str:
        try:
            result = self.system.run(argv, input=input, user=user, timeout=PATIENCE)
        except StepFailed as error:
            raise Unreachable(f"Slurm does not answer: {error}") from error
        if result.code:
            raise parse.refusal(argv, code=result.code, stderr=result.stderr or result.stdout)
        return result.stdout
