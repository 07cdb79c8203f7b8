"""Where the toolkit ends and a cluster begins. Adapters: cluster_scripts.backends.aws and .ssh; one contract suite
runs over both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from cluster_scripts.jobs.model import Job, LogPage, Node
from cluster_scripts.jobs.spec import JobSpec


class Cluster(Protocol):
    """A cluster that takes jobs. Every method may raise an OtherSide; none of them retries for longer than about a
    minute.
    """

    def submit(self, spec: JobSpec, *, code: Path | None) -> str:
        """Queue the job and return its id.

        code: the packed archive (.tar.gz) whose SHA-256 is `spec.code.sha256`, or None exactly when `spec.code` is
        None. It is sent only if
        the cluster does not have it yet. Raises RequestError when the cluster refuses the specification: then there
        is no job.
        """
        ...

    def jobs(self) -> list[Job]:
        """Every job that Slurm still knows, ended ones included, in the order of their ids."""
        ...

    def job(self, id: str) -> Job:
        """One job; NoSuchJob if the cluster does not know it."""
        ...

    def cancel(self, id: str) -> None:
        """End the job. A job that has ended already is left as it is; NoSuchJob if the cluster does not know it."""
        ...

    def nodes(self) -> list[Node]:
        """Every node of every queue, in the order of queue and number, those without a machine included."""
        ...

    def log_events(self, id: str, *, cursor: str | None) -> LogPage:
        """Output of the job after `cursor` (None: from its beginning), oldest first. A job without output yet
        gives an empty page.
        """
        ...
