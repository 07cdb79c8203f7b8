"""AdamW against its definition in double precision, and the schedule."""

from __future__ import annotations

import itertools
from typing import Any

import mxnet as mx
import numpy as np
import pytest

from training.optimizer import AdamW, Lamb, Schedule, squared_norm

Array = np.ndarray[Any, Any]


def reference(weight: Array, gradients: list[Array], *, rate: float, decay: float, scale: float) -> Array:
    w = weight.astype(np.float64)
    m, v = np.zeros_like(w), np.zeros_like(w)
    for step, gradient in enumerate(gradients, 1):
        g = gradient.astype(np.float64) * scale
        m, v = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g * g
        w *= 1 - rate * decay
        w -= rate * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.95**step)) + 1e-3)
    return w


class Case:
    """Two weights, one with decay and one without, and the gradients of a few steps."""

    def __init__(self, *, dtype: str, steps: int) -> None:
        generator = np.random.default_rng(0)
        self.dtype, self.decays = dtype, {0: 1.0, 1: 0.0}
        self.weights = [generator.normal(size=shape).astype(np.float32) for shape in ((5, 3), (7,))]
        self.gradients = [[generator.normal(size=w.shape).astype(dtype) for w in self.weights] for _ in range(steps)]

    def run(self, optimizer: AdamW | Lamb) -> tuple[list[Array], list[Array]]:
        """Weights in full precision after all steps, and the weights that the network would compute with."""
        optimizer.set_learning_rate(0.05)
        optimizer.rescale_grad = 0.25
        optimizer.set_wd_mult(self.decays)
        arrays = [mx.nd.array(w).astype(self.dtype) for w in self.weights]
        states = [optimizer.create_state(i, w) for i, w in enumerate(arrays)]
        for state, weight in zip(states, self.weights, strict=True):
            if len(state) == 3:
                state[2][:] = weight
        for step, now in enumerate(self.gradients, 1):
            optimizer.step_number = step
            optimizer.update([0, 1], arrays, [mx.nd.array(g, dtype=self.dtype) for g in now], states)
        used = [array.asnumpy() for array in arrays]
        return [state[2].asnumpy() if len(state) == 3 else w for state, w in zip(states, used, strict=True)], used


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adamw_is_the_papers(fused: bool, decay: float, dtype: str) -> None:
    case = Case(dtype=dtype, steps=6)
    full, used = case.run(AdamW(beta1=0.9, beta2=0.95, epsilon=1e-3, weight_decay=decay, fused=fused))
    for index, weight in enumerate(case.weights):
        gradients = [g[index] for g in case.gradients]
        expected = reference(weight, gradients, rate=0.05, decay=decay * case.decays[index], scale=0.25)
        assert np.abs(full[index] - expected).max() < 2e-6
        assert (used[index] == full[index].astype(dtype)).all()  # the network's are the rounded master weights


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("fused", [False, True])
def test_lamb_is_the_papers(fused: bool, dtype: str) -> None:
    case = Case(dtype=dtype, steps=4)
    full, used = case.run(Lamb(beta1=0.9, beta2=0.95, epsilon=1e-6, weight_decay=0.1, fused=fused))
    for index, weight in enumerate(case.weights):
        w = weight.astype(np.float64)
        m, v = np.zeros_like(w), np.zeros_like(w)
        for step, gradients in enumerate(case.gradients, 1):
            g = gradients[index].astype(np.float64) * 0.25
            m, v = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g * g
            direction = (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.95**step)) + 1e-6)
            ratio = 1.0
            if index == 0:  # the other has no decay: Adam's plain step
                direction = direction + 0.1 * w
                ratio = float(np.linalg.norm(w) / np.linalg.norm(direction))
            w -= 0.05 * ratio * direction
        # With half precision MXNet's fused operator takes the norm of the rounded weights for that of the master ones
        assert np.abs(full[index] - w).max() < (1e-4 if fused and dtype == "float16" else 1e-5)
        assert (used[index] == full[index].astype(dtype)).all()


def test_small_steps_are_not_lost_to_half_precision() -> None:
    optimizer = AdamW(beta1=0.9, beta2=0.95, epsilon=1e-8, weight_decay=0.0, fused=True)
    optimizer.set_learning_rate(1e-5)  # fp16 has no number between 1 and 1.001
    weight, gradient = (mx.nd.ones((3,)).astype("float16") for _ in range(2))
    state = optimizer.create_state(0, weight)
    for step in range(1, 101):
        optimizer.step_number = step
        optimizer.update(0, weight, gradient, state)
    assert state[2].asnumpy() == pytest.approx(1 - 1e-3, abs=1e-5)
    assert (weight.asnumpy() < 1).all()


def test_the_norm_is_over_all_tensors() -> None:
    assert squared_norm([mx.nd.array([3.0]), mx.nd.array([[4.0, 0.0]])]) == pytest.approx(25)


def test_the_norm_of_half_precision_gradients_does_not_overflow() -> None:
    gradients = [mx.nd.array([30000.0, 40000.0], dtype="float16"), mx.nd.array([0.0], dtype="float16")]
    assert squared_norm(gradients) == pytest.approx(50000.0**2, rel=1e-3)
    assert not np.isfinite(squared_norm([mx.nd.array([np.inf], dtype="float16")]))


@pytest.mark.parametrize("shape", ["cosine", "linear"])
def test_the_rate_rises_and_falls(shape: str) -> None:
    schedule = Schedule(peak=1.0, warmup=10, steps=110, floor=0.1, shape=shape)
    rates = [schedule.rate(step) for step in range(1, 111)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == 1.0
    assert rates[-1] == pytest.approx(0.1)
    assert rates[59] == pytest.approx(0.55)
    assert all(a > b for a, b in itertools.pairwise(rates[9:]))
