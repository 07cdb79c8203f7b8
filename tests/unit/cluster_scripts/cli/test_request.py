"""From the words of `dure submit` to a specification."""

from __future__ import annotations

import json
from argparse import ArgumentTypeError, Namespace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cluster_scripts.backends.reached import QueueLimits
from cluster_scripts.cli.main import main
from cluster_scripts.cli.request import build, choose_queue, default_name, seconds, split_command, variable
from cluster_scripts.jobs.errors import InvalidArgument, NoSuchQueue, RequestError

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
QUEUES = (QueueLimits(name="gpu", nodes=4, gpus=8), QueueLimits(name="cpu", nodes=2, gpus=0))
CLUSTERS = Path(__file__).parents[4] / "clusters"


@pytest.mark.parametrize(
    ("text", "value"), [("00:00:01", 1), ("12:00:00", 43200), ("2-00:00:00", 172800), ("100:30:00", 361800)]
)
def test_times(text: str, value: int) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["12", "12:00", "1:2:3", "00:60:00", "-1:00:00", "1d", "", "००:००:००"])
def test_times_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="HH:MM:SS"):
        seconds(text)


def test_variables() -> None:
    assert variable("A=b=c") == ("A", "b=c")
    assert variable("A=") == ("A", "")
    for text in ("A", "=x", ""):
        with pytest.raises(ArgumentTypeError):
            variable(text)


def test_a_variable_without_a_value_is_not_quoted_back_with_one() -> None:
    with pytest.raises(ArgumentTypeError) as refused:
        variable("TOKEN")
    assert "TOKEN" in str(refused.value)


def test_everything_after_the_first_double_dash_is_the_jobs() -> None:
    assert split_command(["--nodes", "2", "--", "a", "--", "--nodes", "3"]) == (
        ["--nodes", "2"],
        ["a", "--", "--nodes", "3"],
    )
    assert split_command(["--json"]) == (["--json"], [])


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["python", "-m", "training.pretrain", "--x"], "training.pretrain"),
        (["python3", "src/train.py"], "train.py"),
        (["bash", "-c", "echo hi"], "bash"),
        (["/usr/bin/nvidia-smi"], "nvidia-smi"),
        (["./학습 run.sh"], "run.sh"),
        (["학습"], "job"),
    ],
)
def test_names_are_made_of_the_command(command: list[str], name: str) -> None:
    assert default_name(command) == name


def test_the_only_queue_is_the_default_and_several_must_be_chosen_from() -> None:
    assert choose_queue(None, nodes=1, queues=QUEUES[:1]) == "gpu"
    assert choose_queue("cpu", nodes=2, queues=QUEUES) == "cpu"
    with pytest.raises(InvalidArgument, match="gpu, cpu"):
        choose_queue(None, nodes=1, queues=QUEUES)
    with pytest.raises(NoSuchQueue, match="gpu, cpu"):
        choose_queue("big", nodes=1, queues=QUEUES)
    with pytest.raises(InvalidArgument, match="at most 2"):
        choose_queue("cpu", nodes=3, queues=QUEUES)


def options(**changes: object) -> Namespace:
    return Namespace(
        **{"name": None, "nodes": 1, "tasks_per_node": 1, "env": [], "time": None, "requeue": True} | changes
    )


def test_a_specification_has_everything_that_was_asked() -> None:
    spec = build(
        options(nodes=2, tasks_per_node=8, env=[("A", "1"), ("B", "둘")], time=60, requeue=False),
        ["python", "t.py"],
        queue="gpu",
        code=None,
        caller="arn:aws:iam::1:user/kim",
        now=NOW,
    )
    assert json.loads(spec.to_json()) == {
        "version": 1,
        "name": "t.py",
        "queue": "gpu",
        "nodes": 2,
        "tasks_per_node": 8,
        "command": ["python", "t.py"],
        "environment": {"A": "1", "B": "둘"},
        "time_limit_seconds": 60,
        "code": None,
        "submitted_by": "arn:aws:iam::1:user/kim",
        "submitted_at": "2026-01-02T03:04:05Z",
        "requeue": False,
    }


def test_every_problem_of_a_request_is_named_at_once() -> None:
    with pytest.raises(RequestError) as refused:
        build(options(name="bad name", env=[("SLURM_X", "1")]), ["a\0b"], queue="gpu", code=None, caller="me", now=NOW)
    assert all(word in str(refused.value) for word in ("name:", "SLURM_X", "zero character"))


def test_a_variable_given_twice_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="twice"):
        build(options(env=[("A", "1"), ("A", "2")]), ["x"], queue="gpu", code=None, caller="me", now=NOW)


@pytest.mark.parametrize("file", ["kogpt2-p3dn.yaml", "local.yaml"])
def test_a_dry_run_needs_a_cluster_file_only(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train.py").write_text("1")
    monkeypatch.chdir(tmp_path)
    words = ["submit", "--dry-run", "--cluster-file", str(CLUSTERS / file), "--nodes", "4", "--tasks-per-node", "8"]
    assert main([*words, "--json", "--", "python", "train.py"]) == 0
    spec = json.loads(capsys.readouterr().out)["spec"]
    assert (spec["queue"], spec["nodes"], spec["tasks_per_node"]) == ("gpu", 4, 8)
    assert main([*words, "--", "python", "train.py"]) == 0
    assert "32 GPUs" in capsys.readouterr().out


def test_a_dry_run_against_a_wrong_file_lists_its_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text("name: 3\n")
    words = ["submit", "--dry-run", "--no-code", "--cluster-file", str(tmp_path / "c.yaml"), "--", "x"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "c.yaml:1: name" in error
    assert "c.yaml:1: queues" in error


def test_a_submission_without_a_command_says_how(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["submit", "python", "train.py"])
    assert end.value.code == 2
    assert "comes after --" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["submit", "--nodes", "2"])
    assert "comes after --" in capsys.readouterr().err
