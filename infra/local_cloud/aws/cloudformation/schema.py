"""Properties against CloudFormation's provider schemas, as cfn-lint ships them: check and coerce in one walk.

CloudFormation takes "100", 100, "true" and true alike; what comes out here has the schema's types, so that
botocore's own validation of the API call that follows is strict and meaningful.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

SCHEMA_REGION = "us-east-1"  # the schemas differ between regions only by which types exist
_UNCHECKED_PATTERN = re.compile(r"\\p\{|\(\?<!")  # Java-only regular expressions


@functools.cache
def provider_schema(type_name: str) -> dict[str, Any] | None:
    """AWS's schema of a resource type, or None when AWS has no such type."""
    from cfnlint.schema import ResourceNotFoundError  # heavy (0.5 s): only when a stack is made
    from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

    try:
        return dict(PROVIDER_SCHEMA_MANAGER.get_resource_schema(SCHEMA_REGION, type_name).schema)
    except ResourceNotFoundError:
        return None


def names(schema: Mapping[str, Any], key: str) -> frozenset[str]:
    """Top-level property names in a list of JSON pointers such as createOnlyProperties."""
    return frozenset(pointer.split("/")[2] for pointer in schema.get(key, []) if pointer.count("/") >= 2)


def create_only(schema: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The paths of properties whose change replaces a resource, such as ("Budget", "BudgetName")."""
    return [tuple(pointer.split("/")[2:]) for pointer in schema.get("createOnlyProperties", [])]


def at(properties: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """What lies at a path of mappings, None where nothing does."""
    value: Any = properties
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


class Checker:
    """Checks one value tree; `problems` collects every message in CloudFormation's form."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schema = schema
        self.problems: list[str] = []

    def properties(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The properties, coerced. Read-only ones may not be given."""
        for name in sorted(set(given) & names(self.schema, "readOnlyProperties") - names(self.schema, "required")):
            pointer = f"/properties/{name}"
            if pointer in self.schema.get("readOnlyProperties", []):
                self.problems.append(f"#: extraneous key [{name}] is not permitted (it is read-only)")
        root = {key: value for key, value in self.schema.items() if key not in ("definitions", "typeName")}
        out = self.walk({**root, "type": "object"}, dict(given), "#")
        return out if isinstance(out, dict) else {}

    def walk(self, schema: Any, value: Any, path: str) -> Any:
        """Check and coerce one value; returns what it becomes."""
        if not isinstance(schema, Mapping):
            return value
        if "$ref" in schema:
            return self.walk(self._definition(schema["$ref"]), value, path)
        kinds = schema.get("type")
        if kinds is not None:
            value = self._coerce([kinds] if isinstance(kinds, str) else list(kinds), value, path)
        for key in ("anyOf", "oneOf"):
            if key in schema:
                value = self._any(schema[key], value, path)
        for part in schema.get("allOf", []):
            value = self.walk(part, value, path)
        if isinstance(value, dict):
            value = self._object(schema, value, path)
        elif isinstance(value, list):
            value = self._array(schema, value, path)
        else:
            self._scalar(schema, value, path)
        return value

    def _definition(self, reference: str) -> Any:
        node: Any = self.schema
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
        return node

    def _any(self, options: list[Any], value: Any, path: str) -> Any:
        tried: list[str] = []
        for option in options:
            probe = Checker(self.schema)
            # `required` alone is how schemas say "one of these members": the members are described elsewhere
            out = probe.walk(option, value, path)
            if not probe.problems:
                return out if isinstance(option, Mapping) and ("type" in option or "$ref" in option) else value
            tried += probe.problems
        self.problems.append(f"{path}: matches none of the allowed forms ({'; '.join(tried[:3])})")
        return value

    def _coerce(self, kinds: list[str], value: Any, path: str) -> Any:
        for kind in kinds:
            fits, out = _as(kind, value)
            if fits:
                return out
        self.problems.append(f"{path}: expected type: {' or '.join(kinds)}, found: {type(value).__name__}")
        return value

    def _object(self, schema: Mapping[str, Any], value: dict[str, Any], path: str) -> dict[str, Any]:
        known = schema.get("properties", {})
        patterns = schema.get("patternProperties", {})
        out: dict[str, Any] = {}
        for name, item in value.items():
            by_pattern = next((sub for pattern, sub in patterns.items() if _matches(pattern, name)), None)
            if name in known:
                out[name] = self.walk(known[name], item, f"{path}/{name}")
            elif by_pattern is not None:
                out[name] = self.walk(by_pattern, item, f"{path}/{name}")
            else:
                if schema.get("additionalProperties", True) is False:
                    self.problems.append(f"{path}: extraneous key [{name}] is not permitted")
                out[name] = item
        self.problems += [
            f"{path}: required key [{name}] not found" for name in schema.get("required", []) if name not in value
        ]
        self.problems += list(_groups(schema, value, path))
        return out

    def _array(self, schema: Mapping[str, Any], value: list[Any], path: str) -> list[Any]:
        low, high = schema.get("minItems", 0), schema.get("maxItems")
        if len(value) < low or (high is not None and len(value) > high):
            self.problems.append(f"{path}: has {len(value)} items, allowed: {low} to {high or 'any'}")
        if schema.get("uniqueItems") and len({json.dumps(item, sort_keys=True) for item in value}) != len(value):
            self.problems.append(f"{path}: items are not unique")
        return [self.walk(schema.get("items"), item, f"{path}/{index}") for index, item in enumerate(value)]

    def _scalar(self, schema: Mapping[str, Any], value: Any, path: str) -> None:
        allowed = schema.get("enum")
        if allowed is not None and value not in allowed and str(value) not in map(str, allowed):
            self.problems.append(
                f"{path}: {value!r} is not a valid enum value, allowed: {', '.join(map(str, allowed))}"
            )
        loose = schema.get("enumCaseInsensitive")
        if loose is not None and str(value).lower() not in [str(item).lower() for item in loose]:
            self.problems.append(f"{path}: {value!r} is not a valid enum value, allowed: {', '.join(map(str, loose))}")
        if isinstance(value, str):
            if len(value) < schema.get("minLength", 0) or len(value) > schema.get("maxLength", len(value)):
                self.problems.append(f"{path}: has {len(value)} characters")
            pattern = schema.get("pattern")
            if pattern and not _matches(pattern, value):
                self.problems.append(f"{path}: {value!r} does not match pattern {pattern}")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            low, high = schema.get("minimum"), schema.get("maximum")
            if (low is not None and value < low) or (high is not None and value > high):
                self.problems.append(f"{path}: {value} is not between {low} and {high}")


def _as(kind: str, value: Any) -> tuple[bool, Any]:
    if kind == "object":
        if isinstance(value, str) and value.lstrip().startswith("{"):
            try:
                return True, json.loads(value)
            except ValueError:
                return False, value
        return isinstance(value, dict), value
    if kind == "array":
        return isinstance(value, list), value
    if isinstance(value, (dict, list)) or value is None:
        return False, value
    if kind == "string":
        return True, ("true" if value else "false") if isinstance(value, bool) else str(value)
    if kind == "boolean":
        words = {"true": True, "false": False}
        return str(value).lower() in words, words.get(str(value).lower(), value)
    if isinstance(value, bool):
        return False, value
    try:
        number = float(value)
    except (TypeError, ValueError):
        return False, value
    if kind == "integer":
        return number == int(number), int(number)
    return kind == "number", int(number) if number == int(number) and "." not in str(value) else number


def _groups(schema: Mapping[str, Any], value: Mapping[str, Any], path: str) -> Iterator[str]:
    """cfn-lint's keywords for rules between members."""
    for group, wanted in ((schema.get("requiredOr"), "at least one"), (schema.get("requiredXor"), "exactly one")):
        count = sum(name in value for name in group or [])
        if group and (count == 0 or (wanted == "exactly one" and count != 1)):
            yield f"{path}: {wanted} of {', '.join(group)} is required"
    for name, others in schema.get("dependentRequired", {}).items():
        if name in value:
            yield from (f"{path}: {name} requires {other}" for other in others if other not in value)
    for name, others in schema.get("dependentExcluded", {}).items():
        if name in value:
            yield from (f"{path}: {name} excludes {other}" for other in others if other in value)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str] | None:
    if _UNCHECKED_PATTERN.search(pattern):
        return None
    try:
        return re.compile(pattern)
    except re.error:
        return None


def _matches(pattern: str, text: str) -> bool:
    compiled = _compiled(pattern)
    return compiled is None or compiled.search(text) is not None
