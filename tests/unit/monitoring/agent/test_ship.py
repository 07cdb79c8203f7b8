"""The shipper: a folder of logs to streams; restarts, rotation, truncation, outages, ends of jobs, hostile folders."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cluster_scripts.jobs.errors import Throttled, Unreachable
from monitoring.agent.ended import EndedJobs
from monitoring.agent.ship import Shipper, Source, end_event, pause
from tests.unit.monitoring.fakes import FakeSink

GROUP = "/dure/demo/jobs"


class World:
    """A file system with a folder of logs, a sink, a shipper and a clock."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.logs = root / "fsx" / ".dure" / "logs"
        self.logs.mkdir(parents=True)
        self.sink = FakeSink()
        self.notes: list[str] = []
        self.lost = 0
        self.now = time.time()  # the files' own times are compared with it
        self.source = Source(
            root=root / "fsx",
            parts=(".dure", "logs"),
            names=re.compile(r"[0-9]+\.log"),
            group=GROUP,
            stream=lambda name: name.removesuffix(".log"),
            state=root / "state",
        )
        self.restart()

    def restart(self) -> None:
        def lose(count: int) -> None:
            self.lost += count

        self.source = replace(self.source, ends=EndedJobs(self.root / "jobcomp.txt"))
        self.shipper = Shipper(self.source, self.sink, lost=lose, note=self.notes.append)

    def write(self, job: int, text: str | bytes) -> None:
        with (self.logs / f"{job}.log").open("ab") as file:
            file.write(text.encode() if isinstance(text, str) else text)

    def end(self, job: int) -> None:
        """As slurmctld notes it."""
        with (self.root / "jobcomp.txt").open("a") as file:
            file.write(f"JobId={job} UserId=dure(5000) GroupId=dure(5000) Name=x JobState=COMPLETED Partition=gpu \n")

    def run(self, seconds: float = 2.0) -> None:
        """Step as the agent does, for this much time."""
        until = self.now + seconds
        while self.now < until:
            self.now += 0.5
            while self.shipper.step(self.now):
                continue

    def messages(self, job: int = 7) -> list[str]:
        return self.sink.messages(str(job))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_each_log_goes_to_its_own_stream(world: World) -> None:
    world.write(7, "하나\n")
    world.write(8, "둘\n")
    (world.logs / "notes.txt").write_text("not a log\n")
    world.run()
    world.write(7, "셋\n")
    world.run()
    assert world.messages(7) == ["하나", "셋"]
    assert world.messages(8) == ["둘"]
    assert set(world.sink.events) == {(GROUP, "7"), (GROUP, "8")}


def test_a_line_is_sent_within_one_step(world: World) -> None:
    world.run()
    world.write(7, "now\n")
    world.shipper.step(world.now + 0.5)
    assert world.messages() == ["now"]


def test_nothing_new_sends_nothing(world: World) -> None:
    world.write(7, "one\n")
    world.run()
    calls = world.sink.calls
    world.run(200)
    assert world.sink.calls == calls


def test_a_line_that_arrives_in_parts_is_one_event(world: World) -> None:
    data = "아버지가 방에 들어가신다\n".encode()
    for index in range(0, len(data), 4):
        world.write(7, data[index : index + 4])
        world.run(0.5)
    assert world.messages() == ["아버지가 방에 들어가신다"]


def test_a_prompt_is_sent_after_five_seconds_of_silence(world: World) -> None:
    world.write(7, "Continue? ")
    world.run(4)
    assert world.messages() == []
    world.run(3)
    assert world.messages() == ["Continue? "]
    world.write(7, "\nyes\n")
    world.run()
    assert world.messages() == ["Continue? ", "yes"]


def test_a_restart_neither_loses_nor_repeats(world: World) -> None:
    world.write(7, "one\ntwo\nhal")
    world.run()
    world.restart()
    world.run()
    assert world.messages() == ["one", "two"]
    world.write(7, "f\n")
    world.restart()
    world.write(8, "other\n")
    world.run()
    assert world.messages() == ["one", "two", "half"]
    assert world.messages(8) == ["other"]


def test_an_outage_loses_nothing(world: World) -> None:
    world.write(7, "before\n")
    world.run()
    world.sink.away = True
    world.write(7, "during\n")
    with pytest.raises(Unreachable):
        world.run()
    world.restart()
    with pytest.raises(Unreachable):
        world.run()
    world.sink.away = False
    world.write(7, "after\n")
    world.run()
    assert world.messages() == ["before", "during", "after"]
    assert world.lost == 0


def test_a_failure_in_the_middle_of_a_flood_repeats_nothing(world: World) -> None:
    lines = [f"line {number}" for number in range(60_000)]
    world.write(7, "\n".join(lines) + "\n")
    world.sink.failures = [Throttled("slow down"), Throttled("slow down")]
    for _ in range(2):
        with pytest.raises(Throttled):
            world.run()
    world.run()
    assert world.messages() == lines
    assert world.sink.calls > 7


def test_what_cloudwatch_refuses_for_good_is_counted(world: World) -> None:
    world.sink.refuse = 2
    world.write(7, "one\ntwo\nthree\n")
    world.run()
    assert world.lost == 2
    world.restart()
    world.run()
    assert world.sink.calls == 1, "refused for good: not sent again"


def test_a_file_written_anew_is_sent_from_its_start(world: World) -> None:
    world.write(7, "first run, a long line\n")
    world.run()
    (world.logs / "7.log").write_text("second\n")
    world.run()
    assert world.messages() == ["first run, a long line", "second"]


def test_a_file_written_anew_that_is_longer_already_is_noticed(world: World) -> None:
    world.write(7, "first\n")
    world.run()
    (world.logs / "7.log").write_text("another beginning, and longer\n")
    world.run()
    assert world.messages() == ["first", "another beginning, and longer"]


@pytest.mark.parametrize("restarted", [False, True])
def test_a_rotated_file_is_sent_to_its_end_first(world: World, restarted: bool) -> None:
    world.write(7, "one\n")
    world.run()
    world.write(7, "two\nthree without end")
    (world.logs / "7.log").rename(world.logs / "7.log.1")
    world.write(7, "four\n")
    if restarted:
        world.restart()
    world.run()
    assert world.messages() == ["one", "two", "three without end", "four"]


def test_a_removed_file_is_sent_to_its_end_and_forgotten(world: World) -> None:
    world.write(7, "one\n")
    world.run()
    world.write(7, "two\n")
    (world.logs / "7.log").unlink()
    world.run()
    assert world.messages() == ["one", "two"]
    world.run(20)
    assert list(world.source.state.iterdir()) == []


def test_the_end_is_told_once_everything_arrived(world: World) -> None:
    world.write(7, "결과\nlast words")
    world.end(7)
    world.run()
    size = len("결과\nlast words".encode())
    assert world.messages() == ["결과", "last words", end_event(size)]
    world.run(200)
    world.restart()
    world.run(200)
    assert len(world.messages()) == 3, "told once"


def test_the_end_event_is_what_the_readers_were_promised() -> None:
    assert end_event(5) == '{"dure":"end-of-log","bytes":5}'
    assert json.loads(end_event(5)) == {"dure": "end-of-log", "bytes": 5}


def test_the_end_is_not_told_while_lines_wait(world: World) -> None:
    world.write(7, "one\n")
    world.end(7)
    world.sink.away = True
    with pytest.raises(Unreachable):
        world.run(5)
    world.sink.away = False
    world.run()
    assert world.messages() == ["one", end_event(4)]


def test_a_job_without_output_has_an_end_too(world: World) -> None:
    world.run()
    world.end(9)
    world.run(20)
    world.restart()
    world.run(20)
    assert world.messages(9) == [end_event(0)]


def test_an_old_job_whose_log_was_removed_is_not_told_again(world: World) -> None:
    world.end(9)
    world.run(20)
    world.write(7, "one\n")
    world.end(7)
    world.run()
    (world.logs / "7.log").unlink()
    world.run(20)
    assert world.messages(7) == ["one", end_event(4)]
    assert world.messages(9) == []


def test_a_requeued_job_goes_on_and_ends_again(world: World) -> None:
    world.write(7, "first\n")
    world.end(7)
    world.run()
    world.write(7, "second\n")
    world.run()
    assert world.messages() == ["first", end_event(6), "second"], "without an end that Slurm did not tell"
    world.run(100)
    world.write(7, "third\n")
    world.restart()
    world.run()
    world.end(7)
    world.run()
    assert world.messages() == ["first", end_event(6), "second", "third", end_event(19)]


def test_output_after_the_end_is_sent(world: World) -> None:
    world.write(7, "one\n")
    world.end(7)
    world.run()
    world.write(7, "late\n")
    world.run(70)
    assert world.messages() == ["one", end_event(4), "late"]


def test_time_never_goes_back_within_a_stream(world: World) -> None:
    world.write(7, "one\n")
    world.run()
    world.now -= 500
    world.write(7, "two\n")
    world.run(20)
    times = [event.timestamp_ms for event in world.sink.events[GROUP, "7"]]
    assert len(times) == 2
    assert times == sorted(times)


def test_a_link_to_a_secret_is_not_followed(world: World, tmp_path: Path) -> None:
    secret = tmp_path / "munge.key"
    secret.write_text("the key\n")
    (world.logs / "7.log").symlink_to(secret)
    os.mkfifo(world.logs / "8.log")
    (world.logs / "9.log").mkdir()
    world.write(10, "fine\n")
    world.run()
    assert list(world.sink.events) == [(GROUP, "10")]
    assert len(world.notes) == 3
    assert all("can't follow" in note for note in world.notes)


@pytest.mark.parametrize("which", [".dure", "logs"])
def test_a_folder_that_became_a_link_is_not_followed(world: World, tmp_path: Path, which: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "logs").mkdir(parents=True)
    (elsewhere / "logs" / "7.log").write_text("the key\n")
    (elsewhere / "7.log").write_text("the key\n")
    folder = world.logs if which == "logs" else world.logs.parent
    folder.rename(tmp_path / "moved")
    folder.symlink_to(elsewhere)
    world.run()
    assert world.sink.events == {}
    assert world.notes


def test_a_folder_that_is_not_there_yet_is_no_news(world: World) -> None:
    world.logs.rmdir()
    world.run()
    assert world.notes == []
    world.logs.mkdir()
    world.write(7, "one\n")
    world.run()
    assert world.messages() == ["one"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"inode": 1, "surprise": 2}'])
def test_a_position_that_cannot_be_read_means_from_the_start(world: World, text: str) -> None:
    world.source.state.mkdir()
    (world.source.state / "7.log.json").write_text(text)
    world.write(7, "one\n")
    world.run()
    assert world.messages() == ["one"]


@pytest.mark.parametrize("ended", [False, True])
def test_old_logs_are_not_kept_open(world: World, monkeypatch: pytest.MonkeyPatch, ended: bool) -> None:
    for job in range(50):
        world.write(job, "one\n")
        if ended:
            world.end(job)
    world.run(40)
    assert not [log for log in world.shipper._logs.values() if log.tail is not None]
    with monkeypatch.context() as patch:
        opened: list[str] = []
        patch.setattr("monitoring.agent.ship.open_regular", lambda name, *, within: opened.append(name))
        world.run(300)
        world.restart()
        world.run(60)
        assert opened == []
    world.write(7, "two\n")
    world.run(40)
    assert [message for message in world.messages(7) if "end-of-log" not in message] == ["one", "two"]


def test_a_closed_log_is_looked_at_every_step_while_its_job_runs(world: World) -> None:
    world.write(7, "one\n")
    world.run(100)
    world.write(7, "two\n")
    world.shipper.step(world.now + 0.5)
    assert world.messages() == ["one", "two"]


def test_pauses() -> None:
    assert pause(3600, ended=False) == 0
    assert pause(86_400, ended=False) == 30
    assert pause(1e9, ended=False) == 600
    assert [pause(silence, ended=True) for silence in (-5, 0, 100, 1e9)] == [1, 1, 10, 30]


def test_a_clock_that_is_set_back_delays_nothing(world: World) -> None:
    world.write(7, "one\n")
    world.end(7)
    world.run(100)
    world.now -= 3600
    world.write(7, "two\n")
    world.end(7)
    world.write(8, "new\n")
    world.run()
    assert world.messages() == ["one", end_event(4), "two", end_event(8)]
    assert world.messages(8) == ["new"]


def test_closing_leaves_no_file_open(world: World) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    world.write(7, "one\n")
    world.run()
    world.shipper.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
