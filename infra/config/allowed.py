"""Says in words what may stand at a path of the cluster file, from the schema itself."""

from __future__ import annotations

from functools import cache
from typing import Any

from infra.config.problems import KeyPath
from infra.config.schema import ClusterFile

# What a pattern means, for those that people would have to decode
_MEANINGS = {
    "zones": 'a zone id such as "use1-az6"',
    "zone": 'a zone id such as "use1-az6"',
    "instance_type": 'an EC2 type such as "p3dn.24xlarge"',
    "fallback_types": 'an EC2 type such as "g5.12xlarge"',
    "cidr": 'an address range such as "10.42.0.0/16"',
    "email": "an e-mail address",
    "alarm_email": "an e-mail address",
    "ami": 'an image id such as "ami-0123456789abcdef0"',
    "vpc_id": 'a network id such as "vpc-0123456789abcdef0"',
    "subnets": 'subnet ids by zone id, such as use1-az6: "subnet-0123456789abcdef0"',
    "capacity_reservation_id": 'a reservation id such as "cr-0123456789abcdef0"',
    "ssm_parameter": 'the name of an SSM parameter, such as "/dure/images/volta"',
    "nvidia_driver": 'a driver branch in quotes, such as "580" or "580-open"',
    "region": 'a region such as "us-east-1"',
    "tags": 'keys of letters, digits and +=._:@-, texts such as project: "kogpt2"',
    "path": 'a folder such as "/data"',
    "prefix": 'a prefix such as "data"',
}


@cache
def json_schema() -> dict[str, Any]:
    """The JSON Schema of the cluster file, for editors."""
    schema = ClusterFile.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def known_keys(path: KeyPath) -> list[str]:
    """The keys of the mapping at a path, in the schema's order."""
    return list(_at(path).get("properties", {}))


def allowed_at(path: KeyPath) -> str:
    """What may stand at a path, as one line."""
    schema = _at(path)
    names = [part for part in path if isinstance(part, str)]
    meaning = next((_MEANINGS[name] for name in reversed(names[-2:]) if name in _MEANINGS), None)
    if names and names[-1] == "name":
        meaning = _name_meaning(names)
    if meaning is not None and schema.get("type") == "array":
        return f"{_words(schema)}, each {meaning}"
    if meaning is not None and "properties" not in schema and "enum" not in schema:
        return meaning
    return _words(schema)


def _name_meaning(names: list[str]) -> str:
    if "queues" in names:
        return "1 to 15 lower-case letters and digits, a letter first"
    return "1 to 20 lower-case letters, digits and hyphens, a letter first, no hyphen last"


def _at(path: KeyPath) -> dict[str, Any]:
    """The schema of what stands at a path ({} where there is none)."""
    schema = json_schema()
    for part in path:
        if isinstance(part, int):
            schema = _resolve(schema.get("items", {}))
        else:
            schema = _resolve(schema.get("properties", {}).get(part, schema.get("additionalProperties", {})))
    return schema


def _resolve(schema: Any) -> dict[str, Any]:
    """A schema without references and without the `or null` of optional keys."""
    if not isinstance(schema, dict):
        return {}
    outer = {key: schema[key] for key in ("description",) if key in schema}
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return {**json_schema()["$defs"][name], **outer}
    if "anyOf" in schema:
        choices = [choice for choice in schema["anyOf"] if choice.get("type") != "null"]
        return {**_resolve(choices[0]), **outer} if choices else {}
    return dict(schema)


def _words(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return "one of " + ", ".join(str(value) for value in schema["enum"])
    kind = schema.get("type")
    if kind in ("integer", "number"):
        return _number(schema, "a whole number" if kind == "integer" else "a number")
    if kind == "boolean":
        return "true or false"
    if kind == "array":
        least, most = schema.get("minItems"), schema.get("maxItems")
        return "a list" + (f" of {least or 0} to {most}" if most is not None else "")
    if kind == "object":
        keys = list(schema.get("properties", {}))
        return "a mapping with the keys " + ", ".join(keys) if keys else "a mapping"
    return "a text"


def _number(schema: dict[str, Any], noun: str) -> str:
    least = schema.get("minimum")
    most = schema.get("maximum")
    if "exclusiveMinimum" in schema:
        return f"{noun} above {schema['exclusiveMinimum']}, at most {most}"
    return f"{noun} from {least} to {most}"
