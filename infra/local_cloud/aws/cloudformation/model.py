"""Stacks as the API shows them: plain data, one store a region."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from infra.local_cloud.aws.cloudformation.template import invalid
from infra.local_cloud.aws.errors import AwsError

GONE = "DELETE_COMPLETE"
# A stack in one of these may be updated; in any other only deleted (or it is at work).
UPDATABLE = frozenset(["CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE"])


def now() -> datetime:
    """The time, aware, as the API's timestamps need it."""
    return datetime.now(UTC)


@dataclass
class Resource:
    """One resource of a stack as it stands."""

    logical_id: str
    type: str
    physical_id: str
    properties: dict[str, Any]
    attributes: Mapping[str, Any]
    metadata: Any = None
    deletion_policy: str = "Delete"
    status: str = "CREATE_COMPLETE"
    reason: str = ""
    updated: datetime = field(default_factory=now)


@dataclass
class Event:
    """One line of a stack's history."""

    event_id: str
    logical_id: str
    physical_id: str
    type: str
    status: str
    reason: str
    time: datetime
    token: str | None


@dataclass
class Revision:
    """What a stack is, or shall become: the template and everything given with it."""

    template_text: str
    template: dict[str, Any]
    parameters: dict[str, str]
    tags: dict[str, str]
    capabilities: list[str] = field(default_factory=list)
    description: str = ""
    role_arn: str | None = None
    notification_arns: list[str] = field(default_factory=list)


@dataclass
class ChangeSet:
    """A change set: the revision, and what it would change."""

    id: str
    name: str
    kind: str
    revision: Revision
    changes: list[dict[str, Any]]
    status: str = "CREATE_COMPLETE"
    reason: str = ""
    execution_status: str = "AVAILABLE"
    description: str = ""
    on_failure: str = "ROLLBACK"
    created: datetime = field(default_factory=now)


@dataclass
class Stack:
    """A stack. `resources` is what exists, in creation order."""

    id: str
    name: str
    revision: Revision
    status: str
    reason: str = ""
    resources: dict[str, Resource] = field(default_factory=dict)
    outputs: list[dict[str, str]] = field(default_factory=list)
    exports: dict[str, str] = field(default_factory=dict)
    imports: set[str] = field(default_factory=set)
    resolved_parameters: dict[str, str] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    change_sets: dict[str, ChangeSet] = field(default_factory=dict)
    change_set_id: str | None = None
    created: datetime = field(default_factory=now)
    updated: datetime | None = None
    deleted: datetime | None = None
    termination_protection: bool = False
    disable_rollback: bool = False
    token: str | None = None
    role_arn: str | None = None
    access_key: str = ""  # whose credentials the operation under way uses: the role's, else the caller's

    @property
    def busy(self) -> bool:
        """Whether an operation is under way."""
        return self.status.endswith("_IN_PROGRESS") and self.status != "REVIEW_IN_PROGRESS"

    def log(self, resource: Resource | None, status: str, reason: str = "") -> None:
        """Add an event, then set the status of a resource (None: the stack's own), so that who sees one sees both."""
        time = now()
        if resource is None:
            logical, physical, kind = self.name, self.id, "AWS::CloudFormation::Stack"
        else:
            logical, physical, kind = resource.logical_id, resource.physical_id, resource.type
        identity = f"{logical}-{status}-{uuid.uuid4()}" if resource else str(uuid.uuid4())
        self.events.append(Event(identity, logical, physical, kind, status, reason, time, self.token))
        if resource is None:
            self.reason, self.status = reason, status
        else:
            resource.status, resource.reason, resource.updated = status, reason, time


class Stacks:
    """All stacks of a region, those deleted included (the API goes on showing them by id)."""

    def __init__(self) -> None:
        self.all: dict[str, Stack] = {}
        self.lock = threading.RLock()

    def living(self) -> list[Stack]:
        """Stacks that are not deleted, oldest first."""
        return [stack for stack in self.all.values() if stack.status != GONE]

    def find(self, name: str) -> Stack:
        """A living stack by name, or any by id. Raises ValidationError as AWS words it."""
        if name in self.all:
            return self.all[name]
        for stack in self.living():
            if stack.name == name:
                return stack
        raise invalid(f"Stack with id {name} does not exist")

    def has(self, name: str) -> bool:
        """Whether a living stack has that name."""
        return any(stack.name == name for stack in self.living())

    def change_set(self, name: str, stack: str | None) -> tuple[Stack, ChangeSet]:
        """A change set by ARN, or by name within its stack."""
        candidates = [self.find(stack)] if stack else list(self.all.values())
        for found in candidates:
            for change_set in found.change_sets.values():
                if name in (change_set.id, change_set.name):
                    return found, change_set
        raise AwsError("ChangeSetNotFound", f"ChangeSet [{name}] does not exist", status=404)

    def export(self, name: str, *, importer: Stack) -> str:
        """The value of an export; remembers who imports it."""
        for stack in self.living():
            if name in stack.exports:
                importer.imports.add(name)
                return stack.exports[name]
        raise invalid(f"No export named {name} found.")

    def importers(self, name: str) -> list[str]:
        """The names of living stacks that import an export."""
        return sorted(stack.name for stack in self.living() if name in stack.imports)
