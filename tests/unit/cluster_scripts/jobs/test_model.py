"""Jobs and nodes as JSON."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from cluster_scripts.jobs.errors import UnexpectedAnswer
from cluster_scripts.jobs.model import ENDED, Job, Node, format_time, parse_time

JOB = Job(
    id="7",
    name="pretrain",
    queue="gpu",
    state="running",
    reason="",
    exit_code=None,
    signal=None,
    nodes=("gpu-1", "gpu-2"),
    node_count=2,
    user="dure",
    submitted_at=datetime(2020, 5, 13, 9, 0, tzinfo=UTC),
    started_at=datetime(2020, 5, 13, 9, 1, tzinfo=UTC),
    ended_at=None,
    submitted_by="arn:aws:iam::123456789012:user/kim",
)
NODE = Node(
    name="gpu-1",
    queue="gpu",
    state="idle",
    instance_id="i-0abc",
    instance_type="p3dn.24xlarge",
    zone="us-east-1a",
    reason="",
    job_ids=("7",),
    cpus=96,
    gpus=8,
)


def test_json_and_back() -> None:
    assert Job.from_json(JOB.to_json()) == JOB
    assert Node.from_json(NODE.to_json()) == NODE
    assert JOB.to_json()["submitted_at"] == "2020-05-13T09:00:00Z"
    assert JOB.to_json()["nodes"] == ["gpu-1", "gpu-2"]


def test_keys_of_a_newer_cluster_are_ignored() -> None:
    assert Job.from_json({**JOB.to_json(), "of_the_future": 1}) == JOB


@pytest.mark.parametrize(
    "data", [None, [], {}, {**JOB.to_json(), "submitted_at": "soon"}, {**JOB.to_json(), "ended_at": 3}]
)
def test_unreadable_answers_are_said_so(data: Any) -> None:
    with pytest.raises(UnexpectedAnswer):
        Job.from_json(data)


def test_times_are_utc() -> None:
    seoul = datetime(2020, 5, 13, 18, 0, tzinfo=timezone(timedelta(hours=9)))
    assert format_time(seoul) == "2020-05-13T09:00:00Z"
    assert parse_time("2020-05-13T18:00:00+09:00") == seoul
    assert (format_time(None), parse_time(None)) == (None, None)
    with pytest.raises(ValueError, match="zone"):
        parse_time("2020-05-13T09:00:00")


def test_only_final_states_are_ended() -> None:
    assert {"completed", "failed", "cancelled", "timeout", "node_fail"} <= ENDED
    assert not JOB.ended
