"""Templates: parsing, conditions, intrinsic functions. Pure but for the look-ups that the caller passes in."""

from __future__ import annotations

import base64
import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from infra.local_cloud.aws.errors import AwsError, NotModelled

NO_VALUE = object()
_SUB = re.compile(r"\$\{(!?)([^}]+)\}")
_DYNAMIC = re.compile(r"\{\{resolve:([a-z-]+):([^}]+)\}\}")
_SECTIONS = frozenset(
    [
        "AWSTemplateFormatVersion",
        "Description",
        "Metadata",
        "Parameters",
        "Mappings",
        "Conditions",
        "Rules",
        "Resources",
        "Outputs",
        "Transform",
    ]
)


def invalid(message: str) -> AwsError:
    """CloudFormation's own error for a template or request that it does not accept."""
    return AwsError("ValidationError", message)


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short tags, and with dates left as text (policy versions look like dates)."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _short_tag(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _short_tag)


def load(text: str) -> dict[str, Any]:
    """Parse a template's text. Raises ValidationError when it is not one."""
    try:
        found = json.loads(text) if text.lstrip().startswith("{") else yaml.load(text, _Loader)
    except (ValueError, yaml.YAMLError) as error:
        raise invalid(f"Template format error: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("Resources"), dict) or not found["Resources"]:
        raise invalid("Template format error: At least one Resources member must be defined.")
    if extra := sorted(set(found) - _SECTIONS):
        raise invalid(f"Invalid template property or properties {extra}")
    if found.get("Transform"):
        raise NotModelled(f"CloudFormation transforms ({found['Transform']})")
    for name, resource in found["Resources"].items():
        if not isinstance(resource, dict) or not isinstance(resource.get("Type"), str):
            raise invalid(f"Template format error: [/Resources/{name}] Every Resources member must have a Type.")
    return found


@dataclass
class Lookups:
    """What evaluation asks of the world. Each may raise `AwsError`."""

    ref: Callable[[str], Any]
    attribute: Callable[[str, str], Any]
    export: Callable[[str], str]
    zones: Callable[[], list[str]]
    dynamic: Callable[[str, str], str]


@dataclass
class Evaluator:
    """Evaluates values of one template. `parameters` holds resolved values, pseudo parameters included."""

    template: Mapping[str, Any]
    parameters: Mapping[str, Any]
    lookups: Lookups
    _conditions: dict[str, bool] = field(default_factory=dict)

    def condition(self, name: str) -> bool:
        """Whether a named condition holds."""
        if name not in self._conditions:
            declared = self.template.get("Conditions", {})
            if name not in declared:
                raise invalid(f"Template validation error: condition {name} is not defined")
            self._conditions[name] = bool(self.value(declared[name]))
        return self._conditions[name]

    def active(self) -> dict[str, dict[str, Any]]:
        """The resources whose conditions hold, in the template's order."""
        return {
            name: resource
            for name, resource in self.template["Resources"].items()
            if "Condition" not in resource or self.condition(resource["Condition"])
        }

    def value(self, node: Any) -> Any:
        """Evaluate a node. Members that come to AWS::NoValue are left out."""
        if isinstance(node, list):
            return [item for item in (self.value(item) for item in node) if item is not NO_VALUE]
        if isinstance(node, str):
            return _DYNAMIC.sub(lambda match: self.lookups.dynamic(match[1], match[2]), node)
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            (name, argument), *_ = node.items()
            if name == "Ref":
                return self._ref(argument)
            if name == "Condition" and isinstance(argument, str):
                return self.condition(argument)
            if isinstance(name, str) and name.startswith("Fn::"):
                return self._function(name[4:], argument)
        evaluated = {key: self.value(item) for key, item in node.items()}
        return {key: item for key, item in evaluated.items() if item is not NO_VALUE}

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return NO_VALUE
        if name in self.parameters:
            return self.parameters[name]
        if name in self.template["Resources"]:
            return self.lookups.ref(name)
        raise invalid(f"Template format error: Unresolved resource dependencies [{name}] in the template")

    def _function(self, name: str, argument: Any) -> Any:
        method = getattr(self, f"_fn_{name.lower()}", None)
        if method is None:
            raise NotModelled(f"the intrinsic function Fn::{name}")
        return method(argument)

    def _fn_getatt(self, argument: Any) -> Any:
        logical, attribute = argument.split(".", 1) if isinstance(argument, str) else argument
        if logical not in self.template["Resources"]:
            raise invalid(f"Template error: instance of Fn::GetAtt references undefined resource {logical}")
        return self.lookups.attribute(logical, self.value(attribute))

    def _fn_sub(self, argument: Any) -> str:
        text, given = (argument, {}) if isinstance(argument, str) else (argument[0], self.value(argument[1]))

        def replace(match: re.Match[str]) -> str:
            literal, name = match[1], match[2].strip()
            if literal:
                return f"${{{name}}}"
            if name in given:
                return _text(given[name])
            if "." in name and name not in self.parameters:
                return _text(self._fn_getatt(name))
            return _text(self._ref(name))

        return _SUB.sub(replace, text)

    def _fn_join(self, argument: Any) -> str:
        delimiter, parts = argument
        return str(delimiter).join(_text(part) for part in self.value(parts))

    def _fn_split(self, argument: Any) -> list[str]:
        delimiter, text = argument
        return str(self.value(text)).split(delimiter)

    def _fn_select(self, argument: Any) -> Any:
        index, items = self.value(argument[0]), self.value(argument[1])
        if not 0 <= int(index) < len(items):
            raise invalid(f"Template error: Fn::Select cannot select nonexistent value at index {index}")
        return items[int(index)]

    def _fn_if(self, argument: Any) -> Any:
        name, then, otherwise = argument
        return self.value(then if self.condition(name) else otherwise)

    def _fn_equals(self, argument: Any) -> bool:
        left, right = (self.value(item) for item in argument)
        return bool(_text(left) == _text(right) if not isinstance(left, (list, dict)) else left == right)

    def _fn_and(self, argument: Any) -> bool:
        return all(self.value(item) for item in argument)

    def _fn_or(self, argument: Any) -> bool:
        return any(self.value(item) for item in argument)

    def _fn_not(self, argument: Any) -> bool:
        return not self.value(argument[0])

    def _fn_findinmap(self, argument: Any) -> Any:
        name, top, second = (self.value(item) for item in argument[:3])
        try:
            return self.value(self.template["Mappings"][name][top][second])
        except KeyError as error:
            raise invalid(f"Template error: Unable to get mapping for {name}::{top}::{second}") from error

    def _fn_base64(self, argument: Any) -> str:
        return base64.b64encode(_text(self.value(argument)).encode()).decode()

    def _fn_getazs(self, argument: Any) -> list[str]:
        return self.lookups.zones()

    def _fn_importvalue(self, argument: Any) -> str:
        return self.lookups.export(_text(self.value(argument)))

    def _fn_cidr(self, argument: Any) -> list[str]:
        block, count, bits = [*(self.value(item) for item in argument), 8][:3]
        subnets = ipaddress.ip_network(block).subnets(new_prefix=32 - int(bits))
        return [str(subnet) for _, subnet in zip(range(int(count)), subnets, strict=False)]

    def _fn_tojsonstring(self, argument: Any) -> str:
        return json.dumps(self.value(argument), separators=(",", ":"))


def dependencies(evaluator: Evaluator, name: str) -> set[str]:
    """The logical ids that a resource waits for: DependsOn, Ref, Fn::GetAtt, Fn::Sub, in branches that are taken."""
    resource, active = evaluator.template["Resources"][name], evaluator.active()
    after = resource.get("DependsOn", [])
    found: set[str] = {after} if isinstance(after, str) else set(after)
    _references(evaluator, {key: resource[key] for key in ("Properties", "Metadata") if key in resource}, found)
    missing = {other for other in found if other not in evaluator.template["Resources"]}
    if missing:
        raise invalid(f"Template format error: Unresolved resource dependencies {sorted(missing)} in {name}")
    return found & set(active) - {name}


def _references(evaluator: Evaluator, node: Any, found: set[str]) -> None:
    if isinstance(node, list):
        for item in node:
            _references(evaluator, item, found)
        return
    if not isinstance(node, dict):
        return
    for key, item in node.items():
        if len(node) == 1 and key == "Ref" and isinstance(item, str):
            found.update({item} & set(evaluator.template["Resources"]))
        elif len(node) == 1 and key == "Fn::GetAtt":
            found.add(item.split(".", 1)[0] if isinstance(item, str) else item[0])
        elif len(node) == 1 and key == "Fn::If":
            _references(evaluator, item[1] if evaluator.condition(item[0]) else item[2], found)
        else:
            if key == "Fn::Sub":
                text = item if isinstance(item, str) else item[0]
                names = {match[2].split(".", 1)[0].strip() for match in _SUB.finditer(text) if not match[1]}
                found.update(names & set(evaluator.template["Resources"]))
            _references(evaluator, item, found)


def in_order(evaluator: Evaluator) -> list[str]:
    """Active resources, each after what it depends on, otherwise in the template's order. Raises on a circle."""
    waits = {name: dependencies(evaluator, name) for name in evaluator.active()}
    done: list[str] = []
    while waits:
        ready = next((name for name, needs in waits.items() if not needs - set(done)), None)
        if ready is None:
            raise invalid(f"Circular dependency between resources: {sorted(waits)}")
        done.append(ready)
        del waits[ready]
    return done


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, dict)):
        return ",".join(map(str, value)) if isinstance(value, list) else json.dumps(value)
    return str(value)
