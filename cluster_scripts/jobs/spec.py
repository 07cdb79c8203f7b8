"""What a job is asked to be: the specification that travels from the user to the cluster.

    spec = JobSpec.from_json(text)      strict: every problem at once, as InvalidSpec
    text = spec.to_json()               canonical: sorted keys, the same specification is the same text

The same loader runs at the client, before anything is sent, and again as root on the head, which trusts nothing that
it is given.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cluster_scripts.jobs.errors import InvalidSpec
from cluster_scripts.jobs.model import format_time, parse_time

VERSION = 1

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
QUEUE = re.compile(r"[a-z][a-z0-9-]{0,30}", re.ASCII)
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
CODE_KEY = re.compile(r"\.dure/code/[0-9a-f]{64}\.tar\.gz", re.ASCII)
JOB_ID = re.compile(r"[1-9][0-9]{0,9}", re.ASCII)

#: Set by the batch script or by Slurm itself: a job that overwrote them would lie about itself.
RESERVED_PREFIXES = ("SLURM_", "SLURMD_", "SBATCH_", "DURE_")

#: Limits, in bytes of UTF-8 where they are of text. An argument of 128 KiB is the kernel's limit (MAX_ARG_STRLEN).
MAX_ARGUMENT = 100_000
MAX_COMMAND = 200_000
MAX_ENVIRONMENT = 100_000
MAX_SUBMITTED_BY = 1_000
MAX_NODES = 1_000
MAX_TASKS_PER_NODE = 512
MAX_TIME_LIMIT = int(timedelta(days=365).total_seconds())
#: A specification larger than this is not even parsed.
MAX_TEXT = 1_000_000


@dataclass(frozen=True, kw_only=True)
class CodeRef:
    """A packed work folder in the cluster's bucket: `.dure/code/SHA256.tar.gz`."""

    sha256: str
    key: str

    @classmethod
    def of(cls, sha256: str) -> CodeRef:
        """The reference of an archive with that SHA-256 (lower-case hex)."""
        return cls(sha256=sha256, key=f".dure/code/{sha256}.tar.gz")


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """A job as asked for. Made by hand it is checked too: InvalidSpec lists every problem.

    command: argv, never a shell line. environment: added to the job's, after ours. time_limit_seconds: None is the
    queue's limit (none).
    code: None runs in /fsx. submitted_by: the caller's ARN (or user@host over ssh). requeue: whether a lost node
    starts the job again.
    """

    name: str
    queue: str
    command: tuple[str, ...]
    nodes: int = 1
    tasks_per_node: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    time_limit_seconds: int | None = None
    code: CodeRef | None = None
    submitted_by: str
    submitted_at: datetime
    requeue: bool = True

    def __post_init__(self) -> None:
        problems = _problems(self._plain())
        if problems:
            raise InvalidSpec(*problems)

    def _plain(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "name": self.name,
            "queue": self.queue,
            "nodes": self.nodes,
            "tasks_per_node": self.tasks_per_node,
            "command": list(self.command),
            "environment": dict(self.environment),
            "time_limit_seconds": self.time_limit_seconds,
            "code": None if self.code is None else {"sha256": self.code.sha256, "key": self.code.key},
            "submitted_by": self.submitted_by,
            "submitted_at": format_time(self.submitted_at),
            "requeue": self.requeue,
        }

    def to_json(self) -> str:
        """Canonical text: the keys sorted, no line breaks."""
        return json.dumps(self._plain(), sort_keys=True, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> JobSpec:
        """Strict: unknown, missing, wrong-typed and out-of-range keys are all named in one InvalidSpec."""
        if len(text) > MAX_TEXT:
            raise InvalidSpec(f"the specification is {len(text)} characters long, at most {MAX_TEXT} are allowed")
        try:
            data = json.loads(text, object_pairs_hook=_no_duplicates)
        except (ValueError, RecursionError) as error:
            raise InvalidSpec(f"the specification is not JSON: {error}") from error
        problems = _problems(data)
        if problems:
            raise InvalidSpec(*problems)
        submitted_at = parse_time(data["submitted_at"])
        assert submitted_at is not None
        return cls(
            name=data["name"],
            queue=data["queue"],
            nodes=data["nodes"],
            tasks_per_node=data["tasks_per_node"],
            command=tuple(data["command"]),
            environment=data["environment"],
            time_limit_seconds=data["time_limit_seconds"],
            code=None if data["code"] is None else CodeRef(**data["code"]),
            submitted_by=data["submitted_by"],
            submitted_at=submitted_at,
            requeue=data["requeue"],
        )


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError(f"a key occurs twice among {[key for key, _ in pairs]}")
    return out


def _problems(data: Any) -> list[str]:
    """Every way in which `data` breaks the schema; each names the key, what was found and what is allowed."""
    if not isinstance(data, dict):
        return [f"the specification is a JSON {type(data).__name__}, expected an object"]
    problems = [
        f"{key!r}: unknown key; known: {', '.join(sorted(_CHECKS))}" for key in sorted(set(data) - set(_CHECKS))
    ]
    for key, check in _CHECKS.items():
        if key not in data:
            problems.append(f"{key}: missing")
        else:
            problems.extend(f"{key}: {problem}" for problem in check(data[key]))
    return problems


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _whole(low: int, high: int) -> Callable[[Any], list[str]]:
    def check(value: Any) -> list[str]:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            return [f"found {_shown(value)}, expected a whole number from {low} to {high}"]
        return []

    return check


def _matching(pattern: re.Pattern[str]) -> Callable[[Any], list[str]]:
    def check(value: Any) -> list[str]:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            return [f"found {_shown(value)}, expected text of the form {pattern.pattern}"]
        return []

    return check


def _optional(inner: Callable[[Any], list[str]]) -> Callable[[Any], list[str]]:
    return lambda value: [] if value is None else inner(value)


def _check_version(value: Any) -> list[str]:
    if isinstance(value, bool) or value != VERSION:
        return [
            f"found {_shown(value)}, this toolkit reads version {VERSION}: "
            "bring the client and the cluster to the same version"
        ]
    return []


def _check_flag(value: Any) -> list[str]:
    return [] if isinstance(value, bool) else [f"found {_shown(value)}, expected true or false"]


def _check_text(value: Any, *, limit: int) -> list[str]:
    """Text that can be an argument or a variable's value on Linux: encodable, without a zero byte, not too long."""
    if not isinstance(value, str):
        return [f"found {_shown(value)}, expected text"]
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return [f"found {_shown(value)}, which is not valid Unicode"]
    if "\0" in value:
        return [f"found {_shown(value)}: a zero character can't be passed to a program"]
    return [f"is {size} bytes long, at most {limit} are allowed"] if size > limit else []


def _check_command(value: Any) -> list[str]:
    if not isinstance(value, list) or not value:
        return [f"found {_shown(value)}, expected a list with the program and its arguments"]
    problems = [f"argument {i} {p}" for i, item in enumerate(value) for p in _check_text(item, limit=MAX_ARGUMENT)]
    if not problems and not value[0]:
        problems.append("the program's name is empty")
    if not problems and (size := sum(len(item.encode()) + 1 for item in value)) > MAX_COMMAND:
        problems.append(f"is {size} bytes long, at most {MAX_COMMAND} are allowed")
    return problems


def _check_environment(value: Any) -> list[str]:
    if not isinstance(value, dict):
        return [f"found {_shown(value)}, expected an object of names and texts"]
    problems = []
    for name, text in value.items():
        if not isinstance(name, str) or not VARIABLE.fullmatch(name):
            problems.append(f"{_shown(name)} is no variable's name, expected the form {VARIABLE.pattern}")
        elif name.startswith(RESERVED_PREFIXES):
            problems.append(
                f"{name} is set by the cluster itself: names with {', '.join(RESERVED_PREFIXES)} are reserved"
            )
        problems.extend(f"{_shown(name)} {problem}" for problem in _check_text(text, limit=MAX_ARGUMENT))
    if not problems and (size := sum(len(n) + len(t.encode()) + 2 for n, t in value.items())) > MAX_ENVIRONMENT:
        problems.append(f"is {size} bytes long, at most {MAX_ENVIRONMENT} are allowed")
    return problems


def _check_code(value: Any) -> list[str]:
    if not isinstance(value, dict) or set(value) != {"sha256", "key"}:
        return [f"found {_shown(value)}, expected an object with sha256 and key, or null"]
    problems = [f"sha256 {p}" for p in _matching(SHA256)(value["sha256"])]
    problems += [f"key {p}" for p in _matching(CODE_KEY)(value["key"])]
    if not problems and value["key"] != CodeRef.of(value["sha256"]).key:
        problems.append(f"key {value['key']!r} is not that of sha256 {value['sha256']!r}")
    return problems


def _check_submitted_by(value: Any) -> list[str]:
    problems = _check_text(value, limit=MAX_SUBMITTED_BY)
    if not problems and (not value or not value.isprintable()):
        problems.append(f"found {_shown(value)}, expected the caller's ARN or user@host, printable")
    return problems


def _check_time(value: Any) -> list[str]:
    try:
        if isinstance(value, str) and parse_time(value) is not None:
            return []
    except (ValueError, OverflowError):
        pass
    return [f"found {_shown(value)}, expected a time such as 2020-05-13T09:00:00Z"]


_CHECKS: dict[str, Callable[[Any], list[str]]] = {
    "version": _check_version,
    "name": _matching(NAME),
    "queue": _matching(QUEUE),
    "nodes": _whole(1, MAX_NODES),
    "tasks_per_node": _whole(1, MAX_TASKS_PER_NODE),
    "command": _check_command,
    "environment": _check_environment,
    "time_limit_seconds": _optional(_whole(1, MAX_TIME_LIMIT)),
    "code": _optional(_check_code),
    "submitted_by": _check_submitted_by,
    "submitted_at": _check_time,
    "requeue": _check_flag,
}
