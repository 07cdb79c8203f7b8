"""Profiling and heartbeats of a live job."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.training.conftest import ROOT, Launch, pretrain_arguments
from training import profile
from training.errors import SettingsError, TrainingError
from training.heartbeat import Heartbeat
from training.profiling import REQUEST, Request, ask, whole_trace

LONG = {"steps": 10**9, "checkpoint_every": 0, "log_every": 10**9}


def ask_for(checkpoints: Path, output: Path, *, job: subprocess.Popen[str], steps: int = 3) -> list[str]:
    """What a user would call, as a process of its own; the files that it lists."""
    command = [sys.executable, "-m", "training.profile", "--steps", str(steps), "--wait", "60"]
    command += ["--checkpoints", str(checkpoints), "--output", str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    if done.returncode:
        job.kill()
        pytest.fail(done.stderr + job.communicate()[0][-3000:])
    return done.stdout.splitlines()


@pytest.fixture
def job(launch: Launch, corpus_folder: Path, tokenizer_folder: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Two ranks that train for long and say little: nobody reads their output until the end."""
    arguments = pretrain_arguments(*(corpus_folder, tokenizer_folder, tmp_path), **LONG, heartbeat=tmp_path / "beats")
    started = launch(2, arguments)
    assert started.stdout is not None
    for line in started.stdout:
        if line.startswith("step 1/"):
            break
    yield started
    started.kill()
    started.communicate()


def test_a_live_job_is_profiled_again_and_again_and_beats(job: subprocess.Popen[str], tmp_path: Path) -> None:
    checkpoints = tmp_path / "model.checkpoints"
    # MXNet writes its JSON in another way the second time, and died of being configured again, not every time
    for count in (1, 2, 3, 4):
        found = [Path(line) for line in ask_for(checkpoints, tmp_path / "profiles", job=job)]
        assert [path.name for path in found] == ["profile.json", "rank-00000.json", "rank-00001.json", "timeline.json"]
        assert not (checkpoints / REQUEST).exists()
        assert len(list((tmp_path / "profiles").iterdir())) == count
        summary = json.loads(found[0].read_text())
        assert summary["last"] - summary["first"] == 2
        assert found[0].parent.name == f"profile-step-{summary['first']:09d}"
        operators = {event["name"] for event in json.loads(found[1].read_text())["traceEvents"]}
        assert any("cross_entropy" in name or "softmax" in name for name in operators)
        reductions = {event.get("name") for event in json.loads(found[3].read_text())}
        assert "GLOO_ALLREDUCE" in reductions
    (tmp_path / "no-folder").write_text("")
    ask(checkpoints, Request(1, str(tmp_path / "no-folder")))  # can't be written: told, and the job goes on
    while (checkpoints / REQUEST).exists():
        time.sleep(0.05)
    ask_for(checkpoints, tmp_path / "profiles", job=job)
    beats = [json.loads((tmp_path / "beats" / f"rank-{rank:05d}.json").read_text()) for rank in range(2)]
    assert all(beat["state"] == "running" and beat["step"] > 2 for beat in beats)
    job.terminate()
    rest = job.communicate(timeout=90)[0]
    assert job.returncode == 75, rest
    beats = [json.loads((tmp_path / "beats" / f"rank-{rank:05d}.json").read_text()) for rank in range(2)]
    assert [beat["state"] for beat in beats] == ["ended", "ended"]
    assert f"after step {beats[0]['step']};" in rest
    assert f"no profile of rank 1 in {tmp_path / 'no-folder'}" in rest
    assert not list(tmp_path.rglob(".tmp-*"))


def test_a_request_nobody_takes_is_taken_back(tmp_path: Path) -> None:
    arguments = ["--checkpoints", str(tmp_path), "--output", str(tmp_path / "out"), "--wait", "0.5"]
    with pytest.raises(TrainingError, match="no run took the request"):
        profile.main(arguments)
    assert not (tmp_path / REQUEST).exists()


def test_wrong_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="must be 1 to 1000"):
        Request(0, "/x")
    with pytest.raises(SettingsError, match="must be absolute"):
        Request(1, "x")
    with pytest.raises(SettingsError, match="is not there"):
        ask(tmp_path / "nowhere", Request(1, "/x"))


def test_a_trace_without_its_beginning_gets_one() -> None:
    assert json.loads(whole_trace(',\n\n {"a": 1} ], "displayTimeUnit": "ms"}'))["traceEvents"] == [{"a": 1}]
    assert whole_trace('{"traceEvents": []}') == '{"traceEvents": []}'


def test_a_beat_a_second_is_enough(tmp_path: Path) -> None:
    now = [100.0]
    heartbeat = Heartbeat(tmp_path, rank=3, clock=lambda: now[0])

    def step() -> tuple[int, float, str]:
        values = json.loads((tmp_path / "rank-00003.json").read_text())
        return values["step"], values["time"], values["state"]

    heartbeat.beat(1)
    assert step() == (1, 100.0, "running")
    now[0] += 0.9
    heartbeat.beat(2)
    assert step() == (1, 100.0, "running")
    now[0] += 0.1
    heartbeat.beat(3)
    assert step() == (3, 101.0, "running")
    heartbeat.beat(4, ended=True)
    assert step() == (4, 101.0, "ended")
    assert [path.name for path in tmp_path.iterdir()] == ["rank-00003.json"]
    Heartbeat(None, rank=0, clock=lambda: 0.0).beat(1)
