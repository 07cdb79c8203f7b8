"""docs/cli.md says all that --help says: every command and every option."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cluster_scripts.cli.main import COMMANDS, main

DOC = (Path(__file__).parents[4] / "docs" / "cli.md").read_text()


@pytest.mark.parametrize("name", [name for name, _, _ in COMMANDS])
def test_every_command_and_option_is_documented(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"`dure {name}`" in DOC
    with pytest.raises(SystemExit):
        main([name, "--help"])
    options = set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", capsys.readouterr().out, re.MULTILINE)) - {"--help"}
    assert {option for option in options if option not in DOC} == set()


def test_every_link_leads_to_a_heading() -> None:
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in DOC.splitlines()
        if line.startswith("#")
    }
    assert set(re.findall(r"\(#([a-z-]+)\)", DOC)) <= headings


def test_no_command_is_documented_that_does_not_exist() -> None:
    named = set(re.findall(r"`dure ([a-z]+)`", DOC))
    assert named == {name for name, _, _ in COMMANDS}
