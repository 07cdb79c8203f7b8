"""Loads a cluster file: everything that is wrong with it at once, or a `ClusterFile` that may be deployed.

    cluster = load_cluster(KeyPath("cluster.yaml"))

Side effects: reads the file, nothing else.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from infra.config import rules
from infra.config.allowed import allowed_at, known_keys
from infra.config.problems import ClusterFileError, KeyPath, Problem, key_of, shown
from infra.config.schema import ClusterFile
from infra.config.source import Document, read

MAX_PROBLEMS = 200


@dataclass(frozen=True)
class Checked:
    """What a cluster file is, as far as it can be read, and what the rules say of it.

    `cluster` is None while there are problems; `advice` does not prevent a deployment.
    """

    cluster: ClusterFile | None
    problems: tuple[Problem, ...]
    advice: tuple[Problem, ...]


def load_cluster(path: Path | str) -> ClusterFile:
    """Load a cluster file.

    Errors: ClusterFileError, whose `problems` lists everything that is wrong with the file.
    """
    checked = check_file(path)
    if checked.cluster is None:
        raise ClusterFileError(list(checked.problems))
    return checked.cluster


def check_file(path: Path | str) -> Checked:
    """Check a cluster file against the schema and every rule; it never raises for what is in the file."""
    return check_document(read(Path(path)))


def check_document(document: Document) -> Checked:
    """Check a file that is read already."""
    problems = list(document.problems)
    if problems and document.value is None:
        return Checked(cluster=None, problems=tuple(problems), advice=())
    cluster, schema_problems = _validate(document)
    problems += [found for found in schema_problems if not _said(found, problems)]
    findings = rules.check(cluster) if cluster is not None else []
    placed = [(finding.severity, _place(document, finding)) for finding in findings]
    problems += [found for severity, found in placed if severity == "error" and not _said(found, problems)]
    advice = [found for severity, found in placed if severity == "advice"]
    return Checked(
        cluster=None if problems else cluster,
        problems=tuple(sorted(problems)[:MAX_PROBLEMS]),
        advice=tuple(sorted(advice)),
    )


def _said(problem: Problem, earlier: list[Problem]) -> bool:
    """Whether an earlier problem at the same key (or at one that holds it) makes this one an echo."""
    return any(
        problem.key == other.key or problem.key.startswith((other.key + ".", other.key + "["))
        for other in earlier
        if other.key
    )


def _validate(document: Document) -> tuple[ClusterFile | None, list[Problem]]:
    """The cluster that the document describes, and what the schema refuses.

    What is refused is left out and the rest is tried again, so that the rules still see the rest.
    """
    try:
        return ClusterFile.model_validate(document.value), []
    except ValidationError as error:
        details = [dict(detail) for detail in error.errors(include_url=False) if not _is_echo(dict(detail))]
    problems = [_translate(document, detail) for detail in details]
    if not isinstance(document.value, dict):
        return None, problems
    value = document.value
    for path in sorted({_path(detail) for detail in details}, key=str):
        value = _set(_without(value, path), path, _STAND_INS[path[-1]]) if _standing(path) else _without(value, path)
    try:
        return ClusterFile.model_validate(value), problems
    except ValidationError:
        return None, problems


# For keys that must be there and that no rule judges by themselves
_STAND_INS: dict[str | int, Any] = {"name": "unknown", "max": 1000}


def _standing(path: KeyPath) -> bool:
    """Whether a stand-in takes the place of what is refused at a path: of a cluster or of a queue."""
    return bool(path) and path[-1] in _STAND_INS and (len(path) == 1 or path[0] == "queues")


def _is_echo(detail: Mapping[str, Any]) -> bool:
    """Whether a list is called too short only because some of its items were refused."""
    return bool(detail["type"] == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"])


def _path(detail: Mapping[str, Any]) -> KeyPath:
    """The path of a pydantic finding, without the markers that it adds for mapping keys."""
    return tuple(part for part in detail["loc"] if part != "[key]")


def _without(value: Any, path: KeyPath) -> Any:
    """A copy of a value in which what is at the path is gone (list items are replaced by what stays)."""
    if not path:
        return value
    first, rest = path[0], path[1:]
    if isinstance(value, dict) and first in value:
        if not rest:
            return {key: item for key, item in value.items() if key != first}
        return {**value, first: _without(value[first], rest)}
    return value if not isinstance(value, list) or not isinstance(first, int) else _without_item(value, first, rest)


def _without_item(value: list[Any], index: int, rest: KeyPath) -> list[Any]:
    if index >= len(value):
        return value
    if not rest:
        # A hole keeps the other items' indexes; the second validation then fails and the rules wait
        return [*value[:index], None, *value[index + 1 :]]
    return [*value[:index], _without(value[index], rest), *value[index + 1 :]]


def _set(value: Any, path: KeyPath, new: Any) -> Any:
    """A copy of a value with something else at the path, where there is a place for it."""
    if not path:
        return new
    first, rest = path[0], path[1:]
    if isinstance(value, dict) and isinstance(first, str) and (not rest or first in value):
        return {**value, first: _set(value.get(first), rest, new)}
    if isinstance(value, list) and isinstance(first, int) and first < len(value):
        return [*value[:first], _set(value[first], rest, new), *value[first + 1 :]]
    return value


def _translate(document: Document, detail: Mapping[str, Any]) -> Problem:
    """A finding of pydantic in our words."""
    path = _path(detail)
    if detail["type"] == "extra_forbidden":
        known = known_keys(path[:-1])
        close = difflib.get_close_matches(str(path[-1]), known, n=1)
        fix = f'did you mean "{close[0]}"?' if close else ""
        return document.problem(path, found="an unknown key", allowed=", ".join(known), rule="unknown-key", fix=fix)
    if detail["type"] == "missing":
        return document.problem(path, found="nothing", allowed=allowed_at(path), rule="missing-key")
    if "[key]" in detail["loc"]:
        found = f"the key {shown(path[-1])}"
        return document.problem(path, found=found, allowed=f"keys of {key_of(path[:-1])} as documented", rule="value")
    if instead := _instead(path, detail["input"]):
        return document.problem(
            path, found=shown(detail["input"]), allowed=allowed_at(path), rule="not-here", fix=instead
        )
    rule = "type" if detail["type"].endswith("_type") else "value"
    return document.problem(path, found=shown(detail["input"]), allowed=allowed_at(path), rule=rule)


# What people ask for by these words and can't have, and what to do instead
_NOT_HERE: Mapping[tuple[KeyPath, str], str] = {
    (("image",), "pipeline"): (
        "images are not built by a pipeline yet: build one with ami/install.sh and give its id as image.ami, or under "
        "image.ssm_parameter the parameter that holds it"
    ),
    (("access",), "ssh"): (
        "there is no ssh to the machines, by decision (docs/decisions/0007-no-ssh-to-the-head.md): `dure submit`, "
        "`dure logs` and `dure cp` need none, and SSM's own sessions open a shell for whoever may"
    ),
}


def _instead(path: KeyPath, found: Any) -> str:
    """What to do instead of something that is not here, "" for everything else."""
    return _NOT_HERE.get((path, found), "") if isinstance(found, str) else ""


def _place(document: Document, finding: rules.Finding) -> Problem:
    """A rule's finding with its file and line."""
    return document.problem(
        finding.path, found=finding.found, allowed=finding.allowed, rule=finding.rule, fix=finding.fix
    )
