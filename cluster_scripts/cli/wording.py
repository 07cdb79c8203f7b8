"""How jobs and nodes are put into words, the same in every command. Pure."""

from __future__ import annotations

from datetime import datetime

from cluster_scripts.cli.output import duration, local_time, since
from cluster_scripts.jobs.model import (
    BOOT_FAIL,
    CANCELLED,
    COMPLETED,
    DEADLINE,
    NODE_FAIL,
    OUT_OF_MEMORY,
    PREEMPTED,
    RUNNING,
    TIMEOUT,
    Job,
)

# how a job ended, as the end of a sentence that begins with the job
ENDINGS = {
    CANCELLED: "was cancelled",
    TIMEOUT: "ran out of its time",
    NODE_FAIL: "lost a node",
    OUT_OF_MEMORY: "ran out of memory",
    PREEMPTED: "was preempted",
    BOOT_FAIL: "got no working node",
    DEADLINE: "missed its deadline",
}


def count(number: int, noun: str) -> str:
    """The number with its noun: "1 file", "2 files"."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def exit_text(job: Job) -> str:
    """The exit code or the signal of a job that ended: "0", "3", "signal 9"; "-" while there is none."""
    if job.signal:
        return f"signal {job.signal}"
    return "-" if job.exit_code is None else str(job.exit_code)


def run_time(job: Job, *, now: datetime) -> str:
    """How long the job ran, or runs."""
    return duration(since(job.started_at, job.ended_at, now=now))


def ending(job: Job) -> str:
    """One line on how a job that ended did: "job 12 failed: exit code 3, NonZeroExitCode"."""
    if job.state == COMPLETED:
        return f"job {job.id} completed"
    details = []
    if job.signal:
        details.append(f"ended by signal {job.signal}")
    elif job.exit_code is not None and job.state != CANCELLED:
        details.append(f"exit code {job.exit_code}")
    if job.reason and job.reason.lower() != "none":
        details.append(f"reason: {job.reason}")
    how = ENDINGS.get(job.state, state_text(job.state))
    return f"job {job.id} {how}" + (": " + ", ".join(details) if details else "")


def state_text(state: str) -> str:
    """Slurm's word as an English one: "node_fail" becomes "node fail"."""
    return state.replace("_", " ")


def progress(job: Job) -> str:
    """One line on a job that has not ended: "job 12 is pending (Resources)"."""
    if job.state == RUNNING and job.nodes:
        return f"job {job.id} is running on {', '.join(job.nodes)}"
    reason = f" ({job.reason})" if job.reason and job.reason.lower() != "none" else ""
    return f"job {job.id} is {state_text(job.state)}{reason}"


def describe(job: Job, *, now: datetime) -> list[tuple[str, str]]:
    """Everything about a job as names and values."""
    waited = since(job.submitted_at, job.started_at, now=now)
    return [
        ("job", job.id),
        ("name", job.name),
        ("state", state_text(job.state)),
        ("reason", job.reason or "-"),
        ("exit code", exit_text(job)),
        ("queue", job.queue),
        ("nodes", f"{job.node_count}" + (f": {', '.join(job.nodes)}" if job.nodes else "")),
        ("submitted", local_time(job.submitted_at)),
        ("waited", duration(waited) if job.started_at or not job.ended else "-"),
        ("started", local_time(job.started_at)),
        ("ended", local_time(job.ended_at)),
        ("ran", run_time(job, now=now)),
        ("user", job.user),
        ("submitted by", job.submitted_by or "-"),
    ]
