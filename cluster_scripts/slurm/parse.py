"""What Slurm answers, in our words. Pure functions of text; UnexpectedAnswer carries the raw text's beginning.

Slurm's JSON changed between releases: 22.05 writes `"job_state": "FAILED"` and `"exit_code": 768`, 23.11 writes
`"job_state": ["FAILED"]` and
`"exit_code": {"return_code": {"set": true, "infinite": false, "number": 3}, ...}`. Both are read; a missing key gets
its neutral value, and a
missing id or state is an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from cluster_scripts.jobs import errors
from cluster_scripts.jobs.model import COMPLETING, ENDED, Job, Node
from cluster_scripts.slurm.hostlist import expand
from cluster_scripts.slurm.power import Machine

_SBATCH = re.compile(r"([1-9][0-9]*)(?:;\S+)?\s*", re.ASCII)


def submitted(text: str) -> str:
    """The job id in the output of `sbatch --parsable`."""
    match = _SBATCH.fullmatch(text)
    if not match:
        raise errors.UnexpectedAnswer(f"sbatch gave no job id but {_beginning(text)}")
    return match[1]


def refusal(argv: Iterable[str], *, code: int, stderr: str) -> errors.DureError:
    """The error for a Slurm command that ended with a code other than 0, in Slurm's own words."""
    words = list(argv)
    lines = [re.sub(r"^\S+: (error: |fatal: )?", "", line).strip() for line in stderr.splitlines() if line.strip()]
    said = "; ".join(dict.fromkeys(lines)) or "nothing"
    message = f"{words[0]} ended with {code} and said: {said}"
    if "invalid partition" in stderr.lower():
        return errors.NoSuchQueue(message)
    if "Invalid job id" in stderr:
        return errors.NoSuchJob(message)
    if "Unable to contact slurm controller" in stderr or "Unable to establish control machine" in stderr:
        return errors.Unreachable(f"{message}. Is slurmctld running on the head?")
    return errors.SlurmRefused(message)


def jobs(text: str) -> list[Job]:
    """The output of commands.JOBS, in the order of the ids."""
    found = [_job(entry) for entry in _entries(text, "jobs")]
    return sorted(found, key=lambda job: int(job.id))


def nodes(text: str, *, jobs: Iterable[Job] = ()) -> list[Node]:
    """The output of commands.NODES, by queue and number; `jobs` say which jobs are on which node."""
    on_node: dict[str, list[str]] = {}
    for job in jobs:
        if job.state not in ENDED:
            for name in job.nodes:
                on_node.setdefault(name, []).append(job.id)
    found = [_node(entry, on_node) for entry in _entries(text, "nodes")]
    return sorted(found, key=lambda node: (node.queue, _natural(node.name)))


def node_words(text: str) -> dict[str, frozenset[str]]:
    """The output of commands.NODES: each node's state and all its flags, in lower case."""
    return {
        _text(e, "name"): frozenset(_words(e.get("state")) + _words(e.get("state_flags")))
        for e in _entries(text, "nodes")
    }


def history(text: str) -> list[Job]:
    """The output of commands.history."""
    return [_history(line) for line in text.splitlines() if line.strip()]


def _beginning(text: str) -> str:
    return repr(text if len(text) <= 300 else text[:297] + "...")


def _entries(text: str, key: str) -> list[Mapping[str, Any]]:
    try:
        found = json.loads(text)[key]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise errors.UnexpectedAnswer(f"Slurm's answer has no {key!r}: {_beginning(text)}") from error
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise errors.UnexpectedAnswer(f"Slurm's {key!r} are no list of objects: {_beginning(text)}")
    return found


def _number(value: Any) -> int | None:
    """A number of any release: 5, or {"set": true, "infinite": false, "number": 5}; None where it isn't set."""
    if isinstance(value, Mapping):
        return _number(value.get("number")) if value.get("set") and not value.get("infinite") else None
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key)
    return value if isinstance(value, str) and value not in ("(null)", "None") else ""


def _words(value: Any) -> list[str]:
    if isinstance(value, str):
        value = re.split(r"[+,]", value)
    return [word.lower() for word in value if isinstance(word, str) and word] if isinstance(value, list) else []


def _time(value: Any) -> datetime | None:
    seconds = _number(value)
    return datetime.fromtimestamp(seconds, tz=UTC) if seconds and seconds < 1 << 40 else None


def _job(entry: Mapping[str, Any]) -> Job:
    id, states = _number(entry.get("job_id")), _words(entry.get("job_state"))
    if not id or not states:
        raise errors.UnexpectedAnswer(f"a job without an id or a state: {_beginning(json.dumps(entry))}")
    # the flags of a state come after it, and "completing" says more than the state that it will end in
    state = COMPLETING if COMPLETING in states else states[-1] if states[0] == "running" else states[0]
    over = state in ENDED
    code, signal = _exit(entry.get("exit_code")) if over else (None, None)
    pending = state in ("pending", "requeued", "requeue_hold")
    return Job(
        id=str(id),
        name=_text(entry, "name"),
        queue=_text(entry, "partition"),
        state=state,
        reason=_reason(entry, never_ran=pending or state in ("configuring", "node_fail", "boot_fail")),
        exit_code=code,
        signal=signal,
        nodes=_hosts(_text(entry, "nodes")),
        node_count=_number(entry.get("node_count")) or 0,
        user=_text(entry, "user_name"),
        submitted_at=_time(entry.get("submit_time")),
        # while a job waits these are Slurm's guess, and while it runs its end is its time limit
        started_at=None if pending else _time(entry.get("start_time")),
        ended_at=_time(entry.get("end_time")) if over else None,
        submitted_by=_text(entry, "comment"),
    )


def _reason(entry: Mapping[str, Any], *, never_ran: bool) -> str:
    """While a job waits for machines, what our own programs noted (why there is none) says more than Slurm."""
    noted = _text(entry, "admin_comment") if never_ran else ""
    return noted or _text(entry, "state_description") or _text(entry, "state_reason")


def _hosts(text: str) -> tuple[str, ...]:
    try:
        return expand(text)
    except ValueError as error:
        raise errors.UnexpectedAnswer(str(error)) from error


def _exit(value: Any) -> tuple[int | None, int | None]:
    """Exit code and signal: of 22.05's wait status, or of the later object."""
    if isinstance(value, Mapping) and "return_code" in value:
        signal = value.get("signal")
        signal = signal.get("id", signal.get("signal_id")) if isinstance(signal, Mapping) else signal
        return _number(value["return_code"]), _number(signal) or None
    status = _number(value)
    if status is None:
        return None, None
    return status >> 8, status & 0x7F or None


#: What a node's flags say more exactly than its state, the first that fits.
_NODE_FLAGS = (
    "powering_down",
    "powered_down",
    "powering_up",
    "power_down",
    "drain",
    "not_responding",
    "planned",
    "completing",
)


def _node(entry: Mapping[str, Any], on_node: Mapping[str, list[str]]) -> Node:
    name, states = _text(entry, "name"), _words(entry.get("state"))
    if not name or not states:
        raise errors.UnexpectedAnswer(f"a node without a name or a state: {_beginning(json.dumps(entry))}")
    flags = {*_words(entry.get("state_flags")), *states[1:]}
    state = states[0]
    if state != "down":
        state = next((flag for flag in _NODE_FLAGS if flag in flags), state)
    machine = Machine.from_comment(_text(entry, "comment"))
    partitions = entry.get("partitions")
    return Node(
        name=name,
        queue=partitions[0] if isinstance(partitions, list) and partitions else "",
        state=state,
        instance_id=machine.instance_id if machine else "",
        instance_type=machine.instance_type if machine else "",
        zone=machine.zone if machine else "",
        reason=_text(entry, "reason"),
        job_ids=tuple(on_node.get(name, ())),
        cpus=_number(entry.get("cpus")) or 0,
        gpus=gpus(_text(entry, "gres")),
    )


def gpus(gres: str) -> int:
    """GPUs in `gpu:8`, `gpu:v100:8(S:0-1)`, `gpu:a100:4,gpu:v100:4`."""
    return sum(int(number) for number in re.findall(r"(?:^|,)gpu(?::[^:,(]*)??:([0-9]+)", gres, re.ASCII))


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() and part.isascii() else (0, part) for part in re.split(r"([0-9]+)", name)]


def _history(line: str) -> Job:
    parts = line.split("|")
    # a job's name may hold the separator: count the other fields from both ends
    if len(parts) < 11:
        raise errors.UnexpectedAnswer(f"sacct gave {len(parts)} fields instead of 11: {_beginning(line)}")
    id, name = parts[0], "|".join(parts[1:-9])
    queue, state, code, node_list, count, user, submit, start, end = parts[-9:]
    status = re.fullmatch(r"([0-9]+):([0-9]+)", code, re.ASCII)
    return Job(
        id=id,
        name=name,
        queue=queue,
        state=state.split(" ")[0].lower(),
        reason="",
        exit_code=int(status[1]) if status else None,
        signal=(int(status[2]) or None) if status else None,
        nodes=_hosts(node_list),
        node_count=int(count) if count.isdigit() else 0,
        user=user.partition("(")[0],
        submitted_at=_local_time(submit),
        started_at=_local_time(start),
        ended_at=_local_time(end),
        submitted_by="",
    )


def _local_time(text: str) -> datetime | None:
    """sacct writes the time of the machine's zone, and our machines' zone is UTC."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None
