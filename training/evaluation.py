"""How well a model predicts held-out text: bits per byte, perplexity, and what a unigram model would need for the
same tokens.

Bits per byte divides by the bytes of the text as it was given, so models with different tokenizers compare. The
unigram figure is the entropy of the evaluated tokens under their own frequencies: no model without context can do
better on them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.corpus.manifest import Manifest
from training.corpus.shards import open_tokens
from training.errors import ShardError


@dataclass(frozen=True)
class HeldOut:
    """Windows that predict each held-out token once. ``targets`` is -1 where a window is filled up; ``text_bytes``
    belong to the tokens.
    """

    inputs: np.ndarray[Any, np.dtype[np.int32]]
    targets: np.ndarray[Any, np.dtype[np.int32]]
    tokens: int
    text_bytes: float
    unigram_bits: float


@dataclass(frozen=True)
class Score:
    """Figures of one evaluation."""

    bits_per_byte: float
    perplexity: float
    unigram_bits_per_byte: float
    tokens: int

    def __str__(self) -> str:
        return (
            f"held-out bits per byte {self.bits_per_byte:.4f} (unigram {self.unigram_bits_per_byte:.4f}), "
            f"perplexity {self.perplexity:.2f}, {self.tokens:,} tokens"
        )


def held_out(folder: Path, manifest: Manifest, *, generation: int, length: int, limit: int | None) -> HeldOut | None:
    """The held-out tokens of a generation (the first `limit` of them) in windows of `length`; None if "
    "there are none."""
    shards = manifest.of_generation(generation, split="held-out")
    if not shards:
        return None
    tokens = np.concatenate([np.asarray(open_tokens(folder, shard), np.int32) for shard in shards])
    if int(tokens.max()) >= manifest.header.vocabulary or int(tokens.min()) < 0:
        raise ShardError(
            f"{folder}: held-out shards hold ids outside of the vocabulary of {manifest.header.vocabulary}"
        )
    share = 1.0 if limit is None else min(1.0, limit / len(tokens))
    text_bytes = sum(shard.text_bytes for shard in shards) * share
    tokens = tokens[:limit]
    windows = -(-len(tokens) // length)
    targets = np.full(windows * length, -1, np.int32)
    targets[: len(tokens)] = tokens
    inputs = np.full(windows * length, manifest.header.end_id, np.int32)
    inputs[1 : len(tokens)] = tokens[:-1]  # the very first token follows an end of text
    counts = np.bincount(tokens)
    counts = counts[counts > 0]
    bits = float(-(counts * np.log2(counts / len(tokens))).sum())
    return HeldOut(inputs.reshape(windows, length), targets.reshape(windows, length), len(tokens), text_bytes, bits)


def evaluate(
    data: HeldOut,
    *,
    batch: int,
    rank: int,
    size: int,
    losses: Callable[[Any, Any], Any],
    total: Callable[[list[float]], list[float]],
) -> Score:
    """Average `losses` (natural log, one a token, for arrays of `batch` windows) over all windows, each computed by
    one rank.
    """
    sums = 0.0
    mine = range(rank * batch, len(data.inputs), size * batch)
    for first in mine:
        rows = np.arange(first, first + batch).clip(max=len(data.inputs) - 1)
        targets = np.where((np.arange(first, first + batch) < len(data.inputs))[:, None], data.targets[rows], -1)
        loss = losses(data.inputs[rows], np.maximum(targets, 0))
        sums += float(loss[targets >= 0].sum(dtype=np.float64))
    nats = total([sums])[0]
    if not nats >= 0:
        raise FloatingPointError(
            f"a perplexity below 1 is impossible: the summed loss of {data.tokens} tokens is {nats}"
        )
    bits = nats / math.log(2)
    return Score(
        bits / data.text_bytes,
        math.exp(min(700.0, nats / data.tokens)),
        data.unigram_bits / data.text_bytes,
        data.tokens,
    )
