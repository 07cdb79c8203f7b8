"""Half precision as far as a CPU can show it: the loss scale, the master weights, and what the loop does with both."""

from __future__ import annotations

import math
from typing import Any

import mxnet as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.training.test_loop import Make, make, ranks
from training import checkpoint, loop
from training.checkpoint import Snapshot
from training.errors import DivergenceError, SettingsError
from training.loop import Pretraining
from training.model.config import ModelConfig
from training.model.network import build, initial_weights, named_parameters
from training.optimizer import AdamW, Lamb
from training.parameters import Parameters
from training.precision import FIRST_SCALE, GOOD_STEPS, LARGEST_SCALE, LEAST_SCALE, LossScale

__all__ = ["make", "ranks"]  # fixtures

CONFIG = ModelConfig(layers=1, units=8, heads=2, sequence=8, vocabulary=30)


@given(st.lists(st.booleans(), max_size=60), st.integers(0, GOOD_STEPS))
def test_the_scale_stays_a_power_of_two_within_its_bounds(overflows: list[bool], good: int) -> None:
    now = LossScale(good=min(good, GOOD_STEPS - 1))
    for overflowed in overflows:
        before, now = now, now.after(overflowed=overflowed)
        assert LEAST_SCALE <= now.scale <= LARGEST_SCALE
        assert math.log2(now.scale).is_integer()
        assert 0 <= now.good < GOOD_STEPS
        if overflowed:
            assert now == LossScale(max(LEAST_SCALE, before.scale / 2), 0)
        else:
            assert now.scale in (before.scale, min(LARGEST_SCALE, before.scale * 2))


@given(st.integers(0, GOOD_STEPS - 1), st.integers(0, 3 * GOOD_STEPS))
def test_it_doubles_after_so_many_good_steps_in_a_row(good: int, more: int) -> None:
    now = LossScale(good=good)
    for _ in range(more):
        now = now.after(overflowed=False)
    assert now.scale == FIRST_SCALE * 2 ** ((good + more) // GOOD_STEPS)
    assert now.after(overflowed=True).good == 0


def test_it_cannot_fall_below_one() -> None:
    now = LossScale()
    for _ in range(40):
        now = now.after(overflowed=True)
    assert now == LossScale(1.0, 0)
    assert not now.can_fall


def test_a_cpu_is_refused_with_the_reason(make: Make) -> None:
    with pytest.raises(SettingsError, match=r"needs a GPU, this rank is on cpu\(0\).*no half-precision kernel"):
        make(precision="fp16")


def test_the_network_is_cast_whole_and_its_mask_stays_finite() -> None:
    network = build(CONFIG, seed=1, context=mx.cpu(), half=True)
    values = {name: p.data().asnumpy() for name, p in network.collect_params().items()}
    assert {value.dtype for value in values.values()} == {np.dtype("float16")}
    assert all(np.isfinite(value).all() for value in values.values())
    mask = next(value for name, value in values.items() if name.endswith("mask"))
    assert mask.min() < -1e4
    assert mask[0, 3].tolist()[:4] == [0, 0, 0, 0]


class HalfModel:
    """Parameters in fp16 with a trainer, and gradients that are a function of the step."""

    def __init__(self, kind: type[AdamW | Lamb]) -> None:
        network = build(CONFIG, seed=1, context=mx.cpu(), half=True)
        self.parameters = Parameters(named_parameters(network), context=mx.cpu())
        optimizer = kind(beta1=0.9, beta2=0.95, epsilon=1e-8, weight_decay=0.1, fused=True)
        self.trainer = mx.gluon.Trainer(self.parameters.named, optimizer, kvstore=None)
        self.parameters.attach(self.trainer)
        self.parameters.set_weights(initial_weights(network, seed=1))
        self.optimizer = optimizer

    def steps(self, first: int, last: int) -> None:
        for step in range(first, last + 1):
            generator = np.random.default_rng(step)
            for parameter in self.parameters.named.values():
                parameter.grad()[:] = mx.nd.array(generator.normal(size=parameter.shape), dtype="float16")
                parameter.data()._fresh_grad = True
            self.optimizer.step_number = step
            self.optimizer.set_learning_rate(1e-4)
            self.trainer.update(1)

    def used(self) -> dict[str, Any]:
        """What the network computes with."""
        return {name: parameter.data().asnumpy() for name, parameter in self.parameters.named.items()}


@pytest.mark.parametrize("kind", [AdamW, Lamb])
def test_a_checkpoint_holds_the_master_weights(kind: type[AdamW | Lamb], tmp_path: Any) -> None:
    whole, first, second = HalfModel(kind), HalfModel(kind), HalfModel(kind)
    whole.steps(1, 6)
    first.steps(1, 3)
    kept = Snapshot(3, first.parameters.weights(), first.parameters.moments(), {})
    assert {array.dtype for array in kept.weights.values()} == {np.dtype("float32")}
    loaded = checkpoint.load(checkpoint.write(tmp_path, kept))
    second.parameters.set_weights(loaded.weights)
    second.parameters.set_moments(loaded.optimizer)
    second.steps(4, 6)
    for mine, theirs in (
        (second.parameters.weights(), whole.parameters.weights()),
        (second.parameters.moments(), whole.parameters.moments()),
        (second.used(), whole.used()),
    ):
        assert mine.keys() == theirs.keys()
        assert all((mine[name] == theirs[name]).all() for name in mine)
    assert all(
        (value == whole.parameters.weights()[name].astype("float16")).all() for name, value in whole.used().items()
    )


@pytest.fixture
def half(make: Make, monkeypatch: pytest.MonkeyPatch) -> Pretraining:
    """A run in fp16 whose forward and backward passes, which no CPU can do, are replaced by made-up gradients."""
    monkeypatch.setattr(loop, "refuse_where_impossible", lambda precision, context: None)
    return fake_passes(make(precision="fp16", clip=1e9), monkeypatch)


def fake_passes(run: Pretraining, monkeypatch: pytest.MonkeyPatch) -> Pretraining:
    def backward(batch: Any, *, scale: float) -> float:
        generator = np.random.default_rng(int(batch.sum()))
        for parameter, gradient in zip(run.parameters.named.values(), run.parameters.gradients(), strict=True):
            small = generator.normal(size=gradient.shape) * 4
            gradient[:] = mx.nd.array((small * scale).astype(np.float16), dtype="float16")
            parameter.data()._fresh_grad = True
        return 3.0

    monkeypatch.setattr(run, "_backward", backward)
    return run


def test_an_overflow_costs_its_step_and_halves_the_scale(half: Pretraining, make: Make) -> None:
    assert half.loss_scale == LossScale(2.0**15)  # times 4 is more than fp16 holds
    before, results = half.parameters.weights(), []
    while half.skipped_steps == 0 or results[-1].skipped:
        results.append(half.step())
        if results[-1].skipped:
            assert all((value == before[name]).all() for name, value in half.parameters.weights().items())
    assert [r.loss_scale for r in results] == [2.0 ** (15 - n) for n in range(len(results))]
    assert results[-1].skipped_steps == len(results) - 1 == half.skipped_steps
    assert half.step_number == len(results)
    assert any((value != before[name]).any() for name, value in half.parameters.weights().items())
    assert make.said == []  # an overflow is no bad step: nothing is replayed
    assert results[-1].gradient_norm == pytest.approx(4 * math.sqrt(half.settings.model.parameters), rel=0.05)


def test_scale_and_skips_survive_a_resume(half: Pretraining, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(6):
        half.step()
    kept = half.snapshot()
    assert kept.state["loss_scale"]["scale"] < FIRST_SCALE
    rest = [half.step() for _ in range(3)]
    other = fake_passes(make(precision="fp16", clip=1e9), monkeypatch)
    other.restore(kept)
    again = [other.step() for _ in range(3)]
    assert [(r.gradient_norm, r.loss_scale, r.skipped_steps) for r in again] == [
        (r.gradient_norm, r.loss_scale, r.skipped_steps) for r in rest
    ]
    assert all((v == other.parameters.weights()[name]).all() for name, v in half.parameters.weights().items())


def test_all_ranks_skip_when_another_one_overflowed(half: Pretraining, monkeypatch: pytest.MonkeyPatch) -> None:
    half.loss_scale = LossScale(2.0)
    before = half.parameters.weights()
    monkeypatch.setattr(half.ranks, "total", lambda values, name: [values[0], values[1] + 1, *values[2:]])
    result = half.step()
    assert result.skipped
    assert math.isfinite(result.gradient_norm)
    assert half.loss_scale == LossScale(1.0)
    assert all((value == before[name]).all() for name, value in half.parameters.weights().items())


def test_what_no_scale_mends_is_a_bad_step(half: Pretraining, monkeypatch: pytest.MonkeyPatch, make: Make) -> None:
    half.loss_scale = LossScale(1.0)
    real = half._backward

    def broken(batch: Any, *, scale: float) -> float:
        real(batch, scale=scale)
        half.parameters.gradients()[0][:] = math.inf
        return 3.0

    monkeypatch.setattr(half, "_backward", broken)
    with pytest.raises(DivergenceError, match="6 steps in a row"):
        for _ in range(10):
            half.step()
    assert "the same again" in make.said[0]
