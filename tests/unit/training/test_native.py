"""The C++ operators against the built-in ones: values, gradients, a whole model, and the build itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
import pytest

from training import native
from training.model.config import ModelConfig
from training.model.network import TokenLoss, build, named_parameters
from training.native import build as native_build
from training.optimizer import AdamW, squared_norm

pytestmark = pytest.mark.skipif(
    not native.library_path(native.OPERATORS).exists(), reason="python -m training.native.build has not run"
)


@pytest.fixture(autouse=True)
def loaded() -> None:
    assert native.load({})


def compare(ours: Callable[..., Any], theirs: Callable[..., Any], *inputs: Any, limit: float = 3e-6) -> None:
    """Outputs and gradients of both, relative to the largest value."""
    found = []
    for function in (ours, theirs):
        arrays = [mx.nd.array(array) for array in inputs]
        for array in arrays:
            array.attach_grad()
        with mx.autograd.record():
            out = function(*arrays)
            weight = mx.nd.array(np.random.default_rng(9).normal(size=out.shape))
            (out * weight).sum().backward()
        found.append([out.asnumpy(), *(array.grad.asnumpy() for array in arrays)])
    for one, other in zip(*found, strict=True):
        assert np.abs(one - other).max() <= limit * np.abs(other).max()


@pytest.mark.parametrize("shape", [(37, 3, 96), (5, 1, 130), (1, 1, 8)])
def test_layer_norm(shape: tuple[int, ...]) -> None:
    generator = np.random.default_rng(1)
    inputs = [generator.normal(size=size) for size in (shape, shape[-1:], shape[-1:])]
    compare(
        lambda x, g, b: mx.nd.dure_layer_norm(x, g, b)[0], lambda x, g, b: mx.nd.LayerNorm(x, g, b, eps=1e-5), *inputs
    )


@pytest.mark.parametrize(
    ("length", "batch", "heads", "width"), [(150, 2, 3, 32), (64, 1, 2, 16), (65, 2, 1, 8), (3, 1, 1, 4)]
)
def test_causal_attention(length: int, batch: int, heads: int, width: int) -> None:
    mask = mx.nd.array(np.triu(np.full((1, length, length), -1e9, np.float32), 1))

    def builtin(qkv: Any) -> Any:
        scores = mx.nd.contrib.interleaved_matmul_selfatt_qk(qkv, heads=heads)
        weights = mx.nd.softmax(mx.nd.broadcast_add(scores, mask), axis=-1)
        return mx.nd.contrib.interleaved_matmul_selfatt_valatt(qkv, weights, heads=heads)

    qkv = np.random.default_rng(2).normal(size=(length, batch, 3 * heads * width))
    compare(lambda x: mx.nd.dure_causal_attention(x, heads=str(heads))[0], builtin, qkv)


def test_cross_entropy() -> None:
    generator = np.random.default_rng(3)
    targets = mx.nd.array(generator.integers(0, 313, 50))
    logits = generator.normal(size=(50, 313)) * 3
    logits[0] += 80  # far from zero, where a careless sum of exponentials overflows
    logits[1] -= 200
    compare(
        lambda z: mx.nd.dure_cross_entropy(z, targets)[0],
        lambda z: -mx.nd.pick(mx.nd.log_softmax(z), targets),
        logits,
        limit=2e-6,
    )


def test_adamw() -> None:
    generator = np.random.default_rng(4)
    results = []
    for own in (True, False):
        optimizer = AdamW(beta1=0.9, beta2=0.95, epsilon=1e-8, weight_decay=0.1, fused=False, native=own)
        optimizer.set_learning_rate(0.01)
        weight = mx.nd.array(np.random.default_rng(5).normal(size=(40, 7)))
        state = optimizer.create_state(0, weight)
        for step in range(1, 5):
            optimizer.step_number = step
            optimizer.update(0, weight, mx.nd.array(np.random.default_rng(step).normal(size=(40, 7))), state)
        results.append(weight.asnumpy())
    assert np.abs(results[0] - results[1]).max() < 1e-6
    del generator


@pytest.mark.parametrize("shapes", [[(3,), (5, 7), (70000,)], [(1 << 14,)], [(2, 1 << 15)] * 60])
def test_sums_of_squares(shapes: list[tuple[int, ...]]) -> None:
    generator = np.random.default_rng(5)
    arrays = [generator.normal(size=shape).astype(np.float32) for shape in shapes]
    expected = sum(float((array.astype(np.float64) ** 2).sum()) for array in arrays)
    assert squared_norm([mx.nd.array(array) for array in arrays], native=True) == pytest.approx(expected, rel=1e-6)
    halves = [mx.nd.array(array, dtype="float16") for array in arrays]
    assert squared_norm(halves, native=True) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_a_sum_of_squares_shows_what_is_not_finite(bad: float) -> None:
    arrays = [mx.nd.ones((100_000,)), mx.nd.array([1.0, bad, 2.0])]
    assert not np.isfinite(squared_norm(arrays, native=True))


def test_a_whole_model_has_the_same_losses_and_gradients() -> None:
    config = ModelConfig(layers=2, units=32, heads=4, sequence=40, vocabulary=64)
    tokens, targets = (mx.nd.array(np.random.default_rng(s).integers(0, 64, (40, 3)), dtype="int32") for s in (6, 7))
    found = []
    for own in (True, False):
        network = build(config, seed=1, context=mx.cpu(), native=own)
        losses = TokenLoss(network)
        losses.hybridize(static_alloc=True, static_shape=True)
        for _ in range(2):  # the second time from the cached graph
            with mx.autograd.record():
                loss = losses(tokens, targets)
            loss.backward()
        found.append([loss.asnumpy(), *(p.grad().asnumpy() for _, p in sorted(named_parameters(network).items()))])
    assert len(found[0]) == len(found[1]) > 20
    for one, other in zip(*found, strict=True):
        assert np.abs(one - other).max() <= 1e-5 * np.abs(other).max()


def test_it_can_be_left_out() -> None:
    assert native.load({"DURE_NATIVE": "0"}) is False


def test_a_second_build_does_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    paths = [native.library_path(source) for source in (native.OPERATORS, native.WORDS)]
    before = [path.stat() for path in paths]
    assert native_build.main() == 0
    assert capsys.readouterr().out.count("is there already") == 2
    assert [path.stat() for path in paths] == before


def test_the_compiler_is_told_where_mxnets_own_blas_lies(tmp_path: Path) -> None:
    command = native_build.operators_command(tmp_path, tmp_path / "x.so", avx2=False)
    assert f"-Wl,-rpath,{tmp_path}" in command
    assert not any(part.startswith("-march") for part in command)
    assert command[0] == "g++"
