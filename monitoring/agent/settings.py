"""What the agent needs to know of its machine and its cluster, from the two files that the machine's boot writes.

Errors: SettingsError for a file that is missing or can't be used.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.config.facts import Facts
from monitoring import catalog
from monitoring.agent.ended import EndedJobs
from monitoring.agent.readings import Labels
from monitoring.agent.ship import Source

JOB_LOGS = (".dure", "logs")
JOB_METRICS = (".dure", "metrics")
JOB_LOG_NAMES = re.compile(r"[0-9]+(_[0-9]+)?\.log")
MACHINE_LOG_NAMES = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.log")
ENDED_JOBS = Path("/var/lib/dure/slurm/jobcomp.txt")
MACHINE_LOGS = (Path("/var/log/dure"), Path("/var/log/slurm"))


class SettingsError(Exception):
    """The agent can't begin: which file, what is wrong with it, what to do."""


@dataclass(frozen=True)
class Settings:
    """instance_id names the streams of the machine's logs; `state` is the folder of what survives a restart."""

    facts: Facts
    labels: Labels
    is_head: bool
    instance_id: str
    interval_seconds: float
    state: Path

    @property
    def high_resolution(self) -> bool:
        """Below a minute CloudWatch keeps values only if it is told to."""
        return self.interval_seconds < 60

    def sources(self) -> list[Source]:
        """The folders of logs that this machine ships."""
        groups = self.facts.log_groups
        sources = [
            Source(
                root=folder,
                parts=(),
                names=MACHINE_LOG_NAMES,
                group=groups.nodes,
                stream=lambda name: f"{self.instance_id}/{name}",
                state=self.state / "logs" / folder.name,
            )
            for folder in MACHINE_LOGS
        ]
        if self.is_head:
            jobs = Source(
                root=Path(self.facts.file_system.mount_point),
                parts=JOB_LOGS,
                names=JOB_LOG_NAMES,
                group=groups.jobs,
                stream=lambda name: name.removesuffix(".log"),
                state=self.state / "logs" / "jobs",
                ends=EndedJobs(ENDED_JOBS),
            )
            sources.insert(0, jobs)
        return sources


def load_settings(facts_path: Path, identity_path: Path, *, state: Path) -> Settings:
    """Read both files. Errors: SettingsError."""
    try:
        facts = Facts.from_json(_read(facts_path))
    except ValueError as error:
        raise SettingsError(f"{facts_path}: {error}; run `dure-node boot` again") from error
    identity = _identity(identity_path)
    is_head = identity["role"] == "head"
    return Settings(
        facts=facts,
        labels=Labels(
            cluster=facts.name,
            node=catalog.HEAD_NODE if is_head else identity["node"],
            queue="" if is_head else identity["queue"],
        ),
        is_head=is_head,
        instance_id=identity["instance_id"],
        interval_seconds=float(facts.monitoring.interval_seconds),
        state=state,
    )


def _identity(path: Path) -> dict[str, str]:
    """The identity file; on a compute machine `queue` and `node` must be there."""
    try:
        data: Any = json.loads(_read(path))
    except ValueError as error:
        raise SettingsError(f"{path} is not JSON: {error}; run `dure-node boot` again") from error
    identity = {key: str(value) for key, value in data.items() if value} if isinstance(data, dict) else {}
    needed = {"role", "instance_id"} | (set() if identity.get("role") == "head" else {"queue", "node"})
    missing = sorted(needed - identity.keys())
    if missing:
        raise SettingsError(f"{path} lacks {', '.join(missing)}; run `dure-node boot` again")
    return identity


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"can't read {path}: {error}; it is written by `dure-node boot`") from error
