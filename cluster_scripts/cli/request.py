"""From the words of `dure submit` to a job specification. Pure but for reading a cluster file."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from cluster_scripts.backends.reached import QueueLimits, check_queue
from cluster_scripts.cli.cluster_file import load
from cluster_scripts.cli.work_folder.archive import Archive
from cluster_scripts.jobs.errors import InvalidArgument, InvalidSpec, RequestError
from cluster_scripts.jobs.spec import CodeRef, JobSpec

_TIME = re.compile(r"(?:(\d{1,3})-)?(\d{1,4}):([0-5]\d):([0-5]\d)", re.ASCII)


def seconds(text: str) -> int:
    """[DAYS-]HH:MM:SS as seconds, for argparse."""
    match = _TIME.fullmatch(text)
    if not match:
        raise ArgumentTypeError(f"{text!r} is not a time of the form [DAYS-]HH:MM:SS, such as 12:00:00 or 2-00:00:00")
    days, hours, minutes, rest = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


def variable(text: str) -> tuple[str, str]:
    """NAME=VALUE, for argparse."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ArgumentTypeError(f"{name!r} has no value: write NAME=VALUE (an empty value is fine)")
    return name, value


def split_command(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our options, and the job's command after the first `--`."""
    words = list(argv)
    if "--" not in words:
        return words, []
    at = words.index("--")
    return words[:at], words[at + 1 :]


def choose_queue(wanted: str | None, *, nodes: int, queues: Sequence[QueueLimits]) -> str:
    """The queue asked for, else the only one; raises NoSuchQueue or InvalidArgument for what can't be had."""
    if wanted is None and len(queues) != 1:
        names = ", ".join(queue.name for queue in queues)
        raise InvalidArgument(f"the cluster has {len(queues)} queues ({names}); say which with --queue")
    queue = queues[0].name if wanted is None else wanted
    check_queue(queue, nodes=nodes, queues=queues)
    return queue


def build(
    options: Namespace, command: Sequence[str], *, queue: str, code: Archive | None, caller: str, now: datetime
) -> JobSpec:
    """The specification; raises InvalidSpec with every problem on a line of its own."""
    try:
        return JobSpec(
            name=options.name or default_name(command),
            queue=queue,
            command=tuple(command),
            nodes=options.nodes,
            tasks_per_node=options.tasks_per_node,
            environment=_environment(options.env),
            time_limit_seconds=options.time,
            code=None if code is None else CodeRef.of(code.sha256),
            submitted_by=caller,
            submitted_at=now,
            requeue=options.requeue,
        )
    except InvalidSpec as error:
        listed = "".join(f"\n  {problem}" for problem in error.problems)
        raise RequestError(f"the job can't be submitted as asked:{listed}") from error


def _environment(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise InvalidArgument(f"--env {name} is given twice")
        found[name] = value
    return found


def default_name(command: Sequence[str]) -> str:
    """A job's name from its command: `python -m training.pretrain` is training.pretrain, `bash run.sh` is run.sh."""
    words = list(command)
    if len(words) > 2 and words[1] == "-m":
        word = words[2]
    elif len(words) > 1 and Path(words[0]).name.startswith(("python", "bash", "sh")) and not words[1].startswith("-"):
        word = words[1]
    else:
        word = words[0]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", Path(word).name).strip("-._")[:64] or "job"


def queues_of_file(path: Path) -> tuple[QueueLimits, ...]:
    """The queues of a cluster file; raises RequestError with every problem of the file."""
    from infra.config.catalog import find

    cluster = load(path)
    gpus = {queue.name: getattr(find(queue.instance_type), "gpus", 0) for queue in cluster.queues}
    return tuple(QueueLimits(name=q.name, nodes=q.max, gpus=gpus[q.name]) for q in cluster.queues)
