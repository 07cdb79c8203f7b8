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


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adamw_is_the_papers(fused: bool, decay: float) -> None:
    generator = np.random.default_rng(0)
    weights = [generator.normal(size=shape).astype(np.float32) for shape in ((5, 3), (7,))]
    gradients = [[generator.normal(size=w.shape).astype(np.float32) for w in weights] for _ in range(6)]
    optimizer = AdamW(beta1=0.9, beta2=0.95, epsilon=1e-3, weight_decay=decay, fused=fused)
    optimizer.set_learning_rate(0.05)
    optimizer.rescale_grad = 0.25
    arrays = [mx.nd.array(w) for w in weights]
    states = [optimizer.create_state(i, w) for i, w in enumerate(arrays)]
    for step, now in enumerate(gradients, 1):
        optimizer.step_number = step
        optimizer.update([0, 1], arrays, [mx.nd.array(g) for g in now], states)
    for index, weight in enumerate(weights):
        expected = reference(weight, [g[index] for g in gradients], rate=0.05, decay=decay, scale=0.25)
        assert np.abs(arrays[index].asnumpy() - expected).max() < 2e-6


def test_the_norm_is_over_all_tensors() -> None:
    assert squared_norm([mx.nd.array([3.0]), mx.nd.array([[4.0, 0.0]])]) == pytest.approx(25)


@pytest.mark.parametrize("shape", ["cosine", "linear"])
def test_the_rate_rises_and_falls(shape: str) -> None:
    schedule = Schedule(peak=1.0, warmup=10, steps=110, floor=0.1, shape=shape)
    rates = [schedule.rate(step) for step in range(1, 111)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == 1.0
    assert rates[-1] == pytest.approx(0.1)
    assert rates[59] == pytest.approx(0.55)
    assert all(a > b for a, b in itertools.pairwise(rates[9:]))


def test_lamb_is_the_papers() -> None:
    generator = np.random.default_rng(1)
    weight, bias = generator.normal(size=(4, 3)), generator.normal(size=5)
    optimizer = Lamb(beta1=0.9, beta2=0.95, epsilon=1e-6, weight_decay=0.1, fused=False)
    optimizer.set_learning_rate(0.02)
    optimizer.rescale_grad = 0.5
    optimizer.set_wd_mult({1: 0.0})
    arrays = [mx.nd.array(weight), mx.nd.array(bias)]
    states = [optimizer.create_state(i, array) for i, array in enumerate(arrays)]
    moments = [[np.zeros_like(w), np.zeros_like(w)] for w in (weight, bias)]
    expected = [weight.copy(), bias.copy()]
    for step in range(1, 4):
        gradients = [generator.normal(size=w.shape) for w in expected]
        optimizer.step_number = step
        optimizer.update([0, 1], arrays, [mx.nd.array(g) for g in gradients], states)
        for index, gradient in enumerate(gradients):
            g = gradient * 0.5
            m, v = moments[index]
            m[:], v[:] = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g * g
            direction = (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.95**step)) + 1e-6)
            ratio = 1.0
            if index == 0:
                direction = direction + 0.1 * expected[0]
                ratio = float(np.linalg.norm(expected[0]) / np.linalg.norm(direction))
            expected[index] -= 0.02 * ratio * direction
    for array, value in zip(arrays, expected, strict=True):
        assert np.abs(array.asnumpy() - value).max() < 1e-5
