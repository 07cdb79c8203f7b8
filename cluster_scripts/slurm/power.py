"""What Slurm's power saving says and notes: the resume file, the machine behind a node, and whether a node is there
yet. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from cluster_scripts.jobs.errors import UnexpectedAnswer
from cluster_scripts.slurm.hostlist import expand


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What we note in a node's comment about the machine behind it: `i-0abc p3dn.24xlarge use1-az6`."""

    instance_id: str
    instance_type: str
    zone: str

    def comment(self) -> str:
        return f"{self.instance_id} {self.instance_type} {self.zone}"

    @classmethod
    def from_comment(cls, text: str) -> Machine | None:
        """None for a comment that is not ours: a node without a machine, or a cluster that we did not make."""
        words = text.split(" ")
        if len(words) != 3 or not words[0].startswith("i-"):
            return None
        return cls(instance_id=words[0], instance_type=words[1], zone=words[2])


@dataclass(frozen=True, kw_only=True)
class Resume:
    """One job's share of a ResumeProgram call: the nodes that it waits for; `job_id` is None for nodes that no job
    asked for.
    """

    job_id: str | None
    nodes: tuple[str, ...]


def resume_file(text: str, *, wanted: Iterable[str]) -> list[Resume]:
    """The content of SLURM_RESUME_FILE as one entry a job, in Slurm's order, each node once; nodes of `wanted`
    that no job names come last.
    """
    left = dict.fromkeys(wanted)
    out: list[Resume] = []
    try:
        entries = json.loads(text)["jobs"]
        for entry in entries:
            # 22.05 has "nodes"; later releases have "nodes_alloc" and, of those, "nodes_resume"
            named = entry["nodes_resume"] if "nodes_resume" in entry else entry["nodes"]
            names = tuple(name for name in expand(named) if name in left)
            for name in names:
                del left[name]
            if names:
                out.append(Resume(job_id=str(entry["job_id"]), nodes=names))
    except (ValueError, KeyError, TypeError) as error:
        raise UnexpectedAnswer(f"SLURM_RESUME_FILE is not readable ({error}): {text[:300]!r}") from error
    if left:
        out.append(Resume(job_id=None, nodes=tuple(left)))
    return out


@dataclass(frozen=True, kw_only=True)
class NodeState:
    """A node in one line of sinfo. `waiting`: it does not take work yet, or does not answer. `down`: it will not by
    itself."""

    waiting: bool
    down: bool
    address: str


#: What sinfo puts behind a state: not responding, powered down, powering up, power down asked, powering down,
#: rebooting.
_WAITING_SIGNS = "*~#!%@^"


def node_states(text: str) -> dict[str, NodeState]:
    """The output of commands.node_states. A node that is in several partitions comes once."""
    out: dict[str, NodeState] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) != 3:
            raise UnexpectedAnswer(f"sinfo gave {len(words)} fields instead of 3: {line!r}")
        name, state, address = words
        out[name] = NodeState(
            waiting=any(sign in state for sign in _WAITING_SIGNS),
            down=state.rstrip(_WAITING_SIGNS + "$-+") in ("down", "fail", "drain", "drng", "drained", "draining"),
            address=address,
        )
    return out
