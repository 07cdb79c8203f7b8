"""What Slurm calls around a job."""

from __future__ import annotations

import os
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from cluster_scripts.jobs.errors import StepFailed
from cluster_scripts.node import hooks
from cluster_scripts.node.slurm import Slurm
from cluster_scripts.node.system import Result
from tests.unit.cluster_scripts.made import FACTS, Machine


def machine(tmp_path: Path, *outputs: str) -> Machine:
    left = list(outputs)
    made = Machine(tmp_path)
    made.answers["sinfo"] = lambda _: Result(0, left.pop(0) if len(left) > 1 else left[0], "")
    return made


UP = "gpu-1 alloc# gpu-1\ngpu-2 alloc# gpu-2\n"
HALF = "gpu-1 alloc 10.0.0.1\ngpu-2 alloc# gpu-2\n"
READY = "gpu-1 alloc 10.0.0.1\ngpu-2 alloc 10.0.0.2\n"


def test_waits_until_every_node_answers(tmp_path: Path) -> None:
    made = machine(tmp_path, UP, UP, HALF, READY)
    assert hooks.wait_for_nodes(made.system, "gpu-[1-2]", seconds=60)
    assert len(made.time.slept) == 3
    assert made.ran("sinfo")[0] == "sinfo --noheader --Node --nodes=gpu-[1-2] --format=%N %t %o"


def test_a_node_that_is_down_will_not_come(tmp_path: Path) -> None:
    made = machine(tmp_path, UP, "gpu-1 alloc# gpu-1\ngpu-2 down# gpu-2\n")
    assert not hooks.wait_for_nodes(made.system, "gpu-[1-2]", seconds=60)
    assert len(made.time.slept) == 1


def test_waiting_ends(tmp_path: Path) -> None:
    made = machine(tmp_path, UP)
    assert not hooks.wait_for_nodes(made.system, "gpu-[1-2]", seconds=2)
    assert sum(made.time.slept) == pytest.approx(2, abs=hooks.PAUSE)


def test_a_controller_that_is_busy_is_asked_again(tmp_path: Path) -> None:
    results = iter([Result(1, "", "slurm_load_partitions: Socket timed out"), Result(0, "", ""), Result(0, READY, "")])
    made = Machine(tmp_path, answers={"sinfo": lambda _: next(results)})
    assert hooks.wait_for_nodes(made.system, "gpu-[1-2]", seconds=60)


@pytest.fixture
def node(tmp_path: Path) -> Machine:
    """A sound node with eight GPUs."""
    for name in ("fsx", "tmp", "var/log", "dev", "run"):
        (tmp_path / name).mkdir(parents=True)
    for number in range(8):
        (tmp_path / f"dev/nvidia{number}").touch()
    return Machine(tmp_path)


def check(node: Machine, gpus: int | None = 8) -> None:
    hooks.prolog(node.system, FACTS, job="7", queue="gpu", gpus=lambda: gpus)


@pytest.mark.parametrize("gpus", [8, None])
def test_a_sound_node_passes_and_notes_the_job(node: Machine, gpus: int | None) -> None:
    check(node, gpus)
    assert (node.root / "run/dure/jobs/7").exists()


def test_faults_of_a_node_are_named(node: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StepFailed, match="NVML sees 7 GPUs, this instance type has 8"):
        check(node, 7)
    (node.root / "dev/nvidia3").unlink()
    with pytest.raises(StepFailed, match="7 of 8 GPU devices"):
        check(node)
    monkeypatch.setattr(hooks, "LEAST_FREE", 1 << 60)
    with pytest.raises(StepFailed, match=r"/fsx has [0-9]+ MiB left"):
        check(node)
    node.answers["mountpoint"] = Result(32, "", "")
    with pytest.raises(StepFailed, match="/fsx is not mounted"):
        check(node)
    assert not (node.root / "run/dure/jobs/7").exists()


def test_a_refused_node_says_why(tmp_path: Path) -> None:
    made = Machine(tmp_path)
    hooks.refuse_node(Slurm(made.system), "gpu-1", StepFailed("7 of 8 GPU devices\nare in /dev"))
    assert made.calls == [
        ["scontrol", "update", "NodeName=gpu-1", "state=DRAIN", "reason=dure: 7 of 8 GPU devices are in /dev"]
    ]
    made.answers["scontrol"] = Result(1, "", "slurm_update error: Access denied")
    hooks.refuse_node(Slurm(made.system), "gpu-1", StepFailed("x"))


def test_epilog_ends_what_is_left_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = subprocess.Popen(["sleep", "60"])
    try:
        for folder in ("proc", "dev/shm", "tmp/job", "scratch/data", "run/dure/jobs"):
            (tmp_path / folder).mkdir(parents=True)
        (tmp_path / "proc" / str(ours.pid)).mkdir()
        (tmp_path / "proc/self").mkdir()
        (tmp_path / "dev/shm/nccl-1").touch()
        (tmp_path / "tmp/job/file").touch()
        (tmp_path / "kept").mkdir()
        (tmp_path / "tmp/link").symlink_to(tmp_path / "kept")
        (tmp_path / "run/dure/jobs/7").touch()
        monkeypatch.setattr(hooks, "JOB_UID", os.getuid())
        assert hooks.epilog(Machine(tmp_path).system, job="7") == 1
        assert ours.wait(timeout=10) == -9
        assert [left for name in ("dev/shm", "tmp", "scratch") for left in (tmp_path / name).iterdir()] == []
        assert (tmp_path / "kept").is_dir()
        assert not (tmp_path / "run/dure/jobs/7").exists()
    finally:
        ours.kill()
        ours.wait()


def test_epilog_leaves_other_users_alone(tmp_path: Path) -> None:
    (tmp_path / "proc/1").mkdir(parents=True)
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp/root").touch()
    assert hooks.epilog(Machine(tmp_path).system, job="7") == 0
    assert (tmp_path / "tmp/root").exists()
    assert stat.S_ISREG((tmp_path / "tmp/root").stat().st_mode)


ENVIRONMENT = {"SLURM_JOB_NODELIST": "gpu-[1-2]"}


def lost(made: Machine, *dead: str) -> list[str]:
    return hooks.lost_nodes(made.system, ENVIRONMENT, reach=lambda address, port: address not in dead)


def test_nodes_that_answer_are_not_lost(tmp_path: Path) -> None:
    made = machine(tmp_path, READY)
    assert lost(made) == []
    assert made.time.slept == []


def test_a_node_that_does_not_answer_is_lost_after_some_tries(tmp_path: Path) -> None:
    made = machine(tmp_path, READY)
    assert lost(made, "10.0.0.2") == ["gpu-2"]
    assert made.time.slept == [1, 1]


def test_a_node_that_slurm_has_given_up_is_lost(tmp_path: Path) -> None:
    assert lost(machine(tmp_path, "gpu-1 alloc 10.0.0.1\ngpu-2 down* 10.0.0.2\n")) == ["gpu-2"]


def test_when_nothing_can_be_found_out_the_job_has_failed(tmp_path: Path) -> None:
    made = Machine(tmp_path, answers={"sinfo": Result(1, "", "Unable to contact slurm controller")})
    assert lost(made, "10.0.0.1") == []


def test_a_node_that_answers_late_is_not_lost(tmp_path: Path) -> None:
    made, asked, guard = machine(tmp_path, READY), [], threading.Lock()

    def reach(address: str, port: int) -> bool:
        with guard:
            asked.append(address)
            return asked.count(address) > 1

    assert hooks.lost_nodes(made.system, ENVIRONMENT, reach=reach) == []
    assert made.time.slept == [1]
