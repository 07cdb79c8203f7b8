"""What a CloudFormation resource type is to the engine, and the table of those that we model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.local_cloud.aws.cloud import Cloud
from infra.local_cloud.aws.cloudformation.schema import Checker, at, create_only, provider_schema
from infra.local_cloud.aws.errors import AwsError

Properties = dict[str, Any]


@dataclass(frozen=True)
class Made:
    """A resource that exists: its physical id (what Ref gives) and its attributes (what Fn::GetAtt gives)."""

    physical_id: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """What a resource type may use: clients to the cloud, names, and the tags that the stack gives everything."""

    cloud: Cloud
    region: str
    stack_name: str
    stack_id: str
    logical_id: str
    stack_tags: Mapping[str, str]
    access_key: str
    existing: list[Made] = field(default_factory=list)

    def exists(self, physical_id: str, **attributes: Any) -> None:
        """Say, in a create of several steps, that the thing is there: if a later step fails, it will be deleted."""
        self.existing[:] = [Made(physical_id, attributes)]

    def client(self, service: str) -> Any:
        """A boto3 client of the stack's region, with the credentials that the stack's operation runs under."""
        return self.cloud.client(service, self.region, access_key=self.access_key)

    def name(self, *, limit: int = 64) -> str:
        """A generated physical name as CloudFormation makes them: stack, logical id, and a suffix of its own."""
        digest = hashlib.sha256(f"{self.stack_id}/{self.logical_id}".encode()).hexdigest()
        tail = f"-{self.logical_id}-"[: max(1, limit - 14)] + digest[:12]
        return (self.stack_name[: max(0, limit - len(tail))] + tail).lstrip("-")

    def own_name(self) -> str:
        """The same for the types whose generated names leave the stack out, such as secrets."""
        return self.name()[-len(self.logical_id) - 13 :].lstrip("-")

    def tags(self, own: Any = ()) -> list[dict[str, str]]:
        """Tags for the resource: the stack's, then the resource's (a list or a map). No `aws:` ones: reserved."""
        mine = own.items() if isinstance(own, Mapping) else ((tag["Key"], tag["Value"]) for tag in own or ())
        merged = {**self.stack_tags, **dict(mine)}
        return [{"Key": str(key), "Value": str(value)} for key, value in merged.items()]

    def tagged(self, own: Any = ()) -> dict[str, list[dict[str, str]]]:
        """The `Tags` argument of a create call, left out when there are none (some APIs refuse an empty list)."""
        tags = self.tags(own)
        return {"Tags": tags} if tags else {}


Create = Callable[[Context, Properties], Made]
Update = Callable[[Context, Made, Properties, Properties], Made]
Delete = Callable[[Context, Made, Properties], None]


@dataclass(frozen=True)
class ResourceType:
    """One type: `uses` are the properties that its functions honour; any other is refused by name.

    `update` takes (context, made, old, new) and may be missing: then every change replaces the resource.
    """

    name: str
    uses: frozenset[str]
    create: Create
    delete: Delete
    update: Update | None = None

    def check(self, properties: Mapping[str, Any]) -> Properties:
        """Coerce properties by AWS's schema; raise what CloudFormation would say of bad ones."""
        schema = provider_schema(self.name)
        if schema is None:
            return dict(properties)
        checker = Checker(schema)
        out = checker.properties(properties)
        if checker.problems:
            raise AwsError(
                "ValidationError", f"Properties validation failed with message: {'; '.join(checker.problems)}"
            )
        if unknown := sorted(set(out) - self.uses):
            raise AwsError(
                "NotImplemented",
                f"{self.name}: the local cloud does not model the propert{'ies' if len(unknown) > 1 else 'y'}"
                f" {', '.join(unknown)} (AWS does)",
            )
        return out

    def replaced_by(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
        """Whether the change from old to new properties makes a new resource."""
        if self.update is None:
            return True
        return any(at(old, pointer) != at(new, pointer) for pointer in create_only(provider_schema(self.name) or {}))


class Registry:
    """All resource types, filled by the modules in `resources/`."""

    def __init__(self) -> None:
        self.types: dict[str, ResourceType] = {}

    def add(self, name: str, uses: str, *, create: Create, delete: Delete, update: Update | None = None) -> None:
        """Add a type; `uses` lists property names separated by blanks."""
        if name in self.types:
            raise ValueError(f"{name} is registered twice")
        self.types[name] = ResourceType(name, frozenset(uses.split()), create, delete, update)

    def get(self, name: str) -> ResourceType | None:
        """The type of a name, if we model it."""
        return self.types.get(name)
