"""`dure check --live` as a person and as a program sees it: prices first, the step, and what comes next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cluster_scripts.backends.aws import live as asking
from cluster_scripts.backends.aws.asking import fails, passes, unknown
from cluster_scripts.cli import live
from cluster_scripts.cli.check import run
from cluster_scripts.jobs.errors import OtherSide, RequestError

TALK = Path(__file__).resolve().parents[4] / "clusters/kogpt2-p3dn.yaml"
WHO = passes("live-identity", "credentials", "someone")
QUOTA = fails("live-quota", "L-417A185B", "too small", "ask for more")


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """AWS's answers by step; each step is asked for its own."""
    answers: dict[str, Any] = {
        "identity": [WHO],
        "quotas": [unknown("live-vpcs", "networks", "not asked", "allow it")],
        "dry-run": [passes("live-dry-run", "queue gpu", "EC2 would launch it")],
    }
    steps = {name: lambda aws, cluster, name=name: iter(answers[name]) for name in answers}
    monkeypatch.setattr(asking, "STEPS", steps)
    return answers


def test_prices_come_first_then_answers_then_what_is_next(
    aws: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([str(TALK), "--live"]) == 0
    out = capsys.readouterr().out
    parts = [
        "6. all       the file itself, a job on all nodes of each queue; it stays (251.03 USD for each hour",
        "  ok credentials: someone [live-identity]",
        "  ?  networks: not asked [live-vpcs]\n     allow it",
        "stands on: dry-run, the highest step that costs nothing; 1 question could not be answered. Next:",
        f"  dure check {TALK} --live --step cpu    0.79 USD for each hour that it stands",
    ]
    places = [out.index(part) for part in parts]
    assert places == sorted(places)


def test_a_refusal_ends_the_asking_and_the_exit_code_is_3(
    aws: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    aws["quotas"] = [QUOTA]
    assert run([str(TALK), "--live"]) == 3
    out, err = capsys.readouterr()
    assert "  NO L-417A185B: too small [live-quota]\n     ask for more" in out
    assert "dry-run:\n" not in out
    assert "stands on: identity; step quotas fails, and nothing further was asked" in err
    aws["identity"] = [QUOTA]
    run([str(TALK), "--live"])
    assert "stands on: nothing yet; step identity fails" in capsys.readouterr().err


def test_json_holds_ladder_and_answers(aws: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    aws["dry-run"] = [fails("live-dry-run", "queue gpu", "no")]
    assert run([str(TALK), "--live", "--json"]) == 3
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is True
    assert answer["stands_on"] == "quotas"
    assert [(each["step"], each["verdict"]) for each in answer["live"]] == [
        ("identity", "passes"),
        ("quotas", "unknown"),
        ("dry-run", "fails"),
    ]
    assert answer["ladder"][3] == {
        "name": "cpu",
        "what": "one cheap CPU node end to end: deployed, a job, taken away",
        "usd_an_hour": pytest.approx(0.79, abs=0.01),
    }


def test_a_paid_step_is_not_begun_while_a_free_one_fails(aws: dict[str, Any], tmp_path: Path) -> None:
    aws["quotas"] = [QUOTA]
    with pytest.raises(OtherSide, match="nothing was deployed"):
        run([str(TALK), "--live", "--step", "cpu", "--yes"])


def test_a_paid_step_asks_first(
    aws: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin.readline", lambda: "no\n", raising=False)
    with pytest.raises(RequestError, match="not confirmed: nothing was deployed"):
        run([str(TALK), "--live", "--step", "cpu"])
    assert "  dure up .dure/ladder/kogpt2-cpu.yaml\n" in capsys.readouterr().out


def test_a_step_that_the_file_has_not_is_refused(aws: dict[str, Any]) -> None:
    from infra.config.loader import load_cluster

    cluster = load_cluster(TALK)
    queue = cluster.queues[0].model_copy(update={"instance_type": "c5.2xlarge", "efa": False})
    with pytest.raises(RequestError, match="no queue of it has GPUs"):
        live.run_step(cluster.model_copy(update={"queues": (queue,)}), TALK, "gpu", yes=True)


@pytest.mark.parametrize("words", [["--step", "cpu"], ["--live", "--yes"], ["--live", "--json", "--step", "cpu"]])
def test_options_that_do_not_fit_are_usage_errors(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run([str(TALK), *words])
    assert ended.value.code == 2


def test_a_wrong_file_is_not_asked_about(tmp_path: Path, aws: dict[str, Any]) -> None:
    aws.clear()
    wrong = tmp_path / "c.yaml"
    wrong.write_text(TALK.read_text().replace("max: 8", "max: x"))
    assert run([str(wrong), "--live"]) == 2
