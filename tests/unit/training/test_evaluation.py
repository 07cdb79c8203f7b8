"""Bits per byte over held-out text: every token once, whatever the batch and the number of ranks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.corpus import manifest, shards
from training.evaluation import HeldOut, Score, evaluate, held_out


def load(folder: Path, *, length: int = 48, limit: int | None = None) -> HeldOut:
    corpus = manifest.read(folder)
    shards = corpus.of_generation(1, split="held-out")
    found = held_out(folder, corpus.header, shards, length=length, limit=limit)
    assert found is not None
    return found


def test_each_token_is_a_target_once(corpus_folder: Path) -> None:
    corpus = manifest.read(corpus_folder)
    tokens = np.concatenate([shards.open_tokens(corpus_folder, s) for s in corpus.of_generation(1, split="held-out")])
    data = load(corpus_folder)
    assert data.targets[data.targets >= 0].tolist() == tokens.tolist()
    assert data.inputs.reshape(-1)[0] == 1
    assert data.inputs.reshape(-1)[1 : len(tokens)].tolist() == tokens[:-1].tolist()
    assert data.text_bytes == sum(s.text_bytes for s in corpus.of_generation(1, split="held-out"))


def test_the_unigram_figure_is_the_entropy(corpus_folder: Path) -> None:
    data = load(corpus_folder)
    tokens = data.targets[data.targets >= 0]
    counts = np.bincount(tokens)
    logs = np.log2(counts, where=counts > 0, out=np.zeros(len(counts))) - math.log2(len(tokens))
    assert data.unigram_bits == pytest.approx(-logs[tokens].sum())


@pytest.mark.parametrize(("batch", "size"), [(1, 1), (4, 1), (3, 2), (8, 4)])
def test_a_uniform_model_has_the_logarithm(corpus_folder: Path, batch: int, size: int) -> None:
    data = load(corpus_folder)
    sums: list[float] = []

    def losses(inputs: Any, targets: Any) -> Any:
        assert inputs.shape == targets.shape == (batch, 48)
        return np.full(targets.shape, math.log(512), np.float32)

    def gather(values: list[float]) -> list[float]:
        sums.extend(values)
        return [sum(sums)]

    score: Score | None = None
    for rank in range(size):
        score = evaluate(data, batch=batch, rank=rank, size=size, losses=losses, total=gather)
    assert score is not None
    assert score.perplexity == pytest.approx(512, rel=1e-5)
    assert score.bits_per_byte == pytest.approx(9 * data.tokens / data.text_bytes, rel=1e-5)


def test_a_limit_takes_bytes_in_proportion(corpus_folder: Path) -> None:
    data = load(corpus_folder, limit=100)
    assert data.tokens == 100
    assert data.text_bytes == pytest.approx(load(corpus_folder).text_bytes * 100 / load(corpus_folder).tokens)


@pytest.mark.parametrize("bad", [-0.1, math.nan])
def test_an_impossible_perplexity_is_refused(corpus_folder: Path, bad: float) -> None:
    def losses(inputs: Any, targets: Any) -> Any:
        return np.full(targets.shape, bad)

    with pytest.raises(FloatingPointError, match="below 1 is impossible"):
        evaluate(load(corpus_folder), batch=2, rank=0, size=1, losses=losses, total=list)
