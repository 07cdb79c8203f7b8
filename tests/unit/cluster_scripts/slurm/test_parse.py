"""Reading Slurm's answers: real output of 22.05.8, the shapes of later releases, and text that is neither."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster_scripts.jobs import errors
from cluster_scripts.slurm import parse

CAPTURED = Path(__file__).parent / "captured"
JOBS = (CAPTURED / "squeue-22.05.json").read_text(encoding="utf-8")
NODES = (CAPTURED / "sinfo-22.05.json").read_text(encoding="utf-8")
COMPLETED, FAILED, SIGNALLED, CANCELLED, REQUEUED, RUNNING, HELD = parse.jobs(JOBS)


def jobs_of(**changes: Any) -> str:
    """One captured job, as another release or state would write it."""
    entry = {**json.loads(JOBS)["jobs"][1], **changes}
    return json.dumps({"jobs": [entry]})


def test_a_job_that_went_well() -> None:
    assert (COMPLETED.id, COMPLETED.name, COMPLETED.queue, COMPLETED.state) == ("1", "hello", "gpu", "completed")
    assert (COMPLETED.exit_code, COMPLETED.signal, COMPLETED.reason) == (0, None, "")
    assert (COMPLETED.nodes, COMPLETED.node_count, COMPLETED.user) == (("gpu-1",), 1, "dure")
    assert COMPLETED.submitted_by == "arn:aws:iam::123:user/x y"
    assert COMPLETED.submitted_at == datetime(2026, 11, 25, 3, 39, 23, tzinfo=UTC)
    assert COMPLETED.started_at == COMPLETED.ended_at == datetime(2026, 11, 25, 3, 39, 25, tzinfo=UTC)


def test_how_jobs_end() -> None:
    assert (FAILED.state, FAILED.exit_code, FAILED.signal, FAILED.reason) == ("failed", 3, None, "NonZeroExitCode")
    assert (SIGNALLED.state, SIGNALLED.exit_code, SIGNALLED.signal) == ("failed", 0, 11)
    assert (CANCELLED.state, CANCELLED.signal) == ("cancelled", 15)


def test_jobs_that_have_not_ended() -> None:
    assert (RUNNING.state, RUNNING.exit_code, RUNNING.ended_at) == ("running", None, None)
    assert RUNNING.started_at is not None
    assert (REQUEUED.state, REQUEUED.reason, REQUEUED.exit_code) == ("pending", "BeginTime", None)
    assert (REQUEUED.started_at, REQUEUED.nodes) == (None, ())
    assert (HELD.name, HELD.reason, HELD.node_count) == ("held one", "JobHeldUser", 2)


def test_shapes_of_later_releases() -> None:
    number = {"set": True, "infinite": False, "number": 5}
    code = {
        "status": ["ERROR"],
        "return_code": {**number, "number": 3},
        "signal": {"id": {**number, "number": 0}, "name": ""},
    }
    (job,) = parse.jobs(
        jobs_of(
            job_id=5,
            job_state=["FAILED"],
            exit_code=code,
            node_count=number,
            submit_time={**number, "number": 1795577967},
        )
    )
    assert (job.state, job.exit_code, job.signal, job.node_count) == ("failed", 3, None, 5)
    assert job.submitted_at == FAILED.submitted_at
    killed = {**code, "signal": {"id": {**number, "number": 9}, "name": "SIGKILL"}}
    assert parse.jobs(jobs_of(job_state=["TIMEOUT"], exit_code=killed))[0].signal == 9
    infinite = {"set": False, "infinite": True, "number": 0}
    assert parse.jobs(jobs_of(start_time=infinite))[0].started_at is None


@pytest.mark.parametrize(
    ("states", "state"),
    [
        ("RUNNING", "running"),
        (["RUNNING", "CONFIGURING"], "configuring"),
        (["COMPLETED", "COMPLETING"], "completing"),
        ("COMPLETING", "completing"),
        (["PENDING", "REQUEUED"], "pending"),
        ("NODE_FAIL", "node_fail"),
    ],
)
def test_states_with_flags(states: Any, state: str) -> None:
    assert parse.jobs(jobs_of(job_state=states))[0].state == state


def test_why_there_is_no_machine_is_the_reason_while_a_job_waits() -> None:
    noted = "dure: no capacity for 2 x p3dn.24xlarge now"
    for state in ("PENDING", "CONFIGURING", "NODE_FAIL"):
        assert parse.jobs(jobs_of(job_state=state, admin_comment=noted))[0].reason == noted
    for state in ("RUNNING", "FAILED"):
        assert parse.jobs(jobs_of(job_state=state, admin_comment=noted))[0].reason == "NonZeroExitCode"


def test_jobs_come_in_the_order_of_their_ids() -> None:
    entries = [{**json.loads(JOBS)["jobs"][0], "job_id": id} for id in (10, 9, 100)]
    assert [job.id for job in parse.jobs(json.dumps({"jobs": entries}))] == ["9", "10", "100"]


def test_nodes() -> None:
    nodes = {node.name: node for node in parse.nodes(NODES, jobs=[RUNNING, FAILED, HELD])}
    assert list(nodes) == ["cpu-1", "cpu-2", "gpu-1", "gpu-2", "gpu-3", "gpu-4"]
    assert (nodes["gpu-1"].state, nodes["gpu-1"].job_ids, nodes["gpu-1"].gpus) == ("mixed", ("6",), 8)
    assert (nodes["gpu-2"].state, nodes["gpu-2"].reason) == ("down", "dure: no capacity x")
    assert (nodes["cpu-1"].state, nodes["cpu-1"].cpus, nodes["cpu-1"].gpus) == ("powered_down", 4, 0)
    assert nodes["gpu-3"].instance_id == ""


def test_the_machine_behind_a_node() -> None:
    data = json.loads(NODES)
    data["nodes"][2]["comment"] = "i-0abc p3dn.24xlarge us-east-1a"
    node = parse.nodes(json.dumps(data))[2]
    assert (node.instance_id, node.instance_type, node.zone) == ("i-0abc", "p3dn.24xlarge", "us-east-1a")


def test_nodes_are_in_natural_order() -> None:
    entry = json.loads(NODES)["nodes"][2]
    text = json.dumps({"nodes": [{**entry, "name": f"gpu-{number}"} for number in (10, 9, 1)]})
    assert [node.name for node in parse.nodes(text)] == ["gpu-1", "gpu-9", "gpu-10"]


def test_flags_of_nodes() -> None:
    words = parse.node_words(NODES)
    assert words["gpu-2"] == {"down", "cloud", "powered_down"}
    later = json.dumps({"nodes": [{"name": "gpu-1", "state": ["IDLE", "CLOUD", "POWERING_UP"]}]})
    assert parse.node_words(later)["gpu-1"] == {"idle", "cloud", "powering_up"}
    assert parse.nodes(later)[0].state == "powering_up"


@pytest.mark.parametrize(
    ("gres", "count"),
    [
        ("", 0),
        ("gpu:8", 8),
        ("gpu:v100:8(S:0-1)", 8),
        ("gpu:a100:4,gpu:v100:2", 6),
        ("nic:1,gpu:2", 2),
        ("shard:4", 0),
        ("(null)", 0),
    ],
)
def test_gpus_of_a_node(gres: str, count: int) -> None:
    assert parse.gpus(gres) == count


def test_history_of_a_job_that_slurmctld_has_forgotten() -> None:
    line = "2|x2|gpu|FAILED|3:0|gpu-[1-2]|2|dure(5000)|2026-11-25T03:39:27|2026-11-25T03:39:28|2026-11-25T03:39:29"
    (job,) = parse.history(line + "\n")
    assert (job.id, job.name, job.state, job.exit_code, job.signal) == ("2", "x2", "failed", 3, None)
    assert (job.nodes, job.node_count, job.user) == (("gpu-1", "gpu-2"), 2, "dure")
    assert job.ended_at == datetime(2026, 11, 25, 3, 39, 29, tzinfo=UTC)
    (odd,) = parse.history("3|a|b|gpu|CANCELLED by 0|0:9|(null)|0|dure(5000)|Unknown|Unknown|2026-11-25T03:39:29")
    assert (odd.name, odd.state, odd.signal, odd.nodes, odd.started_at) == ("a|b", "cancelled", 9, (), None)
    assert parse.history("\n") == []
    with pytest.raises(errors.UnexpectedAnswer):
        parse.history("2|x")


def test_the_id_that_sbatch_prints() -> None:
    assert parse.submitted("42\n") == "42"
    assert parse.submitted("42;cluster\n") == "42"
    for text in ("", "Submitted batch job 42", "-1", "4 2"):
        with pytest.raises(errors.UnexpectedAnswer):
            parse.submitted(text)


@pytest.mark.parametrize(
    ("stderr", "error", "words"),
    [
        (
            "sbatch: error: invalid partition specified: nope\n"
            "sbatch: error: Batch job submission failed: Invalid partition name specified\n",
            errors.NoSuchQueue,
            "invalid partition specified: nope; Batch job submission failed: Invalid partition name specified",
        ),
        (
            "sbatch: error: Batch job submission failed: Node count specification invalid\n",
            errors.SlurmRefused,
            "Node count specification invalid",
        ),
        (
            "squeue: error: Unable to establish control machine address\nslurm_load_jobs error: No error\n",
            errors.Unreachable,
            "slurmctld running",
        ),
        ("scancel: error: Kill job error on job id 9: Invalid job id specified", errors.NoSuchJob, "Invalid job id"),
        ("", errors.SlurmRefused, "said: nothing"),
    ],
)
def test_refusals_keep_slurms_words(stderr: str, error: type[errors.DureError], words: str) -> None:
    found = parse.refusal(["sbatch", "-x"], code=1, stderr=stderr)
    assert type(found) is error
    assert words in str(found)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"jobs": 1, "nodes": 1}', '{"jobs": [1], "nodes": [1]}', "slurm_load error"]
)
def test_text_that_is_no_answer(text: str) -> None:
    for read in (parse.jobs, parse.nodes):
        with pytest.raises(errors.UnexpectedAnswer):
            read(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = sorted(json.loads(JOBS)["jobs"][1])


@given(st.dictionaries(st.sampled_from(KEYS), JSON, max_size=8))
def test_a_job_of_any_shape_is_read_or_refused(changes: dict[str, Any]) -> None:
    try:
        (job,) = parse.jobs(jobs_of(**changes))
    except errors.UnexpectedAnswer:
        return
    assert job.to_json() == type(job).from_json(job.to_json()).to_json()


@given(st.dictionaries(st.sampled_from(sorted(json.loads(NODES)["nodes"][0])), JSON, max_size=8))
def test_a_node_of_any_shape_is_read_or_refused(changes: dict[str, Any]) -> None:
    try:
        (node,) = parse.nodes(json.dumps({"nodes": [{**json.loads(NODES)["nodes"][0], **changes}]}))
    except errors.UnexpectedAnswer:
        return
    assert node.name
