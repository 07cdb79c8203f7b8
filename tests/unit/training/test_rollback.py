"""--on-spike rollback: back to the newest checkpoint, the batch left out, and the same after a kill."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.unit.training.conftest import Launch, pretrain_arguments
from tests.unit.training.test_loop import Make, make, ranks, spoil
from training import checkpoint
from training.errors import DivergenceError

__all__ = ["make", "ranks"]  # fixtures


def test_the_batch_is_left_out_and_the_state_comes_from_the_checkpoint(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make(on_spike="rollback")
    for _ in range(2):
        run.step()
    checkpoint.write(run.settings.checkpoints, run.snapshot())
    kept = run.parameters.weights()
    positions = [run.stream.position]
    run.step()
    positions.append(run.stream.position)
    run.parameters.named["norm_gamma"].data()[:] = math.nan  # memory went bad: no replay from memory mends that
    result = run.step()
    assert result.roll_back
    assert run.step_number == 3  # not taken
    run.roll_back()
    assert run.step_number == 2
    assert all((value == kept[name]).all() for name, value in run.parameters.weights().items())
    assert "rolled back to step 2; batch 3 of epoch 0 is left out" in make.said[-1]
    taken = []
    for _ in range(3):
        taken.append(run.stream.position.batch)
        assert not run.step().skipped
    assert taken == [2, 4, 5]
    other = make(on_spike="rollback")
    other.restore(run.snapshot())
    assert other.stream.left_out == {(0, 3)}


def test_without_a_checkpoint_the_batch_is_skipped(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make(on_spike="rollback")
    run.step()
    spoil(run, monkeypatch, times=2, factor=math.inf)
    assert run.step().roll_back
    run.roll_back()
    assert (run.step_number, run.skipped_steps) == (2, 1)
    assert "no checkpoint yet to roll back to" in make.said[-1]
    assert not run.step().skipped


def test_going_back_again_and_again_is_an_error(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make(on_spike="rollback")
    run.step()
    checkpoint.write(run.settings.checkpoints, run.snapshot())
    spoil(run, monkeypatch, times=1000, factor=math.inf)
    with pytest.raises(DivergenceError, match="rolled back 6 times without getting past step 2"):
        for _ in range(10):
            assert run.step().roll_back
            run.roll_back()


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics" / "rank-00000.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("ranks_", [1, 2])
def test_a_run_killed_after_a_rollback_comes_to_the_same(
    launch: Launch, corpus_folder: Path, tokenizer_folder: Path, tmp_path: Path, ranks_: int
) -> None:
    """A low --spike makes ordinary batches count as spikes: real ones, that a replay shows again."""

    def arguments(name: str) -> list[str]:
        return pretrain_arguments(
            *(corpus_folder, tokenizer_folder, tmp_path / name), steps=90, spike=1.15, on_spike="rollback"
        )

    whole = launch(ranks_, arguments("whole"))
    output = whole.communicate(timeout=100)[0]
    assert whole.returncode == 0, output
    events = [line for line in lines_of(tmp_path / "whole") if line.get("event") == "rollback"]
    assert events
    assert all(0 < event["spiked"] - event["to"] <= 5 for event in events)
    killed = launch(ranks_, arguments("killed"))
    assert killed.stdout is not None
    for line in killed.stdout:
        if "rolled back to step" in line:
            killed.kill()
            break
    killed.communicate(timeout=60)
    resumed = launch(ranks_, arguments("killed"))
    output = resumed.communicate(timeout=100)[0]
    assert resumed.returncode == 0, output
    assert "resumed at step" in output
    models = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("whole", "killed")]
    assert models[0] == models[1]
