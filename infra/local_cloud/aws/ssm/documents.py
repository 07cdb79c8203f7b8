"""Command documents: their parameters, and what they run. Pure.

A parameter with `interpolationType: ENV_VAR` reaches the script as the environment variable SSM_<name> and never as
text in it (AWS Systems Manager user guide, "Data elements and parameters"). Others replace `{{ name }}` as text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from infra.local_cloud.aws.errors import AwsError

DEFAULT_TIMEOUT = 3600.0
MAX_TIMEOUT = 172800.0
_PLACE = re.compile(r"\{\{\s*([A-Za-z0-9_:.]+)\s*\}\}")
_INTERPRETERS = frozenset({"/bin/sh", "/bin/bash", "/usr/bin/bash", "/usr/bin/python3"})

# What we know of AWS-RunShellScript: the shell it gives, the parameters it takes.
RUN_SHELL_SCRIPT: dict[str, Any] = {
    "schemaVersion": "2.2",
    "parameters": {
        "commands": {"type": "StringList"},
        "workingDirectory": {"type": "String", "default": ""},
        "executionTimeout": {"type": "String", "default": "3600", "allowedPattern": r"[1-9][0-9]{0,5}"},
    },
    "mainSteps": [
        {
            "action": "aws:runShellScript",
            "name": "runShellScript",
            "inputs": {
                "runCommand": "{{ commands }}",
                "workingDirectory": "{{ workingDirectory }}",
                "timeoutSeconds": "{{ executionTimeout }}",
            },
        }
    ],
}


@dataclass(frozen=True)
class Step:
    """One process to run on the machine."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    directory: str
    timeout: float


def invalid(message: str) -> AwsError:
    """SSM's error for parameters that a document does not take."""
    return AwsError("InvalidParameters", message)


def load(text: str) -> dict[str, Any]:
    """A document's content, JSON or YAML. Raises InvalidDocumentContent."""
    try:
        found = json.loads(text) if text.lstrip().startswith("{") else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise AwsError("InvalidDocumentContent", f"The content is not valid: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("mainSteps"), list):
        raise AwsError("InvalidDocumentContent", "A Command document has a schemaVersion and mainSteps")
    if str(found.get("schemaVersion")) not in ("2.0", "2.2"):
        raise AwsError(
            "InvalidDocumentContent", f"The local cloud runs schemaVersion 2.2, not {found.get('schemaVersion')}"
        )
    return found


def bind(document: Mapping[str, Any], given: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Every parameter's values, defaults filled in. Raises InvalidParameters for all problems at once."""
    declared: Mapping[str, Any] = document.get("parameters", {})
    problems = [f"{name} is not a parameter of this document" for name in sorted(set(given) - set(declared))]
    bound: dict[str, list[str]] = {}
    for name, spec in declared.items():
        if name not in given and "default" not in spec:
            problems.append(f"{name} is required")
            continue
        values = [str(value) for value in given[name]] if name in given else _listed(spec["default"])
        bound[name] = values
        if name in given:
            problems += _problems(name, spec, values)
    if problems:
        raise invalid("; ".join(problems))
    return bound


def _listed(default: Any) -> list[str]:
    return [str(item) for item in default] if isinstance(default, list) else [str(default)]


def _problems(name: str, spec: Mapping[str, Any], values: list[str]) -> list[str]:
    kind = spec.get("type", "String")
    if kind not in ("String", "StringList", "Boolean", "Integer"):
        return [f"{name}: the local cloud does not model parameters of type {kind}"]
    if kind != "StringList" and len(values) != 1:
        return [f"{name} takes one value, not {len(values)}"]
    found = []
    for value in values:
        allowed, pattern = spec.get("allowedValues"), spec.get("allowedPattern")
        if allowed is not None and value not in map(str, allowed):
            found.append(f"{name} is {value!r}, allowed: {', '.join(map(str, allowed))}")
        if pattern is not None and not re.fullmatch(pattern, value):
            found.append(f"{name} is {value!r}, which does not match {pattern}")
        low, high = spec.get("minChars", 0), spec.get("maxChars")
        if len(value) < low or (high is not None and len(value) > high):
            found.append(f"{name} has {len(value)} characters, allowed: {low} to {high or 'any'}")
    low, high = spec.get("minItems", 0), spec.get("maxItems")
    if len(values) < low or (high is not None and len(values) > high):
        found.append(f"{name} has {len(values)} items, allowed: {low} to {high or 'any'}")
    return found


def steps(document: Mapping[str, Any], bound: Mapping[str, list[str]]) -> list[Step]:
    """What a document runs with these values. Raises NotImplemented for steps other than aws:runShellScript."""
    by_environment = {
        name for name, spec in document.get("parameters", {}).items() if spec.get("interpolationType") == "ENV_VAR"
    }
    env = {f"SSM_{name}": ",".join(bound[name]) for name in by_environment}
    found = []
    for step in document["mainSteps"]:
        if step.get("action") != "aws:runShellScript":
            raise AwsError("NotImplemented", f"the local cloud does not run {step.get('action')} steps", status=501)
        inputs = step.get("inputs", {})
        lines = _lines(inputs.get("runCommand", []), bound, by_environment)
        timeout = float(_text(str(inputs.get("timeoutSeconds", DEFAULT_TIMEOUT)), bound, by_environment))
        found.append(
            Step(
                name=str(step.get("name", "runShellScript")),
                argv=(*_interpreter(lines), "-c", "\n".join(lines)),
                env=env,
                directory=_text(str(inputs.get("workingDirectory", "")), bound, by_environment),
                timeout=min(timeout, MAX_TIMEOUT),
            )
        )
    return found


def _lines(command: Any, bound: Mapping[str, list[str]], by_environment: set[str]) -> list[str]:
    lines: list[str] = []
    for item in [command] if isinstance(command, str) else list(command):
        whole = _PLACE.fullmatch(item.strip())
        if whole and whole[1] in bound and whole[1] not in by_environment:
            lines += bound[whole[1]]  # a list parameter standing alone becomes lines
        else:
            lines.append(_text(item, bound, by_environment))
    return lines


def _text(text: str, bound: Mapping[str, list[str]], by_environment: set[str]) -> str:
    def replace(match: re.Match[str]) -> str:
        name = match[1]
        if name in by_environment:
            raise AwsError(
                "NotImplemented",
                f"{{{{ {name} }}}} in a script although it is passed as SSM_{name}: not modelled",
                status=501,
            )
        if name not in bound:
            raise AwsError("InvalidDocumentContent", f"the document refers to {name}, which is no parameter of it")
        return ",".join(bound[name])

    return _PLACE.sub(replace, text)


def _interpreter(lines: list[str]) -> tuple[str, ...]:
    if not lines or not lines[0].startswith("#!"):
        return ("/bin/sh",)
    words = tuple(lines[0][2:].split())
    if words[:1] == ("/usr/bin/env",) and len(words) > 1:
        return (f"/usr/bin/{words[1]}", *words[2:])
    if words[0] not in _INTERPRETERS:
        raise AwsError("NotImplemented", f"the local cloud does not run scripts of {words[0]}", status=501)
    return words
