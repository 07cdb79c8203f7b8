"""Loads the cluster file that a command was given, with every problem as one error of ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cluster_scripts.jobs.errors import RequestError

if TYPE_CHECKING:
    from infra.config.schema import ClusterFile


def load(path: Path) -> ClusterFile:
    """The cluster file. Raises RequestError (exit 2) that lists everything that is wrong with it, a line each."""
    from infra.config.loader import load_cluster
    from infra.config.problems import ClusterFileError

    try:
        return load_cluster(path)
    except ClusterFileError as error:
        raise RequestError(str(error)) from error
