"""Slurm's list of ended jobs, in the words of slurmctld 22.05."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitoring.agent.ended import EndedJobs

LINE = (
    "JobId={job} UserId=dure(5000) GroupId=dure(5000) Name={name} JobState=COMPLETED Partition=gpu TimeLimit=UNLIMITED "
    "StartTime=2026-11-25T03:31:02 EndTime=2026-11-25T03:31:05 NodeList=gpu-[1-2] NodeCnt=2 ProcCnt=8 WorkDir=/fsx "
    "ReservationName= Tres=cpu=8,node=2 Account= QOS= WcKey= Cluster=unknown SubmitTime=2026-11-25T03:30:55 "
    "EligibleTime=2026-11-25T03:30:55 DerivedExitCode=0:0 ExitCode=0:0 \n"
)


def add(path: Path, *jobs: int, name: str = "pretrain") -> None:
    with path.open("a") as file:
        file.writelines(LINE.format(job=job, name=name) for job in jobs)


def test_what_was_there_and_what_is_new(tmp_path: Path) -> None:
    path = tmp_path / "jobcomp.txt"
    add(path, 1, 2, 2)
    ended = EndedJobs(path)
    ended.look()
    assert [ended.times(job) for job in ("1", "2", "3")] == [1, 2, 0]
    assert ended.take_fresh() == set()
    add(path, 3, 1)
    ended.look()
    assert [ended.times(job) for job in ("1", "2", "3")] == [2, 2, 1]
    assert ended.take_fresh() == {"1", "3"}
    assert ended.take_fresh() == set()


def test_a_line_that_is_not_whole_yet_waits(tmp_path: Path) -> None:
    path = tmp_path / "jobcomp.txt"
    ended = EndedJobs(path)
    ended.look()
    path.write_text("JobId=5 UserId=dure")
    ended.look()
    assert ended.times("5") == 0
    add(path, 6)
    ended.look()
    assert (ended.times("5"), ended.times("6")) == (1, 0), "the two lines are one"


def test_a_job_name_ends_no_other_job(tmp_path: Path) -> None:
    path = tmp_path / "jobcomp.txt"
    add(path, 5, name="x JobId=6 y")
    ended = EndedJobs(path)
    ended.look()
    assert ended.times("6") == 0


@pytest.mark.parametrize("moved", [False, True])
def test_a_rotated_file_goes_on_counting(tmp_path: Path, moved: bool) -> None:
    path = tmp_path / "jobcomp.txt"
    add(path, 5, 6, 7)
    ended = EndedJobs(path)
    ended.look()
    if moved:
        path.rename(tmp_path / "jobcomp.txt.1")
    else:
        path.write_text("")
    add(path, 5)
    ended.look()
    assert ended.times("5") == 2


def test_without_the_file_no_job_has_ended(tmp_path: Path) -> None:
    ended = EndedJobs(tmp_path / "none")
    ended.look()
    assert ended.times("5") == 0
