"""A job's figures: the trainer's lines to readings, and lines that nobody should believe."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from monitoring.agent.figures import JobFigures, is_first_rank, parse_line
from monitoring.agent.readings import Reading

NOW = 1_000_000.0


class World:
    """A file system with jobs' folders, and the collector."""

    def __init__(self, root: Path) -> None:
        self.metrics = root / "fsx" / ".dure" / "metrics"
        self.root = root
        self.restart()

    def restart(self) -> None:
        parts, state = (".dure", "metrics"), self.root / "figures.json"
        self.figures = JobFigures(self.root / "fsx", parts, bucket_seconds=60, wall=lambda: NOW, state=state)

    def line(self, job: str = "7", name: str = "rank-00000.jsonl", **values: Any) -> None:
        self.text(json.dumps({"time": NOW, **values}) + "\n", job=job, name=name)

    def text(self, text: str, *, job: str = "7", name: str = "rank-00000.jsonl") -> None:
        (self.metrics / job).mkdir(parents=True, exist_ok=True)
        with (self.metrics / job / name).open("a") as file:
            file.write(text)

    def collect(self, now: float = 0.0) -> dict[str, Reading]:
        return {f"{reading.labels['Job']} {reading.name}": reading for reading in self.figures.collect(now)}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_the_trainers_lines(world: World) -> None:
    world.line(rank=0, step=1, epoch=0, loss=10.5, records_per_second=3.0, tokens_per_second=3072.0, tflops=1.0)
    world.line(rank=0, step=2, epoch=0, loss=9.5, records_per_second=5.0, tokens_per_second=5120.0, tflops=1.0)
    world.line(event="checkpoint")
    found = world.collect()
    assert set(found) == {
        f"7 {name}" for name in ("loss", "loss_not_finite", "records_per_second", "tokens_per_second", "step")
    }
    loss = found["7 loss"]
    assert (loss.count, loss.sum, loss.minimum, loss.maximum) == (2, 20.0, 9.5, 10.5)
    assert loss.time == NOW // 60 * 60
    assert found["7 step"].maximum == 2
    assert world.collect() == {}


def test_only_the_first_rank_counts(world: World) -> None:
    world.line(loss=1.0)
    world.line(loss=5.0, name="rank-00001.jsonl")
    world.line(loss=6.0, name="rank-00010.jsonl")
    assert world.collect()["7 loss"].sum == 1.0


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("rank-00000.jsonl", True),
        ("metrics.jsonl", True),
        ("rank0.jsonl", True),
        ("rank-00003.jsonl", False),
        ("rank-00000.txt", False),
    ],
)
def test_first_rank_by_name(name: str, first: bool) -> None:
    assert is_first_rank(name) is first


def test_each_minute_is_a_statistic_set_of_its_own(world: World) -> None:
    world.line(time=NOW - 120, loss=9.0)
    world.line(time=NOW - 60, loss=7.0)
    world.line(time=NOW - 59, loss=8.0)
    found = [(one.time, one.sum) for one in world.figures.collect(0) if one.name == "loss"]
    assert found == [((NOW - 120) // 60 * 60, 9.0), ((NOW - 60) // 60 * 60, 15.0)]


def test_a_line_is_taken_when_it_is_whole(world: World) -> None:
    world.text('{"loss": 4.')
    assert world.collect() == {}
    world.text('5}\n{"loss"')
    assert world.collect()["7 loss"].sum == 4.5


def test_a_loss_that_is_no_number_is_counted(world: World) -> None:
    world.text('{"loss": NaN}\n{"loss": Infinity}\n{"loss": 3}\n')
    found = world.collect()
    assert found["7 loss"].sum == 3
    assert found["7 loss_not_finite"].sum == 2


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"not json",
        b"[1, 2]",
        b'{"loss": "3"}',
        b'{"loss": true}',
        b'{"event": "start"}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"step": 1' + b"0" * 400 + b"}",
    ],
)
def test_lines_that_hold_nothing_for_us(line: bytes) -> None:
    assert parse_line(line) is None


@pytest.mark.parametrize("time", ["yesterday", 0, NOW - 1e6, NOW + 1e6, True, None])
def test_a_wild_time_is_not_believed(world: World, time: Any) -> None:
    world.line(time=time, loss=1.0)
    assert world.collect()["7 loss"].time == NOW // 60 * 60


def test_a_restart_repeats_nothing(world: World) -> None:
    world.line(loss=1.0)
    world.collect()
    world.restart()
    world.line(loss=2.0)
    assert world.collect()["7 loss"].sum == 2.0


def test_a_file_that_was_written_anew_is_read_from_its_start(world: World) -> None:
    world.line(loss=1.0, note="a long line, so that the next is shorter")
    world.collect()
    (world.metrics / "7" / "rank-00000.jsonl").write_text('{"loss": 2.0}\n')
    assert world.collect()["7 loss"].sum == 2.0


def test_jobs_are_kept_apart_and_other_names_are_no_jobs(world: World) -> None:
    world.line(loss=1.0, job="7")
    world.line(loss=2.0, job="8_3")
    world.line(loss=3.0, job="junk")
    assert {key: one.sum for key, one in world.collect().items() if "finite" not in key} == {
        "7 loss": 1.0,
        "8_3 loss": 2.0,
    }


def test_links_and_pipes_of_the_job_user_are_not_read(world: World, tmp_path: Path) -> None:
    world.line(loss=1.0)
    secret = tmp_path / "secret"
    secret.write_text('{"loss": 666}\n')
    (world.metrics / "8").mkdir()
    (world.metrics / "8" / "rank-00000.jsonl").symlink_to(secret)
    (world.metrics / "9").mkdir()
    os.mkfifo(world.metrics / "9" / "rank-00000.jsonl")
    (world.metrics / "10").symlink_to(world.metrics / "7")
    assert {key for key in world.collect() if "finite" not in key} == {"7 loss"}


def test_a_quiet_job_is_looked_at_rarely(world: World) -> None:
    world.line(loss=1.0)
    world.collect(0)
    world.collect(3700)
    world.line(loss=2.0)
    assert world.collect(3760) == {}
    assert world.collect(4400)["7 loss"].sum == 2.0
    world.line(loss=3.0)
    assert world.collect(4460)["7 loss"].sum == 3.0, "it is alive again"


def test_a_line_without_an_end_is_skipped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.agent.figures.READ_BYTES", 100)
    world.text("x" * 250 + "\n")
    world.line(loss=1.0)
    for _ in range(6):
        if found := world.collect():
            break
    assert found["7 loss"].sum == 1.0


def test_without_a_folder_or_with_a_broken_state_there_is_nothing(world: World, tmp_path: Path) -> None:
    assert world.collect() == {}
    (tmp_path / "figures.json").write_text("[[")
    world.restart()
    world.line(loss=1.0)
    assert world.collect()["7 loss"].sum == 1.0
