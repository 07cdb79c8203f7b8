"""What every way in to a cluster promises (cluster_scripts.jobs.ports.Cluster), on a real Slurm."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cluster_scripts.backends.reached import ReachedCluster
from cluster_scripts.cli.following import Follower
from cluster_scripts.cli.work_folder.archive import packed
from cluster_scripts.jobs.errors import InvalidArgument, NoSuchJob, NoSuchQueue, RequestError
from cluster_scripts.jobs.model import Job, LogEvent
from cluster_scripts.jobs.spec import CodeRef, JobSpec
from tests.cloud import wait_until

pytestmark = [pytest.mark.local_cloud, pytest.mark.timeout(300)]

UNKNOWN = "999999"
HOSTILE = ("a b", "", "'; touch /tmp/x; '", "$(id)", "`id`", "한글\n둘째 줄", '"', "\\", "*", "-n", "%s\t!")


def a_spec(
    reached: ReachedCluster,
    command: Sequence[str],
    *,
    nodes: int = 1,
    environment: Mapping[str, str] | None = None,
    code: str | None = None,
    queue: str = "gpu",
) -> JobSpec:
    return JobSpec(
        name="contract",
        queue=queue,
        command=tuple(command),
        nodes=nodes,
        environment=environment or {},
        code=None if code is None else CodeRef.of(code),
        submitted_by=reached.caller(),
        submitted_at=datetime.now(UTC),
    )


def run(reached: ReachedCluster, spec: JobSpec, *, code: Path | None = None) -> tuple[Job, list[str]]:
    """Submit, follow to the end: the job as it ended, and its lines."""
    return follow(reached, reached.submit(spec, code=code))


def follow(reached: ReachedCluster, job_id: str) -> tuple[Job, list[str]]:
    events: list[LogEvent] = []
    job = Follower(source=reached, id=job_id, write=events.append, tell=lambda text: None).follow()
    return job, [event.message for event in events]


def lines_of(reached: ReachedCluster, job_id: str) -> list[str]:
    page = reached.log_events(job_id, cursor=None)
    return [event.message for event in page.events if not reached.is_log_end(event)]


def test_nodes_are_listed_in_order_with_or_without_a_machine(reached: ReachedCluster) -> None:
    nodes = reached.nodes()
    assert [node.name for node in nodes] == ["gpu-1", "gpu-2", "gpu-3", "gpu-4"]
    assert {node.queue for node in nodes} == {"gpu"}
    assert all(node.state and node.cpus > 0 for node in nodes)


def test_queues_are_what_jobs_may_ask_for(reached: ReachedCluster) -> None:
    assert [(queue.name, queue.nodes) for queue in reached.queues()] == [("gpu", 4)]


def test_a_job_runs_and_its_output_comes_in_order(reached: ReachedCluster) -> None:
    before = datetime.now(UTC)
    job, lines = run(reached, a_spec(reached, ["sh", "-c", "echo 하나; echo; echo 둘; printf 셋"]))
    assert lines == ["하나", "", "둘", "셋"]
    assert (job.state, job.exit_code, job.name, job.queue) == ("completed", 0, "contract", "gpu")
    assert job.submitted_by == reached.caller()
    assert len(job.nodes) == job.node_count == 1
    assert job.submitted_at and job.started_at and job.ended_at
    # Slurm counts whole seconds
    assert before.replace(microsecond=0) <= job.submitted_at <= job.started_at <= job.ended_at
    assert job in reached.jobs()
    assert [event.message for event in reached.last_lines(job.id, 2)] == ["둘", "셋"]


def test_a_failed_job_tells_its_exit_code(reached: ReachedCluster) -> None:
    job, lines = run(reached, a_spec(reached, ["sh", "-c", "echo out; echo err >&2; exit 3"]))
    assert (job.state, job.exit_code) == ("failed", 3)
    assert {"out", "err"} <= set(lines)
    assert job.reason


def test_arguments_reach_the_program_as_they_are(reached: ReachedCluster) -> None:
    command = ["python3", "-c", "import sys, json; print(json.dumps(sys.argv[1:]))", *HOSTILE]
    _, lines = run(reached, a_spec(reached, command))
    assert json.loads(lines[0]) == list(HOSTILE)


def test_variables_reach_the_program_as_they_are(reached: ReachedCluster) -> None:
    environment = {"PLAIN": "1", "HARD": "a b'\"$HOME`id`\n한글", "EMPTY": ""}
    program = "import os, json; print(json.dumps({k: os.environ[k] for k in ('PLAIN', 'HARD', 'EMPTY')}))"
    _, lines = run(reached, a_spec(reached, ["python3", "-c", program], environment=environment))
    assert json.loads(lines[0]) == environment


def test_the_working_folder_is_there_and_cannot_be_changed(reached: ReachedCluster, tmp_path: Path) -> None:
    (tmp_path / "한글 sub").mkdir()
    (tmp_path / "한글 sub" / "run.sh").write_text(
        "#!/bin/sh\ncat data\ntouch new 2>/dev/null && echo WRITABLE\nexit 0\n"
    )
    (tmp_path / "한글 sub" / "run.sh").chmod(0o755)
    (tmp_path / "data").write_text("from the folder\n")
    with packed(tmp_path) as archive:
        spec = a_spec(reached, ["./한글 sub/run.sh"], code=archive.sha256)
        job, lines = run(reached, spec, code=archive.path)
        assert (job.state, lines) == ("completed", ["from the folder"])
        # a second time it is there already
        assert run(reached, spec, code=archive.path)[1] == ["from the folder"]


def test_every_node_runs_the_command(reached: ReachedCluster) -> None:
    job, lines = run(reached, a_spec(reached, ["sh", "-c", "echo node $SLURMD_NODENAME"], nodes=2))
    assert sorted(lines) == [f"node {name}" for name in sorted(job.nodes)]
    assert len(set(job.nodes)) == 2


def test_output_can_be_read_while_the_job_runs_each_line_once(reached: ReachedCluster) -> None:
    # runs until its log was seen: it ends with the file that the next job makes
    job_id = reached.submit(a_spec(reached, ["sh", "-c", "echo first; while :; do sleep 0.2; done"]), code=None)
    wait_until(lambda: lines_of(reached, job_id) == ["first"], what="the first line is there", timeout=90)
    assert reached.job(job_id).state == "running"
    page = reached.log_events(job_id, cursor=None)
    again = reached.log_events(job_id, cursor=page.cursor)
    assert (again.events, again.cursor) == ((), page.cursor)
    reached.cancel(job_id)
    job, _ = follow(reached, job_id)
    assert job.state == "cancelled"
    assert [event for event in reached.log_events(job_id, cursor=page.cursor).events if event.message == "first"] == []


def test_a_cancelled_job_ends_and_a_second_cancel_changes_nothing(reached: ReachedCluster) -> None:
    job_id = reached.submit(a_spec(reached, ["sleep", "600"]), code=None)
    reached.cancel(job_id)
    wait_until(lambda: reached.job(job_id).ended, what="the job is over", timeout=60)
    job = reached.job(job_id)
    assert job.state == "cancelled"
    reached.cancel(job_id)
    assert reached.job(job_id) == job


def test_an_unknown_job_is_told_apart(reached: ReachedCluster) -> None:
    with pytest.raises(NoSuchJob):
        reached.job(UNKNOWN)
    with pytest.raises(NoSuchJob):
        reached.cancel(UNKNOWN)
    assert reached.log_events(UNKNOWN, cursor=None).events == ()
    assert reached.last_lines(UNKNOWN, 5) == ()


@pytest.mark.parametrize("id", ["", "0", "1; reboot", "../1", "one"])
def test_what_is_no_id_is_refused(id: str, reached: ReachedCluster) -> None:
    for method in (reached.job, reached.cancel):
        with pytest.raises(InvalidArgument):
            method(id)


def test_impossible_requests_leave_no_job(reached: ReachedCluster, tmp_path: Path) -> None:
    before = [job.id for job in reached.jobs()]
    with pytest.raises(NoSuchQueue):
        reached.submit(a_spec(reached, ["true"], queue="nowhere"), code=None)
    with pytest.raises(RequestError):
        reached.submit(a_spec(reached, ["true"], nodes=5), code=None)
    with pytest.raises(RequestError):
        reached.submit(a_spec(reached, ["true"], code="0" * 64), code=None)
    assert [job.id for job in reached.jobs()] == before


def test_jobs_come_in_the_order_of_their_ids(reached: ReachedCluster) -> None:
    ids = [int(job.id) for job in reached.jobs()]
    assert ids == sorted(ids)


def test_the_caller_is_named(reached: ReachedCluster) -> None:
    assert re.fullmatch(r"arn:aws:\S+|dure@\S+", reached.caller())


def test_an_answer_takes_less_than_two_seconds(reached: ReachedCluster) -> None:
    start = time.monotonic()
    reached.nodes()
    assert time.monotonic() - start < 2
