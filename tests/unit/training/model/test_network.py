"""The network: numpy agrees with it, causality, the initial loss, and there and back in transformers' layout."""

from __future__ import annotations

import math

import mxnet as mx
import numpy as np
import pytest

from training.model import folder
from training.model.config import ModelConfig
from training.model.inference import Inference, erf, log_softmax
from training.model.network import GPT, TokenLoss, build, decays, named_parameters

CONFIG = ModelConfig(layers=2, units=32, heads=4, sequence=16, vocabulary=64)


def weights_of(network: GPT) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    return {name: parameter.data().asnumpy() for name, parameter in named_parameters(network).items()}


@pytest.fixture(scope="module")
def network() -> GPT:
    made = build(CONFIG, seed=1, context=mx.cpu())
    generator = np.random.default_rng(0)
    for parameter in named_parameters(made).values():  # far from the initial values, biases included
        parameter.set_data(mx.nd.array(generator.normal(0, 0.3, parameter.shape)))
    return made


def test_it_has_the_parameters_that_the_formula_says() -> None:
    made = build(CONFIG, seed=1, context=mx.cpu())
    assert sum(array.size for array in weights_of(made).values()) == CONFIG.parameters
    assert {name for name in weights_of(made) if decays(name)} == {
        "embedding",
        "positions",
        *(f"block{n}_{part}_weight" for n in range(2) for part in ("attention_qkv", "attention_out", "up", "down")),
    }


def test_initial_weights_depend_on_the_seed_alone() -> None:
    first, again, other = (weights_of(build(CONFIG, seed=seed, context=mx.cpu())) for seed in (1, 1, 2))
    assert all((first[name] == again[name]).all() for name in first)
    assert not (first["embedding"] == other["embedding"]).any()
    assert first["embedding"].std() == pytest.approx(0.02, rel=0.05)
    assert first["block0_down_weight"].std() == pytest.approx(0.02 / math.sqrt(4), rel=0.1)


def test_numpy_computes_the_same_logits(network: GPT) -> None:
    tokens = np.random.default_rng(1).integers(0, CONFIG.vocabulary, CONFIG.sequence)
    expected = network(mx.nd.array(tokens[:, None], dtype="int32")).asnumpy()[:, 0]
    inference = Inference(CONFIG, folder.to_hugging_face(weights_of(network), CONFIG))
    whole = inference.extend(tokens.tolist())
    assert np.abs(whole - expected).max() < 1e-4
    inference.reset()
    stepwise = np.concatenate([inference.extend([token]) for token in tokens.tolist()])
    assert np.abs(stepwise - expected).max() < 1e-4
    with pytest.raises(ValueError, match="at most 16 tokens"):
        inference.extend([1])


def test_a_token_does_not_see_what_follows(network: GPT) -> None:
    tokens = np.random.default_rng(2).integers(0, CONFIG.vocabulary, (CONFIG.sequence, 2))
    changed = tokens.copy()
    changed[9:] = (changed[9:] + 7) % CONFIG.vocabulary
    before, after = (network(mx.nd.array(t, dtype="int32")).asnumpy() for t in (tokens, changed))
    assert (before[:9] == after[:9]).all()
    assert (before[9:] != after[9:]).any()


def test_the_first_loss_is_that_of_guessing() -> None:
    losses = TokenLoss(build(CONFIG, seed=1, context=mx.cpu()))
    tokens, targets = (mx.nd.array(np.random.default_rng(s).integers(0, 64, (16, 8)), dtype="int32") for s in (3, 4))
    assert losses(tokens, targets).mean().asscalar() == pytest.approx(math.log(64), abs=0.1)


def test_there_and_back_in_transformers_layout_is_bit_identical(network: GPT) -> None:
    ours = weights_of(network)
    theirs = folder.to_hugging_face(ours, CONFIG)
    assert theirs["transformer.h.0.attn.c_attn.weight"].shape == (32, 96)
    back = folder.from_hugging_face_arrays(theirs, CONFIG)
    bare = folder.from_hugging_face_arrays({name.removeprefix("transformer."): a for name, a in theirs.items()}, CONFIG)
    for name, array in ours.items():
        assert back[name].tobytes() == bare[name].tobytes() == array.tobytes(), name


def test_the_error_function() -> None:
    points = np.linspace(-6, 6, 2001).astype(np.float32)
    exact = np.array([math.erf(float(x)) for x in points])
    assert np.abs(erf(points) - exact).max() < 3e-7


def test_log_softmax_sums_to_one() -> None:
    values = log_softmax(np.array([[1e4, 0, -1e4], [1, 2, 3]], np.float32))
    assert np.exp(values).sum(axis=-1) == pytest.approx([1, 1])
