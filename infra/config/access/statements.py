"""A policy as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Conditions = Mapping[str, Mapping[str, str | list[str]]]


@dataclass(frozen=True)
class Statement:
    """Allow `actions` on `resources` where `conditions` hold. `why`: for readers; it is not in the policy."""

    sid: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: Conditions = field(default_factory=dict)
    why: str = ""

    def as_json(self) -> dict[str, Any]:
        """The statement as IAM reads it."""
        found: dict[str, Any] = {
            "Sid": self.sid,
            "Effect": "Allow",
            "Action": list(self.actions),
            "Resource": list(self.resources),
        }
        return {**found, "Condition": self.conditions} if self.conditions else found


def document(statements: Iterable[Statement]) -> dict[str, Any]:
    """A whole policy."""
    return {"Version": "2012-10-17", "Statement": [each.as_json() for each in statements]}
