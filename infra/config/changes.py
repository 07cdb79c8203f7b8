"""What a changed cluster file does to a live cluster, key by key, before anything is done.

    old = from_json(value of the SSM parameter `parameter_name(NAME)`)
    for change in compare(old, new):
        print(change)

The table says what CloudFormation and Slurm do; the unit tests compare it with the provider schemas'
create-only properties.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from infra.config.problems import shown
from infra.config.schema import ClusterFile


def parameter_name(cluster: str) -> str:
    """The SSM parameter in which a cluster's stack keeps the cluster file that it was deployed from."""
    return f"/dure/{cluster}/cluster-file"


def to_json(cluster: ClusterFile) -> str:
    """A cluster file as the parameter keeps it: what differs from the defaults, as one line."""
    return cluster.model_dump_json(exclude_defaults=True)


def from_json(text: str) -> ClusterFile:
    """The cluster file of a live cluster. Errors: ValueError, if another version of the toolkit wrote it."""
    return ClusterFile.model_validate_json(text)


class Effect(IntEnum):
    """What a change does, from harmless to what nobody wants by accident."""

    NONE = 0
    NEXT_LAUNCH = 1
    DRAINS = 2
    RESTARTS_HEAD = 3
    REPLACES_HEAD = 4
    REPLACES_DATA = 5
    ANOTHER_CLUSTER = 6

    @property
    def needs_replace(self) -> bool:
        """Whether it is done only when asked for by name (`--replace`)."""
        return self >= Effect.REPLACES_HEAD


@dataclass(frozen=True)
class Change:
    """One changed key, from what to what, what that does, and why."""

    key: str
    old: str
    new: str
    effect: Effect
    why: str

    def __str__(self) -> str:
        effect = self.effect.name.lower().replace("_", " ")
        return f"{self.key}: {self.old} -> {self.new}: {effect} ({self.why})"


# The first pattern that fits the whole key decides. Queues and associations are named, not counted
_TABLE: tuple[tuple[str, Effect, str], ...] = (
    (r"name|region", Effect.ANOTHER_CLUSTER, "stacks are found by name and region: this is a new cluster"),
    (r"zones\.added", Effect.NONE, "a subnet and endpoints more"),
    (r"zones", Effect.ANOTHER_CLUSTER, "subnets that machines and file system stand in would have to go"),
    (r"network\.(nat|flow_logs)", Effect.NONE, "routes and records only"),
    (r"network\..*", Effect.ANOTHER_CLUSTER, "a network can't be exchanged under its machines and file system"),
    (r"head\.instance_type", Effect.RESTARTS_HEAD, "the head is stopped and started; jobs go on"),
    (r"head\.zone", Effect.REPLACES_DATA, "head and file system move to another zone"),
    (r"head\.state_volume_gib\.raised", Effect.NONE, "the volume grows; its file system when the head next boots"),
    (r"head\.state_volume_gib\.lowered", Effect.ANOTHER_CLUSTER, "an EBS volume can't shrink"),
    (r"head\..*", Effect.REPLACES_HEAD, "the head is launched anew; its volume keeps Slurm's queue"),
    (r"image\.nvidia_driver", Effect.NONE, "only the rules read it"),
    (r"image\..*", Effect.REPLACES_HEAD, "head and nodes boot the new image; the head's volume keeps Slurm's queue"),
    (r"queues\.\w+\.added", Effect.NONE, "a queue more"),
    (r"queues\.\w+\.removed", Effect.DRAINS, "its jobs end first; its nodes are given back"),
    (r"queues\.\w+\.max\.lowered", Effect.DRAINS, "nodes above the new maximum finish their jobs first"),
    (r"queues\.\w+\.(min|max|max\.raised|idle_seconds)", Effect.NONE, "Slurm reads its configuration again"),
    (r"queues\.\w+\.(instance_type|efa)", Effect.DRAINS, "Slurm knows one size of node in a queue"),
    (r"queues\.\w+\..*", Effect.NEXT_LAUNCH, "running nodes stay as they are"),
    (r"storage\.(deployment|kms)", Effect.REPLACES_DATA, "FSx makes a new file system: what is not exported is lost"),
    (r"storage\.capacity_gib\.lowered", Effect.REPLACES_DATA, "FSx can't shrink: what is not exported is lost"),
    (r"storage\.(capacity_gib\.raised|throughput|compression)", Effect.NONE, "FSx does it while it is in use"),
    (r"storage\.on_down", Effect.NONE, "counts when the cluster is deleted"),
    (r"storage\.associations\.[^ ]+\.added", Effect.NONE, "a folder more"),
    (r"storage\.associations\.[^ ]+\.events", Effect.NONE, "the link stays"),
    (r"storage\.associations\.[^ ]+", Effect.NONE, "the link is cut (and made anew); both sides keep what they have"),
    (r"tags", Effect.NEXT_LAUNCH, "running nodes keep their tags"),
    (r"(budget|monitoring|slurm|protect|access).*", Effect.NONE, "taken over while jobs run"),
)


def compare(old: ClusterFile, new: ClusterFile) -> tuple[Change, ...]:
    """Every changed key with its effect, the gravest first."""
    found = [_judge(key, before, after) for key, before, after in _differences(old, new)]
    return tuple(sorted(found, key=lambda change: (-change.effect, change.key)))


def _judge(key: str, before: Any, after: Any) -> Change:
    for pattern, effect, why in _TABLE:
        if re.fullmatch(pattern, key):
            name = re.sub(r"\.(raised|lowered|events)$", "", key)
            return Change(key=name, old=_words(before), new=_words(after), effect=effect, why=why)
    raise AssertionError(f"no line of the table is about {key}")


def _words(value: Any) -> str:
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return ", ".join(value) or "none"
    return shown(value)


def _differences(old: ClusterFile, new: ClusterFile) -> Iterator[tuple[str, Any, Any]]:
    """Changed keys in dots, with what they were and are."""
    before, after = old.model_dump(mode="json"), new.model_dump(mode="json")
    for key in before:
        if before[key] == after[key]:
            continue
        if key == "zones":
            grown = after[key][: len(before[key])] == before[key]
            yield ("zones.added" if grown else "zones"), before[key], after[key]
        elif key == "queues":
            yield from _named("queues", _by(before[key], "name"), _by(after[key], "name"))
        elif key == "storage":
            yield from _storage(before[key], after[key])
        elif key in ("tags", "budget") or not isinstance(before[key], dict):
            yield key, before[key], after[key]
        else:
            yield from _fields(key, before[key], after[key])


def _by(items: list[dict[str, Any]], key: str) -> dict[str, dict[str, Any]]:
    return {item[key]: item for item in items}


def _named(
    prefix: str, before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]
) -> Iterator[tuple[str, Any, Any]]:
    """Items that are known by a name: added, removed, or changed in their fields."""
    for name in [*before, *[name for name in after if name not in before]]:
        if name not in before:
            yield f"{prefix}.{name}.added", None, after[name]
        elif name not in after:
            yield f"{prefix}.{name}.removed", before[name], None
        else:
            yield from _fields(f"{prefix}.{name}", before[name], after[name])


def _fields(prefix: str, before: dict[str, Any], after: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for key in before:
        if before[key] != after[key]:
            yield f"{prefix}.{key}{_direction(key, before[key], after[key])}", before[key], after[key]


def _direction(key: str, before: Any, after: Any) -> str:
    """For sizes, it matters which way they change."""
    if key in ("max", "capacity_gib", "state_volume_gib"):
        return ".raised" if after > before else ".lowered"
    return ""


def _storage(before: dict[str, Any], after: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    old, new = _by(before.pop("associations"), "path"), _by(after.pop("associations"), "path")
    yield from _fields("storage", before, after)
    for key, was, becomes in _named("storage.associations", old, new):
        yield (f"{key}.events" if key.endswith("_events") else key), was, becomes
