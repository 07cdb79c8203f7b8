from __future__ import annotations

import json

import pytest

from infra.config.reference import pages
from infra.config.rules import RULES
from tests.unit.infra.conftest import ROOT


@pytest.mark.parametrize("name", list(pages()))
def test_the_pages_are_up_to_date(name: str) -> None:
    written = (ROOT / name).read_text(encoding="utf-8")
    assert written == pages()[name], "run `python -m infra.config.reference`"


def test_every_key_and_every_rule_is_explained() -> None:
    schema = json.loads(pages()["docs/cluster-file.schema.json"])
    page = pages()["docs/cluster-file.md"]
    for section in (schema, *schema["$defs"].values()):
        for key, field in section["properties"].items():
            assert f"| `{key}` |" in page
            assert field.get("description"), key
    assert all(f"| `{rule.id}` |" in pages()["docs/rules.md"] for rule in RULES)


def test_the_schema_closes_every_mapping() -> None:
    schema = json.loads(pages()["docs/cluster-file.schema.json"])
    assert all(section["additionalProperties"] is False for section in (schema, *schema["$defs"].values()))
