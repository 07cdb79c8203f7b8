"""How well a model predicts held-out text: bits per byte, perplexity, and what a unigram model would need for the
same tokens.

Bits per byte divides by the bytes of the text as it was given, so models with different tokenizers compare. The
unigram figure is the entropy of the evaluated tokens under their own frequencies: no model without context can do
better on them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from training.corpus import manifest
from training.corpus.manifest import Header
from training.corpus.shards import ShardInfo, open_tokens
from training.dataset.stream import BatchStream
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


def held_out(
    folder: Path, header: Header, shards: Sequence[ShardInfo], *, length: int, limit: int | None
) -> HeldOut | None:
    """The tokens of held-out shards (the first `limit` of them) in windows of `length`; None if there are none."""
    if not shards:
        return None
    tokens = np.concatenate([np.asarray(open_tokens(folder, shard), np.int32) for shard in shards])
    if int(tokens.max()) >= header.vocabulary or int(tokens.min()) < 0:
        raise ShardError(f"{folder}: held-out shards hold ids outside of the vocabulary of {header.vocabulary}")
    share = 1.0 if limit is None else min(1.0, limit / len(tokens))
    text_bytes = sum(shard.text_bytes for shard in shards) * share
    tokens = tokens[:limit]
    windows = -(-len(tokens) // length)
    targets = np.full(windows * length, -1, np.int32)
    targets[: len(tokens)] = tokens
    inputs = np.full(windows * length, header.end_id, np.int32)
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


class Sums(Protocol):
    """The part of :class:`training.collective.Ranks` that is needed here."""

    rank: int
    size: int

    def total(self, values: list[float], *, name: str) -> list[float]:
        """Sums over all ranks."""


class Evaluation:
    """Scores a run's model on the held-out text of the generation that it is in. ``limit`` bounds the tokens."""

    def __init__(
        self,
        folder: Path,
        stream: BatchStream,
        *,
        length: int,
        limit: int | None,
        batch: int,
        ranks: Sums,
        losses: Callable[[Any, Any], Any],
    ) -> None:
        self._folder, self._stream, self._length, self._limit = folder, stream, length, limit
        self._batch, self._ranks, self._losses = batch, ranks, losses
        self._data: HeldOut | None = None
        self._of: object = None

    def __call__(self) -> Score | None:
        """The score on the held-out text, or on what is encoded of it so far; None if there is none. Collective."""
        stream = self._stream
        here = (stream.position.generation, stream.sealed.shards if stream.growing else None)
        if here != self._of:
            corpus = manifest.read(self._folder)
            if stream.growing:
                found = [s for s in corpus.shards[: stream.sealed.shards] if s.split == "held-out" and s.tokens]
            else:
                found = corpus.of_generation(stream.position.generation, split="held-out")
            self._data = held_out(self._folder, corpus.header, found, length=self._length, limit=self._limit)
            self._of = here
        if self._data is None:
            return None
        return evaluate(
            self._data,
            batch=self._batch,
            rank=self._ranks.rank,
            size=self._ranks.size,
            losses=self._losses,
            total=lambda values: self._ranks.total(values, name="evaluation"),
        )
