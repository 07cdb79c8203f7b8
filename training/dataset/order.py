"""A seeded permutation of the numbers 0 .. n-1 that is computed, not stored.

Any element costs O(1) time and no memory, so a run can start at any position of any epoch at once, and every rank can
compute its own part without asking the others. A balanced Feistel network permutes the next power of four; numbers
that land outside are sent through again (cycle walking, fewer than four rounds trips on average). Idea: Black and
Rogaway, "Ciphers with arbitrary finite domains", 2002.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

Numbers = np.ndarray[Any, np.dtype[np.uint64]]
_ROUNDS = 6


def derive(*parts: int | str, bits: int = 64) -> int:
    """A number of `bits` bits that depends on all `parts` and on nothing else (not on Python's hash seed, not on the
    machine).
    """
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(
        hashlib.blake2b(text.encode(), digest_size=bits // 8, person=b"dure-order").digest(), "little"
    )


class Permutation:
    """A bijection of ``range(count)`` chosen by `seed`, `epoch` and `generation`, and by `part` if it is given."""

    def __init__(self, count: int, *, seed: int, epoch: int, generation: int, part: int | None = None) -> None:
        if count < 1:
            raise ValueError(f"cannot permute {count} things")
        self.count = count
        self._half = np.uint64(max(1, ((count - 1).bit_length() + 1) // 2))
        self._mask = np.uint64((1 << int(self._half)) - 1)
        chosen = (seed, epoch, generation) if part is None else (seed, epoch, generation, part)
        self._keys = [np.uint64(derive("round", r, *chosen)) for r in range(_ROUNDS)]

    def __call__(self, positions: Numbers | list[int]) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Where the elements at `positions` (each in ``range(count)``) come from."""
        values = np.atleast_1d(np.asarray(positions, np.uint64))
        if values.size and int(values.max()) >= self.count:
            raise ValueError(f"position {int(values.max())} is outside of a permutation of {self.count}")
        values = self._network(values)
        while (outside := values >= np.uint64(self.count)).any():
            values[outside] = self._network(values[outside])
        return values.astype(np.int64)

    def _network(self, values: Numbers) -> Numbers:
        left, right = values >> self._half, values & self._mask
        for key in self._keys:
            left, right = right, left ^ (_mix(right ^ key) & self._mask)
        return (left << self._half) | right


class Streamed:
    """The order of records that does not depend on text to come: shard after shard, each permuted by itself.

    ``counts`` are the records of the shards so far; with more shards behind them every position keeps its record.
    """

    def __init__(self, counts: Sequence[int], *, seed: int, epoch: int, generation: int) -> None:
        self._counts, self._chosen = list(counts), {"seed": seed, "epoch": epoch, "generation": generation}
        self._ends = np.cumsum(self._counts, dtype=np.int64)

    def __call__(self, positions: Numbers) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Record numbers of the elements at `positions`."""
        places = positions.astype(np.int64)
        shard_of = np.searchsorted(self._ends, places, side="right")
        records = np.empty(len(places), np.int64)
        for shard in np.unique(shard_of):
            rows = np.flatnonzero(shard_of == shard)
            first, count = int(self._ends[shard]) - self._counts[shard], self._counts[shard]
            permutation = Permutation(count, **self._chosen, part=int(shard))
            records[rows] = first + permutation((places[rows] - first).astype(np.uint64))
        return records


def _mix(values: Numbers) -> Numbers:
    """Stafford's variant 13 of the 64-bit finalizer of MurmurHash3 (arrays of numpy wrap around, as is meant here)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
