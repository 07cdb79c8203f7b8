"""Between a template and what exists: parameters, evaluation against live resources, and the plan of changes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from infra.local_cloud.aws.cloud import PARTITION, Cloud
from infra.local_cloud.aws.cloudformation.model import Resource, Revision, Stack, Stacks
from infra.local_cloud.aws.cloudformation.registry import Registry, ResourceType
from infra.local_cloud.aws.cloudformation.schema import provider_schema
from infra.local_cloud.aws.cloudformation.template import Evaluator, Lookups, in_order, invalid
from infra.local_cloud.aws.errors import AwsError, NotModelled

INERT = frozenset({"AWS::CDK::Metadata", "AWS::CloudFormation::WaitConditionHandle"})  # exist in name only
_SSM = re.compile(r"AWS::SSM::Parameter::Value<(.+)>")


@dataclass(frozen=True)
class Change:
    """One planned change. `replacement` matters for Modify only."""

    action: str
    logical_id: str
    type: str
    physical_id: str = ""
    replacement: bool = False
    changed: tuple[str, ...] = ()


class _Unknown(str):
    """Stands, in a plan, for a value that only exists once its resource does."""


def check_types(registry: Registry, template: dict[str, Any]) -> None:
    """Refuse at once a template with types that AWS, or this local cloud, does not have."""
    used = {resource["Type"] for resource in template["Resources"].values()} - INERT
    foreign = {name for name in used if registry.get(name) is None}
    unrecognized = sorted(name for name in foreign if provider_schema(name) is None)
    if unrecognized:
        raise invalid(f"Template format error: Unrecognized resource types: [{', '.join(unrecognized)}]")
    if foreign:
        raise NotModelled(f"the CloudFormation resource type{'s' * (len(foreign) > 1)} {', '.join(sorted(foreign))}")


def resolve_parameters(cloud: Cloud, region: str, revision: Revision) -> dict[str, Any]:
    """The values of a revision's parameters, defaults filled in, SSM ones looked up. Raises ValidationError."""
    declared = revision.template.get("Parameters", {})
    if unknown := sorted(set(revision.parameters) - set(declared)):
        raise invalid(f"Parameters: [{', '.join(unknown)}] do not exist in the template")
    missing = [n for n, spec in declared.items() if n not in revision.parameters and "Default" not in spec]
    if missing:
        raise invalid(f"Parameters: [{', '.join(missing)}] must have values")
    return {
        name: _parameter(cloud, region, name, spec, str(revision.parameters.get(name, spec.get("Default"))))
        for name, spec in declared.items()
    }


def _parameter(cloud: Cloud, region: str, name: str, spec: dict[str, Any], text: str) -> Any:
    kind = spec["Type"]
    if stored := _SSM.fullmatch(kind):
        try:
            text = cloud.client("ssm", region).get_parameter(Name=text)["Parameter"]["Value"]
        except Exception as error:
            raise invalid(f"Unable to fetch parameters [{text}] from parameter store for this account.") from error
        kind = stored[1]
    allowed = spec.get("AllowedValues")
    if allowed is not None and text not in [_plain(item) for item in allowed]:
        raise invalid(f"Parameter '{name}' must be one of AllowedValues")
    if "AllowedPattern" in spec and not re.fullmatch(spec["AllowedPattern"], text):
        raise invalid(f"Parameter '{name}' must match pattern {spec['AllowedPattern']}")
    if kind.startswith(("List<", "CommaDelimitedList")):
        return [item.strip() for item in text.split(",")]
    return text


def _plain(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def evaluator(
    cloud: Cloud, stacks: Stacks, stack: Stack, revision: Revision, region: str, *, planning: bool
) -> Evaluator:
    """An evaluator of a revision over a stack's live resources. When planning, what is not made yet is unknown."""
    values = resolve_parameters(cloud, region, revision)
    stack.resolved_parameters = {
        name: str(values[name])
        for name, spec in revision.template.get("Parameters", {}).items()
        if _SSM.fullmatch(spec["Type"])
    }
    pseudo = {
        "AWS::AccountId": cloud.account,
        "AWS::Region": region,
        "AWS::Partition": PARTITION,
        "AWS::URLSuffix": "amazonaws.com",
        "AWS::StackName": stack.name,
        "AWS::StackId": stack.id,
        "AWS::NotificationARNs": revision.notification_arns,
    }

    def found(name: str) -> Resource | None:
        if name not in stack.resources and not planning:
            raise invalid(f"resource {name} is referred to before it exists")
        return stack.resources.get(name)

    def ref(name: str) -> Any:
        resource = found(name)
        return resource.physical_id if resource else _Unknown(f"<{name}>")

    def attribute(name: str, key: str) -> Any:
        resource = found(name)
        if resource is None:
            return _Unknown(f"<{name}.{key}>")
        node: Any = resource.attributes
        if key in node:
            return node[key]
        for part in key.split("."):
            if not isinstance(node, dict) or part not in node:
                raise AwsError("ValidationError", f"{resource.type} {name} has no attribute {key} in the local cloud")
            node = node[part]
        return node

    def zones() -> list[str]:
        listed = cloud.client("ec2", region).describe_availability_zones()["AvailabilityZones"]
        return [zone["ZoneName"] for zone in listed]

    lookups = Lookups(
        ref=ref,
        attribute=attribute,
        export=lambda name: stacks.export(name, importer=stack),
        zones=zones,
        dynamic=lambda service, rest: _dynamic(cloud, region, service, rest),
    )
    return Evaluator(revision.template, {**values, **pseudo}, lookups)


def _dynamic(cloud: Cloud, region: str, service: str, rest: str) -> str:
    if service == "ssm":
        name = rest.split(":", 1)[0]
        return str(cloud.client("ssm", region).get_parameter(Name=name)["Parameter"]["Value"])
    raise NotModelled(f"dynamic references to {service}")


def plan(registry: Registry, evaluation: Evaluator, stack: Stack) -> list[Change]:
    """What a revision would change, in the order in which it would be done; removals last."""
    changes: list[Change] = []
    fresh: set[str] = set()  # made or replaced by this plan: what refers to them sees a new value
    kept = dict(stack.resources)
    order = in_order(evaluation)
    try:
        for name in order:
            change = _plan_one(registry, evaluation, stack, name)
            if change is None:
                continue
            changes.append(change)
            if change.action == "Add" or change.replacement:
                fresh.add(name)
                stack.resources.pop(name, None)
    finally:
        stack.resources.clear()
        stack.resources.update(kept)
    gone = [resource for resource in reversed(kept.values()) if resource.logical_id not in order]
    return changes + [Change("Remove", item.logical_id, item.type, item.physical_id) for item in gone]


def _plan_one(registry: Registry, evaluation: Evaluator, stack: Stack, name: str) -> Change | None:
    declared = evaluation.template["Resources"][name]
    old = stack.resources.get(name)
    if old is None:
        return Change("Add", name, declared["Type"])
    if old.type != declared["Type"]:
        raise invalid(f"Update of resource type is not permitted. The new template modifies resource type of [{name}]")
    wanted = wanted_properties(registry, evaluation, name)
    changed = changed_properties(old, wanted)
    if not changed:
        return None
    kind = registry.get(old.type)
    replacement = kind is not None and kind.replaced_by(old.properties, wanted)
    return Change("Modify", name, old.type, old.physical_id, replacement, tuple(sorted(changed)))


def wanted_properties(registry: Registry, evaluation: Evaluator, name: str) -> dict[str, Any]:
    """A resource's evaluated properties, coerced as the engine will; unchecked where values are still unknown."""
    declared = evaluation.template["Resources"][name]
    evaluated = evaluation.value(declared.get("Properties", {}))
    kind: ResourceType | None = registry.get(declared["Type"])
    if kind is None:
        return dict(evaluated)
    try:
        return kind.check(evaluated)
    except AwsError:
        return dict(evaluated)  # said when the resource is made, as AWS does


def changed_properties(old: Resource, wanted: dict[str, Any]) -> frozenset[str]:
    """The names of the properties that differ from what the resource was made with."""
    return frozenset(key for key in {*old.properties, *wanted} if old.properties.get(key) != wanted.get(key))
