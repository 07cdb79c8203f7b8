"""Checkpoints: whole or absent, checked, the one before when the newest is damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from training import checkpoint
from training.checkpoint import CheckpointWriter, Snapshot
from training.errors import CheckpointError


def snapshot(step: int) -> Snapshot:
    generator = np.random.default_rng(step)
    arrays = {name: generator.random((3, 4)).astype(np.float32) for name in ("w", "v")}
    return Snapshot(step, arrays, {"w/mean": arrays["w"] * 2}, {"position": {"epoch": 0}, "step": step})


def same(left: Snapshot, right: Snapshot) -> bool:
    arrays = [(left.weights, right.weights), (left.optimizer, right.optimizer)]
    return left.step == right.step and all(
        a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a) for a, b in arrays
    )


def save(folder: Path, *numbers: int, keep: int = 9) -> None:
    writer = CheckpointWriter(folder, keep=keep, say=lambda text: None)
    for number in numbers:
        writer.save(snapshot(number))
    writer.wait()


def test_round_trip_and_keep(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 3, 4, keep=2)
    assert checkpoint.steps(tmp_path) == [4, 3]
    loaded = checkpoint.load(checkpoint.path_of(tmp_path, 4))
    assert same(loaded, snapshot(4))
    assert loaded.state["position"] == {"epoch": 0}


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "state.json", "checksums.json"])
def test_any_damage_is_found_and_said(tmp_path: Path, name: str) -> None:
    save(tmp_path, 1, 2)
    path = checkpoint.path_of(tmp_path, 2) / name
    whole = path.read_bytes()
    said: list[str] = []
    for position in range(0, len(whole), 7):
        for damaged in (whole[:position], whole[:position] + bytes([whole[position] ^ 16]) + whole[position + 1 :]):
            path.write_bytes(damaged)
            assert checkpoint.newest_valid(tmp_path, say=said.append) == 1
            with pytest.raises(CheckpointError):
                checkpoint.load(path.parent)
    path.unlink()
    assert checkpoint.newest_valid(tmp_path, say=said.append) == 1
    assert all("step 2 is not usable" in text for text in said)


def test_none_is_left(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (checkpoint.path_of(tmp_path, 1) / "state.json").unlink()
    assert checkpoint.newest_valid(tmp_path, say=lambda text: None) is None
    assert checkpoint.newest_valid(tmp_path / "nowhere", say=lambda text: None) is None


def test_an_unfinished_one_is_never_seen_and_goes_away(tmp_path: Path) -> None:
    save(tmp_path, 1)
    shutil.copytree(checkpoint.path_of(tmp_path, 1), tmp_path / ".tmp-abc-step-000000002")
    assert checkpoint.steps(tmp_path) == [1]
    save(tmp_path, 3)
    assert not list(tmp_path.glob(".tmp-*"))


def test_old_ones_stay_when_a_new_one_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1, 2)

    def broken(path: Path) -> None:
        raise CheckpointError(f"{path} reads back wrong")

    monkeypatch.setattr(checkpoint, "verify", broken)
    writer = CheckpointWriter(tmp_path, keep=1, say=lambda text: None)
    writer.save(snapshot(3))
    with pytest.raises(CheckpointError, match="reads back wrong"):
        writer.wait()
    assert {1, 2} <= set(checkpoint.steps(tmp_path))


def test_a_full_disk_is_an_error_of_the_next_call(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path / "c", keep=1, say=lambda text: None)
    shutil.rmtree(tmp_path / "c")
    (tmp_path / "c").write_text("a file where the folder should be")
    writer.save(snapshot(1))
    with pytest.raises(CheckpointError, match="could not be written"):
        writer.save(snapshot(2))


def test_damaged_later_ones_neither_count_as_kept_nor_stay(tmp_path: Path) -> None:
    save(tmp_path, 4, 8, 12)
    for step in (8, 12):
        (checkpoint.path_of(tmp_path, step) / "state.json").write_text("{}")
    shutil.rmtree(checkpoint.path_of(tmp_path, 4))
    save(tmp_path, 4, keep=2)  # a run that began anew
    assert checkpoint.steps(tmp_path) == [4]
    assert same(checkpoint.load(checkpoint.path_of(tmp_path, 4)), snapshot(4))
