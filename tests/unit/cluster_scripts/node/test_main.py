"""`dure-node VERB` as it is really called: its own Python, nothing but what a machine has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster_scripts.jobs.errors import StepFailed
from cluster_scripts.node import __main__ as program
from cluster_scripts.node import verbs
from cluster_scripts.node.system import System
from tests.unit.cluster_scripts.made import FACTS

ROOT = Path(__file__).parents[4]


def call(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cluster_scripts.node", *words],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("words", [(), ("dance",)])
def test_usage(words: tuple[str, ...]) -> None:
    done = call(*words)
    assert done.returncode == 2
    assert "usage: dure-node {boot,serve," in done.stderr


def test_a_machine_that_has_not_booted_says_so() -> None:
    done = call("serve", SSM_Verb="jobs")
    assert done.returncode == 1
    assert "has this machine booted?" in done.stderr


def test_hooks_do_not_load_what_they_do_not_need() -> None:
    heavy = ("boto3", "pydantic", "yaml")
    code = f"import sys, cluster_scripts.node.__main__; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_verb_is_in_the_help() -> None:
    for verb in program.VERBS:
        assert verb in (program.__doc__ or "")


def test_facts_come_from_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "facts.json"
    file.write_text(FACTS.to_json(), encoding="utf-8")
    monkeypatch.setattr(verbs, "FACTS_FILE", str(file))
    monkeypatch.setattr(verbs, "IDENTITY_FILE", str(tmp_path / "identity.json"))
    (tmp_path / "identity.json").write_text(json.dumps({"queue": "gpu"}), encoding="utf-8")
    assert verbs._facts(System()) == FACTS
    assert verbs._queue(System()) == "gpu"
    file.write_text("{}", encoding="utf-8")
    with pytest.raises(StepFailed, match="can't be used"):
        verbs._facts(System())


def test_a_list_of_nodes_is_needed() -> None:
    assert verbs._nodes(["gpu-[1-2]"]) == ("gpu-1", "gpu-2")
    for arguments in ([], ["gpu-["]):
        with pytest.raises(StepFailed, match="a list of nodes"):
            verbs._nodes(arguments)


def test_slurm_says_which_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert verbs._job() == "7"
    monkeypatch.setenv("SLURM_JOB_ID", "../7")
    with pytest.raises(StepFailed, match="Slurm calls this"):
        verbs._job()
