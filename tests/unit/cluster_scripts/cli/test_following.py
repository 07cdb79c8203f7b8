"""Following a job: nothing lost, nothing twice, an end that comes soon and surely, and few questions to the head."""

from __future__ import annotations

import pytest

from cluster_scripts.cli.following import PATIENCE, Follower
from cluster_scripts.jobs.errors import NoSuchJob, Unreachable
from cluster_scripts.jobs.model import Job, LogEvent
from tests.unit.cluster_scripts.cli.fakes import END, START, FakeCluster, a_job, lines


def follow(cluster: FakeCluster, id: str = "12") -> tuple[Job, list[str], list[str]]:
    written: list[LogEvent] = []
    told: list[str] = []
    clock = cluster.clock
    follower = Follower(
        source=cluster,
        id=id,
        write=written.append,
        tell=told.append,
        now=clock.now,
        sleep=clock.sleep,
        today=clock.today,
    )
    job = follower.follow()
    return job, [event.message for event in written], told


def test_a_running_job_is_followed_to_its_end_mark() -> None:
    cluster = FakeCluster(known={"12": a_job()}, ends=(40.0, a_job(state="completed", exit_code=0)))
    for second in range(0, 40, 10):
        cluster.output += lines(f"step {second}", f"step {second + 5}", second=second)
    cluster.output += [(41.0, END)]
    job, written, told = follow(cluster)
    assert job.state == "completed"
    assert written == [f"step {second}" for second in range(0, 40, 5)]
    assert told == ["job 12 is running on gpu-1, gpu-2"]
    assert cluster.clock.seconds < 46
    assert cluster.calls.count("job") < 12


def test_a_log_without_an_end_mark_ends_when_it_stays_quiet() -> None:
    cluster = FakeCluster(known={"12": a_job()}, ends=(10.0, a_job(state="failed", exit_code=3)))
    cluster.output = lines("a", second=1.0) + lines("late", second=15.0)
    job, written, told = follow(cluster)
    assert (job.state, written) == ("failed", ["a", "late"])
    assert "no end mark" in told[-1]
    assert 35 <= cluster.clock.seconds <= 40


def test_a_log_that_has_no_marks_ends_after_its_own_quiet_time() -> None:
    cluster = FakeCluster(
        known={"12": a_job()}, ends=(10.0, a_job(state="completed")), drain_seconds=2.0, marks_log_end=False
    )
    cluster.output = lines("a", second=9.0)
    _, written, told = follow(cluster)
    assert written == ["a"]
    assert "end mark" not in "".join(told)
    assert cluster.clock.seconds < 20


def test_a_job_that_ended_long_ago_is_printed_without_waiting() -> None:
    cluster = FakeCluster(known={"12": a_job(state="completed", ended_at=START)})
    cluster.clock.seconds = 3600.0
    cluster.output = lines(*(f"line {n}" for n in range(100)))
    _, written, _ = follow(cluster)
    assert written == [f"line {n}" for n in range(100)]
    assert cluster.clock.seconds == 3600.0


def test_a_job_that_never_started_ends_at_once() -> None:
    cluster = FakeCluster(known={"12": a_job(state="cancelled", started_at=None, ended_at=START)})
    job, written, told = follow(cluster)
    assert (job.state, written, told) == ("cancelled", [], [])
    assert cluster.clock.seconds == 0


def test_a_waiting_job_says_why_once_for_each_reason() -> None:
    cluster = FakeCluster(
        known={"12": a_job(state="pending", reason="Resources", started_at=None)},
        ends=(300.0, a_job(state="completed")),
    )
    cluster.output = [(302.0, END)]
    _, _, told = follow(cluster)
    assert told == ["job 12 is pending (Resources)"]
    assert cluster.calls.count("job") <= 30


def test_an_end_mark_of_a_run_that_is_started_again_does_not_end_it() -> None:
    cluster = FakeCluster(known={"12": a_job()}, ends=(60.0, a_job(state="completed")))
    cluster.output = [*lines("first", second=1.0), (2.0, END), *lines("again", second=30.0), (61.0, END)]
    _, written, _ = follow(cluster)
    assert written == ["first", "again"]


def test_an_absent_head_is_waited_for() -> None:
    cluster = FakeCluster(known={"12": a_job()}, ends=(100.0, a_job(state="completed")))
    cluster.output = [(101.0, END)]
    ask = cluster.job

    def job(id: str) -> Job:
        if 10 < cluster.clock.seconds < 50:
            raise Unreachable("the head is away")
        return ask(id)

    cluster.job = job  # type: ignore[method-assign]
    result, _, told = follow(cluster)
    assert result.state == "completed"
    assert sum("does not answer" in text for text in told) == 1


def test_a_head_that_stays_away_is_given_up() -> None:
    cluster = FakeCluster(known={"12": a_job()})
    answers = iter([a_job()])
    failures = 0

    def job(id: str) -> Job:
        nonlocal failures
        for answer in answers:
            return answer
        failures += 1
        raise Unreachable("the head is away")

    cluster.job = job  # type: ignore[method-assign]
    with pytest.raises(Unreachable):
        follow(cluster)
    assert failures == PATIENCE


def test_an_unknown_job_is_an_error() -> None:
    with pytest.raises(NoSuchJob):
        follow(FakeCluster(), "99")
