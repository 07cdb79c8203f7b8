"""Words and numbers as people read them, and which cluster is meant."""

from __future__ import annotations

from argparse import Namespace
from datetime import timedelta

import pytest

from cluster_scripts.backends.choose import Target
from cluster_scripts.cli.jobs import who
from cluster_scripts.cli.options import target_of
from cluster_scripts.cli.output import duration, local_time, since
from cluster_scripts.cli.wording import count, ending, exit_text, progress
from tests.unit.cluster_scripts.cli.fakes import START, a_job


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (-3, "0s"),
        (0, "0s"),
        (59.9, "59s"),
        (60, "1m00s"),
        (3599, "59m59s"),
        (7500, "2h05m"),
        (90000, "1d01h"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_a_job_that_runs_counts_until_now() -> None:
    now = START + timedelta(seconds=90)
    assert since(START, None, now=now) == 90
    assert since(START, START, now=now) == 0
    assert since(None, None, now=now) is None
    assert local_time(None) == "-"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"state": "completed", "exit_code": 0}, "job 12 completed"),
        (
            {"state": "failed", "exit_code": 3, "reason": "NonZeroExitCode"},
            "job 12 failed: exit code 3, reason: NonZeroExitCode",
        ),
        ({"state": "failed", "exit_code": 0, "signal": 9}, "job 12 failed: ended by signal 9"),
        ({"state": "cancelled", "exit_code": 0}, "job 12 was cancelled"),
        ({"state": "node_fail"}, "job 12 lost a node"),
        ({"state": "some_new_state", "reason": "None"}, "job 12 some new state"),
    ],
)
def test_endings(changes: dict[str, object], text: str) -> None:
    assert ending(a_job(**changes)) == text  # type: ignore[arg-type]


def test_progress_and_exit_codes() -> None:
    assert progress(a_job()) == "job 12 is running on gpu-1, gpu-2"
    assert progress(a_job(state="pending", reason="용량이 없습니다", nodes=())) == "job 12 is pending (용량이 없습니다)"
    assert exit_text(a_job()) == "-"
    assert exit_text(a_job(exit_code=0, signal=15)) == "signal 15"
    assert (count(1, "file"), count(0, "file")) == ("1 file", "0 files")


def test_who_submitted_is_shown_short() -> None:
    assert who("arn:aws:sts::1:assumed-role/Dev/kim") == "kim"
    assert who("arn:aws:iam::1:user/teams/nlp/lee") == "lee"
    assert who("kim@login1") == "kim@login1"


@pytest.mark.parametrize(
    ("options", "environ", "target"),
    [
        ({}, {}, Target()),
        ({"cluster": "a"}, {"DURE_CLUSTER": "b"}, Target(cluster="a")),
        ({}, {"DURE_CLUSTER": "b", "DURE_SSH": ""}, Target(cluster="b")),
        ({}, {"DURE_SSH": "login"}, Target(ssh="login")),
        ({"cluster": "a"}, {"DURE_SSH": "login"}, Target(cluster="a")),
        ({"ssh": "kim@x"}, {"DURE_SSH": "login"}, Target(ssh="kim@x")),
        ({"region": "eu-west-1"}, {}, Target(region="eu-west-1")),
    ],
)
def test_the_target_is_what_is_named_nearest(options: dict[str, str], environ: dict[str, str], target: Target) -> None:
    named = Namespace(**({"cluster": None, "region": None, "ssh": None} | options))
    assert target_of(named, environ) == target


def test_a_command_without_ssh_does_not_heed_its_variable() -> None:
    assert target_of(Namespace(cluster=None, region=None), {"DURE_SSH": "login"}) == Target()
