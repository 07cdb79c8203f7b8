"""`dure cloud env`, and how the local cloud's program is called."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from cluster_scripts.cli import cloud
from cluster_scripts.cli.main import main


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "cloud.json").write_text(json.dumps({"endpoint": "http://127.0.0.1:4566", "pid": 1}))
    return tmp_path


def test_the_exports_can_be_evaluated_by_a_shell(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cloud", "env", "--state", str(state), "--region", "eu-west-1"]) == 0
    script = capsys.readouterr().out + 'echo "$AWS_ENDPOINT_URL $AWS_REGION $AWS_DEFAULT_REGION [$AWS_PROFILE]"'
    environment = {"PATH": "/usr/bin:/bin", "AWS_PROFILE": "production"}
    done = subprocess.run(["sh", "-eu", "-c", script.replace("[$AWS_PROFILE]", "[${AWS_PROFILE-}]")],
                          env=environment, capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout == "http://localhost:4566 eu-west-1 eu-west-1 []\n"


def test_the_exports_as_json(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cloud", "env", "--state", str(state), "--json"]) == 0
    exports = json.loads(capsys.readouterr().out)
    assert exports["AWS_ENDPOINT_URL"] == "http://localhost:4566"
    assert exports["AWS_EC2_METADATA_DISABLED"] == "true"


@pytest.mark.parametrize("content", [None, "", "{}", "[]"])
def test_without_a_running_cloud_it_says_how_to_start_one(
    content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "cloud.json").write_text(content)
    assert main(["cloud", "env", "--state", str(tmp_path)]) == 3
    assert "dure cloud up" in capsys.readouterr().err


def test_the_program_runs_in_its_own_environment(state: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    python = tmp_path / cloud.PYTHON
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nenv | grep -c ^AWS_ > out; echo "$@" >> out; exit 5\n')
    python.chmod(0o755)
    monkeypatch.setattr(cloud, "HOUSE", tmp_path)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:1")
    assert main(["cloud", "up", "--state", str(state), "--port", "0"]) == 5
    expected = f"-m infra.local_cloud up --state {state} --port 0 --detach"
    assert (tmp_path / "out").read_text() == f"0\n{expected}\n"


def test_a_missing_environment_names_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cloud, "HOUSE", tmp_path)
    assert main(["cloud", "status"]) == 2
    assert "tools.setup" in capsys.readouterr().err
