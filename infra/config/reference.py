"""Writes the reference pages from the schema and the rules, so that they can't be out of date.

    python -m infra.config.reference        writes docs/cluster-file.md, docs/cluster-file.schema.json, docs/rules.md

Side effects: those three files, each replaced whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.config.allowed import allowed_at, json_schema
from infra.config.catalog import instance_types, sources
from infra.config.live import LIVE
from infra.config.problems import KeyPath, key_of
from infra.config.rules import RULES

ROOT = Path(__file__).resolve().parents[2]


def pages() -> dict[str, str]:
    """The content of each page by its path within the repository."""
    return {
        "docs/cluster-file.md": _cluster_file(),
        "docs/cluster-file.schema.json": json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n",
        "docs/rules.md": _rules(),
    }


def _cluster_file() -> str:
    lines = [
        "# The cluster file",
        "",
        "One YAML file describes one cluster. `dure check FILE` says everything that is wrong with it at once, without",
        "a network and without credentials; ready files are in [clusters/](../clusters). An editor that knows YAML",
        "schemas completes and checks while you type, with this line at the top of the file:",
        "",
        "```yaml",
        "# yaml-language-server: $schema=../docs/cluster-file.schema.json",
        "```",
        "",
        "This page is made from the schema: `python -m infra.config.reference`. What depends on several keys, or on",
        "what AWS takes, is in [rules.md](rules.md).",
        "",
    ]
    for path, schema in _sections((), json_schema()):
        title = key_of(path).replace("[0]", "[]") or "The file"
        lines += [f"## {f'`{title}`' if path else title}", "", schema.get("description", ""), ""]
        lines += ["| key | allowed | default | what it is |", "| --- | --- | --- | --- |"]
        required = set(schema.get("required", []))
        for key, field in schema["properties"].items():
            default = "needed" if key in required else _default(field)
            lines.append(f"| `{key}` | {_cell(allowed_at((*path, key)))} | {default} | {_cell(_description(field))} |")
        lines.append("")
    lines += _types()
    return "\n".join(lines)


def _sections(path: KeyPath, schema: dict[str, Any]) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    """Every mapping with known keys, outer ones first."""
    yield path, schema
    for key, field in schema["properties"].items():
        target, where = _target(field, (*path, key))
        if target is not None:
            yield from _sections(where, target)


def _target(field: dict[str, Any], path: KeyPath) -> tuple[dict[str, Any] | None, KeyPath]:
    """The mapping that a field holds (or its items are), if it has known keys."""
    if "items" in field:
        return _target(field["items"], (*path, 0))
    if "anyOf" in field:
        return _target(field["anyOf"][0], path)
    if "$ref" in field:
        return json_schema()["$defs"][field["$ref"].rpartition("/")[2]], path
    return None, path


def _description(field: dict[str, Any]) -> str:
    return str(field.get("description", ""))


def _default(field: dict[str, Any]) -> str:
    value = field.get("default")
    if isinstance(value, dict) and value:
        return "see below"
    if value in (None, {}, []):
        return ""
    if isinstance(value, list) and isinstance(value[0], dict):
        return "see below"
    return f"`{json.dumps(value)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _types() -> list[str]:
    lines = [
        "## Instance types",
        "",
        "What the catalog knows. Sources and dates: "
        + "; ".join(f"{part}: {each['what']} ({each['date']})" for part, each in sources().items())
        + ".",
        "",
        "| type | GPUs | vCPUs | GiB | network cards | EFA | sold as | regions |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for known in instance_types().values():
        gpus = f"{known.gpus} x {known.gpu}" if known.gpus else ""
        lines.append(
            f"| {known.name} | {gpus} | {known.vcpus} | {known.memory_mib // 1024} | {len(known.cards)} | "
            f"{known.efa_interfaces or ''} | {', '.join(sorted(known.markets))} | {len(known.zones)} |"
        )
    return [*lines, ""]


def _rules() -> str:
    lines = [
        "# Rules of the cluster file",
        "",
        "`dure check` names the rule in brackets at the end of each line. An error is what AWS or Slurm would refuse;",
        "advice does not stop a deployment. This page is made from the rules: `python -m infra.config.reference`.",
        "",
        "Beside these the schema speaks with `unknown-key`, `missing-key`, `type`, `value` and `not-here` (what other",
        "tools have and this one has not, with what to do instead), and the reader of the file with `file`,",
        "`file-size`, `yaml`, `yaml-bomb`, `yaml-depth`, `yaml-tag`, `yaml-key`, `yaml-value` and `duplicate-key`.",
        "",
        "| rule | | why | source |",
        "| --- | --- | --- | --- |",
    ]
    lines += [f"| `{rule.id}` | {rule.severity} | {_cell(rule.why)} | {_cell(rule.source)} |" for rule in RULES]
    return "\n".join([*lines, "", *_live()])


def _live() -> list[str]:
    lines = [
        "## Questions to AWS",
        "",
        "`dure check --live` asks these, step by step, and makes nothing ([first-deploy.md](first-deploy.md)). A",
        "question that AWS does not let you ask (the permissions are in the table) is shown with `?` and counts for",
        "nothing.",
        "",
        "| question | step | why | permissions | source |",
        "| --- | --- | --- | --- | --- |",
    ]
    for each in LIVE:
        asks = ", ".join(f"`{action}`" for action in each.asks)
        lines.append(f"| `{each.id}` | {each.step} | {_cell(each.why)} | {asks} | {_cell(each.source)} |")
    return [*lines, ""]


def main() -> None:
    """Write the pages."""
    for name, content in pages().items():
        path = ROOT / name
        temporary = path.with_name(f".{path.name}.tmp")
        with temporary.open("w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


if __name__ == "__main__":
    main()
