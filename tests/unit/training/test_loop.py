"""The loop in this very process, one rank: bad steps are replayed, left out, and at last an error; a snapshot is
whole.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
import pytest

from tests.unit.training.conftest import pretrain_arguments
from training.collective import Ranks
from training.errors import CheckpointError, DivergenceError
from training.loop import Pretraining
from training.options import parse


@pytest.fixture(scope="module")
def ranks() -> Ranks:
    return Ranks(os.environ)


class Make:
    """Makes runs over the shared corpus and keeps what they said."""

    def __init__(self, corpus: Path, tokenizer: Path, output: Path, ranks: Ranks) -> None:
        self.arguments, self.ranks, self.said = (corpus, tokenizer, output), ranks, list[str]()

    def __call__(self, **changes: Any) -> Pretraining:
        corpus, tokenizer, output = self.arguments
        settings = parse(pretrain_arguments(corpus, tokenizer, output, **changes), environment={}, cwd=Path("/"))
        made = Pretraining(settings, self.ranks, context=mx.cpu(), say=self.said.append)
        made.resume()
        return made


@pytest.fixture
def make(corpus_folder: Path, tokenizer_folder: Path, tmp_path: Path, ranks: Ranks) -> Make:
    return Make(corpus_folder, tokenizer_folder, tmp_path, ranks)


def spoil(run: Pretraining, monkeypatch: pytest.MonkeyPatch, *, times: int, factor: float) -> None:
    """The next `times` backward passes give gradients multiplied by `factor`."""
    left, real = [times], run._backward

    def backward(batch: Any, *, scale: float | None) -> float:
        loss = real(batch, scale=scale)
        if left[0]:
            left[0] -= 1
            for gradient in run.parameters.gradients():
                gradient *= factor
        return loss

    monkeypatch.setattr(run, "_backward", backward)


def test_a_transient_error_changes_nothing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed, run = make(), make()
    spoil(run, monkeypatch, times=1, factor=math.nan)
    for _ in range(3):
        assert undisturbed.step().loss == run.step().loss
    assert all((a == run.parameters.weights()[name]).all() for name, a in undisturbed.parameters.weights().items())
    assert "transient" in make.said[-1]


def test_a_real_one_is_left_out_and_its_records_named(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make()
    run.step()
    before, records = run.parameters.weights(), run.stream.numbers().tolist()
    spoil(run, monkeypatch, times=2, factor=math.inf)
    assert run.step().skipped
    assert all((a == run.parameters.weights()[name]).all() for name, a in before.items())
    assert str(records) in make.said[-1]
    assert not run.step().skipped
    assert run.step_number == 3


def test_too_many_in_a_row_are_an_error(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make()
    spoil(run, monkeypatch, times=100, factor=math.nan)
    with pytest.raises(DivergenceError, match="6 steps in a row"):
        for _ in range(10):
            run.step()


def test_a_spike_is_replayed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make(spike=8, steps=200)
    for _ in range(50):
        run.step()
    assert make.said == []
    spoil(run, monkeypatch, times=1, factor=100)
    run.step()
    assert "transient" in make.said[-1]


def test_a_snapshot_restores_the_very_state(make: Make) -> None:
    run = make()
    for _ in range(3):
        run.step()
    kept = run.snapshot()
    rest = [run.step().loss for _ in range(3)]
    other = make()
    other.restore(kept)
    assert [other.step().loss for _ in range(3)] == rest
    assert other.usual_norm == run.usual_norm
    assert make.said == []
    kept.state["environment"]["device"] = "gpu"
    other.restore(kept)
    assert make.said == [
        "the run goes on in another environment (device: 'gpu' there, 'cpu' here): last bits may differ"
    ]
    kept.state["settings"]["seed"] = 99
    with pytest.raises(CheckpointError, match="seed: 99 there, 1 here"):
        other.restore(kept)


@pytest.mark.parametrize("optimizer", ["adamw", "lamb"])
def test_it_learns(make: Make, optimizer: str) -> None:
    run = make(optimizer=optimizer, learning_rate=0.01, steps=40)
    losses = [run.step().loss for _ in range(30)]
    assert losses[-1] < losses[0] - 0.3


def test_clipping_is_by_the_norm_of_the_mean(make: Make) -> None:
    run = make(micro_batch=2)  # four micro-batches: gradients hold sums
    batch = run.stream.read()
    norm = run._gradient(batch, 1).norm
    whole = make(micro_batch=8)
    assert norm == pytest.approx(whole._gradient(batch, 1).norm, rel=1e-5)
    gradients = np.concatenate([g.asnumpy().reshape(-1) for g in whole.parameters.gradients()])
    assert norm == pytest.approx(float(np.linalg.norm(gradients)), rel=1e-5)
