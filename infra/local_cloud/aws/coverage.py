"""The coverage page: every AWS API and CloudFormation type, and who answers it here.

    python -m infra.local_cloud.aws.coverage          write docs/local-cloud-coverage.md

Side effects: writes that file, nothing else. A test fails when the page is not what this makes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from infra.local_cloud.aws.app import PLUGINS, PREPARATIONS
from infra.local_cloud.aws.catalogue import LIMITS, MISSING, STOCK
from infra.local_cloud.aws.cloudformation.planner import INERT
from infra.local_cloud.aws.cloudformation.resources import REGISTRY
from infra.local_cloud.aws.pins import LEANED_ON, MOTO_VERSION, REPLACED

PAGE = Path(__file__).resolve().parents[3] / "docs" / "local-cloud-coverage.md"
_HEAD = f"""# What the local cloud covers

Made by `python -m infra.local_cloud.aws.coverage` from the tables in `infra/local_cloud/aws`; a test fails when it is
out of date. Whatever is not listed is refused at once with status 501 and a message that names it.

- *ours*: answered by a plug-in of ours;
- *moto*: answered by moto {MOTO_VERSION} as it is (*checked*: after a check or a preparation of ours);
- *missing*: the project's plans name it and the local cloud does not have it yet.

Every request, *moto*'s too, is held to botocore's service model first: required and unknown members, types, enums,
patterns, lengths and ranges; S3's in headers, address and XML body, with S3's own rules and error codes. Every request
is written to `aws.jsonl` in the local cloud's folder, with who asked and what came of it.
"""


def operations() -> list[tuple[str, str, str]]:
    """Service, operation and who answers it, in a fixed order."""
    rows = [(plugin.service, name, "ours") for plugin in PLUGINS for name in plugin.handlers]
    taken = {(service, name) for service, name, _ in rows}
    for service, names in STOCK.items():
        for name in names:
            if (service, name) not in taken:
                rows.append((service, name, "moto, checked" if (service, name) in PREPARATIONS else "moto"))
    return sorted(rows)


def render() -> str:
    """The whole page."""
    rows = operations()
    services = sorted({service for service, *_ in rows})
    parts = [_HEAD, "\n## API operations\n", _table(("service", "answered by", "operations"), _grouped(rows))]
    parts += ["\n## Where services differ from AWS\n", _table(("service", "limit"), [(s, LIMITS[s]) for s in services])]
    parts += ["\n## CloudFormation resource types\n", _types()]
    parts += ["\n## Missing\n", _table(("what", "wanted for"), MISSING.items())]
    pinned = [(f"`{name}`", "replaced") for name in REPLACED] + [(f"`{name}`", "leaned on") for name in LEANED_ON]
    parts += ["\n## moto's code that is pinned by its source\n", _table(("code", "how"), pinned)]
    return "".join(parts)


def _grouped(rows: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    groups: dict[tuple[str, str], list[str]] = {}
    for service, name, by in rows:
        groups.setdefault((service, by), []).append(name)
    return [(service, by, ", ".join(names)) for (service, by), names in sorted(groups.items())]


def _types() -> str:
    text = "All by handlers of ours over the API operations above, checked against AWS's provider schemas as cfn-lint\n"
    text += "ships them. A property that is not listed is refused by name.\n\n"
    rows = [
        (f"`{name}`", "in place or replaced" if kind.update else "replaced", ", ".join(sorted(kind.uses)))
        for name, kind in sorted(REGISTRY.types.items())
    ]
    rows += [(f"`{name}`", "", "accepted, does nothing") for name in sorted(INERT)]
    return text + _table(("type", "a change is made", "properties"), rows)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    columns = list(head)
    lines = [f"| {' | '.join(columns)} |", f"| {' | '.join('---' for _ in columns)} |"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def main() -> int:
    """Write the page, whole or not at all."""
    part = PAGE.with_suffix(".part")
    with part.open("w") as out:
        out.write(render())
        out.flush()
        os.fsync(out.fileno())
    part.replace(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
