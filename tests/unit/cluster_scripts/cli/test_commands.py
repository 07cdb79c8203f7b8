"""The commands over a cluster in memory: what they print, as text and as JSON, and what they exit with."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from cluster_scripts.cli.main import main
from cluster_scripts.cli.table import cell_width
from tests.unit.cluster_scripts.cli.fakes import END, START, FakeCluster, a_job, a_node, lines

MODULES = ("jobs", "show", "logs", "cancel", "nodes", "submit")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    fake = FakeCluster()
    fake.known = {
        "12": a_job(),
        "14": a_job("14", state="failed", exit_code=3, reason="NonZeroExitCode", ended_at=START),
        "15": a_job("15", state="pending", reason="Resources", started_at=None, nodes=()),
    }
    fake.there = [a_node(), a_node("gpu-2", state="powered_down", instance_id="", reason="용량이 없습니다", job_ids=())]
    fake.output = lines("첫 줄", "last words")
    fake.clock.seconds = 3600.0
    for name in MODULES:
        module = importlib.import_module(f"cluster_scripts.cli.{name}")
        monkeypatch.setattr(module, "open_cluster", lambda target: fake)
    monkeypatch.setenv("COLUMNS", "200")
    return fake


def test_jobs_are_listed(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["ID", "NAME", "STATE", "EXIT", "QUEUE", "NODES", "RAN", "SUBMITTED", "BY", "REASON"]
    assert [row.split()[:3] for row in rows] == [
        ["12", "pretrain", "running"],
        ["14", "pretrain", "failed"],
        ["15", "pretrain", "pending"],
    ]
    assert rows[1].endswith("kim  NonZeroExitCode")


@pytest.mark.parametrize("width", [40, 80, 200])
def test_listings_fit_the_terminal(
    width: int, cluster: FakeCluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["jobs"]) == main(["nodes"]) == 0
    assert all(cell_width(line) <= width for line in capsys.readouterr().out.splitlines())


def test_jobs_can_be_filtered(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "--active", "--json"]) == 0
    assert [job["id"] for job in json.loads(capsys.readouterr().out)] == ["12", "15"]
    assert main(["jobs", "--state", "failed", "--json"]) == 0
    assert [job["id"] for job in json.loads(capsys.readouterr().out)] == ["14"]


def test_no_jobs_is_said_beside_the_answer(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.known = {}
    assert main(["jobs"]) == 0
    assert capsys.readouterr() == ("", "no jobs\n")
    assert main(["jobs", "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"


def test_nodes_are_listed(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nodes"]) == 0
    out = capsys.readouterr().out
    assert "i-0123456789abcdef0" in out
    assert "powered down" in out
    assert "용량이 없습니다" in out
    assert main(["nodes", "--up", "--json"]) == 0
    assert [node["name"] for node in json.loads(capsys.readouterr().out)] == ["gpu-1"]


def test_a_failed_job_shows_its_exit_code_reason_and_last_lines(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "14"]) == 0
    out = capsys.readouterr().out
    assert [line.split(None, 1) for line in out.splitlines()[:4]] == [
        ["job", "14"],
        ["name", "pretrain"],
        ["state", "failed"],
        ["reason", "NonZeroExitCode"],
    ]
    assert "exit code     3" in out
    assert out.endswith("  첫 줄\n  last words\n")
    assert main(["show", "14", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["last_lines"] == ["첫 줄", "last words"]


def test_a_running_job_shows_no_last_lines(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "12"]) == 0
    assert "last words" not in capsys.readouterr().out


def test_an_unknown_job_is_a_wrong_request(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "99"]) == 2
    assert capsys.readouterr().err == "dure: no job 99\n"


def test_jobs_are_cancelled_each_once_and_unknown_ones_named(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cancel", "12", "12", "99", "15", "14"]) == 2
    assert cluster.calls == ["cancel 12", "cancel 99", "cancel 15"]
    out, err = capsys.readouterr()
    assert out == "cancelled job 12\ncancelled job 15\n"
    assert "no job 99" in err
    assert "nothing to cancel: job 14 failed" in err


def test_logs_of_a_failed_job_end_with_one(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.output.append((0.0, END))
    for words in (["logs", "14"], ["logs", "-f", "14"]):
        assert main(words) == 1
        out, err = capsys.readouterr()
        assert out == "첫 줄\nlast words\n"
        assert err == "job 14 failed: exit code 3, reason: NonZeroExitCode\n"


def test_logs_so_far_of_a_running_job(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", "12"]) == 0
    out, err = capsys.readouterr()
    assert out == "첫 줄\nlast words\n"
    assert "dure logs -f 12" in err


def test_logs_as_json_lines(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", "12", "--json"]) == 0
    assert [json.loads(line)["message"] for line in capsys.readouterr().out.splitlines()] == ["첫 줄", "last words"]


def test_logs_of_a_job_that_is_forgotten_are_still_there(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["logs", "8"]) == 0
    out, err = capsys.readouterr()
    assert out == "첫 줄\nlast words\n"
    assert "no longer knows" in err
    cluster.output = []
    assert main(["logs", "8"]) == 2


def test_a_submission_prints_the_id_alone(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "train.py").write_text("1")
    assert main(["submit", "--folder", str(tmp_path), "--nodes", "2", "--env", "A=1", "--", "python", "train.py"]) == 0
    out, err = capsys.readouterr()
    assert out == "13\n"
    assert "packed 1 file," in err
    ((spec, code),) = cluster.submitted
    assert (spec.command, spec.nodes, spec.submitted_by) == (("python", "train.py"), 2, "arn:aws:iam::1:user/kim")
    assert spec.code is not None
    assert code is not None


def test_a_submission_that_waits_ends_as_the_job_does(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.output.append((0.0, END))
    assert main(["submit", "--no-code", "--wait", "--", "hostname"]) == 0
    assert capsys.readouterr().out == "13\n첫 줄\nlast words\n"
    cluster.ends = (0.0, a_job("13", state="timeout", signal=15))
    assert main(["submit", "--no-code", "--wait", "--", "hostname"]) == 1
    assert "job 13 ran out of its time: ended by signal 15" in capsys.readouterr().err


def test_values_of_variables_are_never_shown(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["submit", "--no-code", "--json", "--env", "TOKEN=geheim", "--env", "SLURM_X=geheim"]
    assert main([*words, "--", "hostname"]) == 2
    assert main([*words[:-2], "--", "hostname"]) == 0
    assert main([*words[:-2], "--dry-run", "--", "hostname"]) == 0
    out, err = capsys.readouterr()
    assert "TOKEN" in out
    assert "geheim" not in out + err
    assert cluster.submitted[0][0].environment == {"TOKEN": "geheim"}


def test_a_dry_run_changes_nothing(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", "--no-code", "--dry-run", "--", "hostname"]) == 0
    assert "nothing was sent" in capsys.readouterr().out
    assert cluster.submitted == []


def test_too_many_nodes_are_refused_before_anything_is_packed(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", "--nodes", "5", "--", "hostname"]) == 2
    assert "at most 4" in capsys.readouterr().err
    assert cluster.submitted == []
