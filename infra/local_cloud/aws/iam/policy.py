"""Identity-based policies and one question in, a decision out. Pure; resource_policy.py has those of resources."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.local_cloud.aws.iam.conditions import Context, holds, like, refuse_variables


@dataclass(frozen=True)
class Question:
    """May this be done? `resource` is "*" for actions that know no resources; `context` has lower-case keys."""

    action: str
    resource: str = "*"
    context: Context = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """The answer; `explicit` when a Deny gave it."""

    allowed: bool
    explicit: bool = False


def decide(documents: Iterable[str], question: Question) -> Decision:
    """An applicable Deny wins, then an applicable Allow; without either the answer is no.

    `documents` are policies as JSON. Raises NotModelled for what of an applicable statement can't be judged.
    """
    allowed = False
    for statement in (each for document in documents for each in statements(document)):
        if not selects(statement, question):
            continue
        if statement["Effect"] == "Deny":
            return Decision(allowed=False, explicit=True)
        allowed = True
    return Decision(allowed=allowed)


@functools.lru_cache(maxsize=256)
def statements(document: str) -> list[dict[str, Any]]:
    """The statements of a policy, a list even if it is one."""
    found = json.loads(document)["Statement"]
    return found if isinstance(found, list) else [found]


def selects(statement: Mapping[str, Any], question: Question, *, of_resource: bool = False) -> bool:
    """Whether action, resource and conditions of a statement fit a question.

    `of_resource`: the statement stands in a resource's own policy, which may leave the resource out.
    """
    itself = of_resource and not {"Resource", "NotResource"} & set(statement)
    return (
        _selected(statement, "Action", question.action, ignore_case=True)
        and (itself or _selected(statement, "Resource", question.resource, ignore_case=False))
        and holds(statement.get("Condition") or {}, action=question.action, context=question.context)
    )


def _selected(statement: Mapping[str, Any], name: str, have: str, *, ignore_case: bool) -> bool:
    """Whether a statement's Action or NotAction (Resource or NotResource) selects what is asked for."""
    inverted = f"Not{name}" in statement
    listed = statement[f"Not{name}" if inverted else name]
    patterns = listed if isinstance(listed, list) else [listed]
    for pattern in patterns:
        refuse_variables(pattern)
    return any(like(have, pattern, ignore_case=ignore_case) for pattern in patterns) != inverted
