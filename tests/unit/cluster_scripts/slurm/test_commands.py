"""sbatch's words and the batch script: nothing of a user reaches a shell unquoted. The scripts are run by a real
bash."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster_scripts.jobs.spec import CodeRef, JobSpec
from cluster_scripts.slurm import commands
from tests.unit.cluster_scripts.jobs.test_spec import SPEC

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
HOSTILE = [
    "it's",
    'say "hi"',
    "two\nlines",
    "dos\r\nline",
    "$(touch hacked)",
    "`touch hacked`",
    "; touch hacked",
    "| touch hacked",
    "a b",
    "",
    "*",
    "~",
    "$HOME",
    "\\",
    "\\'",
    "!!",
    "-rf",
    "#SBATCH --wrap=id",
    "\n#SBATCH --uid=0\n",
    "한국어 말뭉치",
    "\x1b[31m",
    "\t",
]


@pytest.fixture
def machine(tmp_path: Path) -> commands.Layout:
    """A machine on which srun just runs the command, with folders that we may write."""
    programs = tmp_path / "bin"
    programs.mkdir()
    fake = programs / "srun"
    fake.write_text('#!/bin/bash\n[ "$1" = --kill-on-bad-exit=1 ] && [ "$2" = -- ] && shift 2 && "$@"\n')
    fake.chmod(0o755)
    return commands.Layout(metrics_dir=f"{tmp_path}/metrics", home=str(tmp_path), path="/usr/bin:/bin", lost=())


def run(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{folder}/bin:/usr/bin:/bin"
    return subprocess.run(
        ["bash", "-s"],
        input=script,
        cwd=folder,
        env={"PATH": path, "SLURM_JOB_ID": "7", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def job(*command: str, **changes: object) -> JobSpec:
    return replace(SPEC, command=command, **{"environment": {}, "code": None, **changes})  # type: ignore[arg-type]


def test_sbatch_gets_every_wish() -> None:
    assert commands.submit(SPEC, gpus=8) == [
        "sbatch",
        "--parsable",
        "--job-name=pretrain",
        "--partition=gpu",
        "--nodes=2",
        "--ntasks-per-node=8",
        "--exclusive",
        "--requeue",
        "--open-mode=append",
        "--output=/fsx/.dure/logs/%j.log",
        f"--chdir=/fsx/.dure/code/{'ab' * 32}",
        "--comment=arn:aws:sts::123456789012:assumed-role/scientist/kim",
        "--gres=gpu:8",
        "--time=60",
    ]


def test_sbatch_without_gpus_limit_code_and_requeue() -> None:
    argv = commands.submit(replace(SPEC, code=None, time_limit_seconds=None, requeue=False), gpus=0)
    assert "--chdir=/fsx" in argv
    assert "--no-requeue" in argv
    assert not [word for word in argv if word.startswith(("--gres", "--time"))]


@pytest.mark.parametrize(("seconds", "minutes"), [(1, 1), (60, 1), (61, 2), (3600, 60)])
def test_time_limit_is_rounded_up(seconds: int, minutes: int) -> None:
    assert f"--time={minutes}" in commands.submit(replace(SPEC, time_limit_seconds=seconds), gpus=0)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_arguments_and_variables_arrive_as_they_are(
    text: str, machine: commands.Layout, tmp_path: Path
) -> None:
    spec = job(
        "python3", "-c", "import os,sys;print(ascii([sys.argv[1], os.environ['X']]))", text, environment={"X": text}
    )
    done = run(commands.batch_script(spec, cluster="demo", layout=machine), tmp_path)
    assert done.stdout == ascii([text, text]) + "\n"
    assert done.returncode == 0
    assert not (tmp_path / "hacked").exists()


@given(TEXT)
@settings(max_examples=200)
def test_a_word_is_one_line_of_ascii(text: str) -> None:
    word = commands.quote(text)
    assert word.isascii()
    assert word.isprintable()


@given(st.lists(TEXT, max_size=20))
@settings(max_examples=25, deadline=None)
def test_bash_reads_words_back(texts: list[str]) -> None:
    words = " ".join(commands.quote(text) for text in texts)
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {words} x"], capture_output=True, check=True)
    assert done.stdout == b"".join(text.encode() + b"\0" for text in [*texts, "x"])


def test_no_line_of_a_script_can_be_taken_for_an_option_of_sbatch() -> None:
    spec = job("x", *HOSTILE, environment={f"V{i}": text for i, text in enumerate(HOSTILE)})
    script = commands.batch_script(spec, cluster="demo")
    assert not [line for line in script.splitlines() if line.startswith("#SBATCH")]
    assert "\r" not in script


def test_environment_of_a_job(machine: commands.Layout, tmp_path: Path) -> None:
    spec = job("env", environment={"NCCL_DEBUG": "INFO", "PYTHONPATH": "/mine"})
    script = commands.batch_script(spec, cluster="demo", layout=machine)
    found = dict(line.split("=", 1) for line in run(script, tmp_path).stdout.splitlines())
    assert found["DURE_JOB_ID"] == "7"
    assert found["DURE_CLUSTER"] == "demo"
    assert found["DURE_METRICS_DIR"] == f"{tmp_path}/metrics/7"
    assert found["PATH"] == "/usr/bin:/bin"
    assert found["HOME"] == str(tmp_path)
    assert found["NCCL_DEBUG"] == "INFO"
    assert found["PYTHONPATH"] == "/mine"
    assert (tmp_path / "metrics/7").is_dir()


def test_a_node_with_space_of_its_own_names_it(machine: commands.Layout, tmp_path: Path) -> None:
    scratch = tmp_path / "fast space"
    layout = replace(machine, scratch_dir=str(scratch))
    script = commands.batch_script(job("env"), cluster="demo", layout=layout)
    assert "DURE_SCRATCH" not in run(script, tmp_path).stdout
    scratch.mkdir()
    assert f"DURE_SCRATCH={scratch}\n" in run(script, tmp_path).stdout
    assert "SCRATCH" not in commands.batch_script(job("env"), cluster="demo", layout=replace(machine, scratch_dir=""))


def test_code_of_the_job_comes_through(machine: commands.Layout, tmp_path: Path) -> None:
    for code in (0, 3, 75):
        script = commands.batch_script(job("sh", "-c", f"exit {code}"), cluster="demo", layout=machine)
        assert run(script, tmp_path).returncode == code


def lost(tmp_path: Path, code: int) -> tuple[str, ...]:
    program = tmp_path / "lost"
    program.write_text(f"#!/bin/sh\ntouch '{tmp_path}/asked'\nexit {code}\n")
    program.chmod(0o755)
    return (str(program), "lost")


@pytest.mark.parametrize(("answer", "code"), [(commands.LOST_EXIT, 75), (0, 3), (1, 3), (127, 3)])
def test_a_failed_job_starts_again_only_if_a_node_is_lost(
    answer: int, code: int, machine: commands.Layout, tmp_path: Path
) -> None:
    layout = replace(machine, lost=lost(tmp_path, answer))
    done = run(commands.batch_script(job("sh", "-c", "exit 3"), cluster="demo", layout=layout), tmp_path)
    assert done.returncode == code
    assert (tmp_path / "asked").exists()


def test_a_good_job_asks_nothing(machine: commands.Layout, tmp_path: Path) -> None:
    layout = replace(machine, lost=lost(tmp_path, commands.LOST_EXIT))
    assert run(commands.batch_script(job("true"), cluster="demo", layout=layout), tmp_path).returncode == 0
    assert not (tmp_path / "asked").exists()


def test_a_job_that_must_not_start_again_does_not(machine: commands.Layout, tmp_path: Path) -> None:
    layout = replace(machine, lost=lost(tmp_path, commands.LOST_EXIT))
    spec = job("sh", "-c", "exit 75", requeue=False)
    done = run(commands.batch_script(spec, cluster="demo", layout=layout), tmp_path)
    assert done.returncode == commands.NO_REQUEUE_EXIT
    assert not (tmp_path / "asked").exists()


def test_a_job_does_not_start_again_for_ever(machine: commands.Layout, tmp_path: Path) -> None:
    script = commands.batch_script(job("sh", "-c", "exit 75"), cluster="demo", layout=machine)
    assert run(script, tmp_path, SLURM_RESTART_COUNT="19").returncode == 75
    done = run(script, tmp_path, SLURM_RESTART_COUNT="20")
    assert done.returncode == commands.NO_REQUEUE_EXIT
    assert "giving up" in done.stderr


def test_without_srun_it_says_so(machine: commands.Layout, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "bin")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/hostname").symlink_to("/usr/bin/hostname")
    bash = shutil.which("bash")
    assert bash
    done = subprocess.run(
        [bash, "-s"],
        input=commands.batch_script(job("true"), cluster="demo", layout=machine),
        env={"PATH": f"{tmp_path}/bin", "SLURM_JOB_ID": "7"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "there is no srun" in done.stderr


def test_scripts_are_sound_for_bash() -> None:
    for spec in (SPEC, replace(SPEC, requeue=False), replace(SPEC, code=CodeRef.of("cd" * 32))):
        script = commands.batch_script(spec, cluster="demo")
        assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


@pytest.mark.parametrize("id", ["", "1;id", "-1", "all", "1 2", "0", "1\n"])
def test_ids_are_checked(id: str) -> None:
    for build in (commands.cancel, commands.history, lambda id: commands.note_job(id, "x")):
        with pytest.raises(ValueError, match="job id"):
            build(id)


def test_updates_name_nodes_once_and_keep_values_whole() -> None:
    assert commands.update_nodes(["gpu-2", "gpu-1"], state="DOWN", reason="no p3dn, 'now'") == [
        "scontrol",
        "update",
        "NodeName=gpu-[1-2]",
        "state=DOWN",
        "reason=no p3dn, 'now'",
    ]
