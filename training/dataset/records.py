"""Records: windows of ``length + 1`` ids over the shards of one generation (inputs and, one further, targets).

Within a shard, record i starts ``i * length`` ids after the shard's offset of this epoch; windows overlap by one id,
so each id is a target at most once an epoch. What does not fill a last window is left out, and the offset (a function
of seed, epoch and shard) lets a different rest fall out in each epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.corpus.shards import ShardInfo, Tokens, open_tokens
from training.dataset.order import derive
from training.errors import SettingsError

Batch = np.ndarray[Any, np.dtype[np.int32]]


class Records:
    """All records of a list of shards in one epoch. Maps files read-only; holds no tokens itself."""

    def __init__(self, folder: Path, shards: Sequence[ShardInfo], *, length: int, seed: int, epoch: int) -> None:
        self.length = length
        self._windows: list[Tokens] = []
        counts = []
        for number, shard in enumerate(shards):
            count = max(0, (shard.tokens - 1) // length)
            if not count:
                continue
            rest = shard.tokens - 1 - count * length
            start = derive("offset", seed, epoch, number) % (rest + 1)
            tokens = open_tokens(folder, shard)[start : start + count * length + 1]
            self._windows.append(np.lib.stride_tricks.sliding_window_view(tokens, length + 1)[::length])
            counts.append(count)
        self.counts = tuple(counts)  # records of each shard that has any
        self._ends = np.cumsum(counts, dtype=np.int64)
        self.count = int(self._ends[-1]) if counts else 0

    def read(self, numbers: np.ndarray[Any, np.dtype[np.int64]]) -> Batch:
        """The records with these numbers: (records, length + 1) ids."""
        shard_of = np.searchsorted(self._ends, numbers, side="right")
        used = np.unique(shard_of)
        if len(used) == 1:  # by far the most frequent case with large shards
            rows_of_one: Batch = self._windows[used[0]][numbers - self._first(used[0])].astype(np.int32)
            return rows_of_one
        out = np.empty((len(numbers), self.length + 1), np.int32)
        for shard in used:
            rows = np.flatnonzero(shard_of == shard)
            out[rows] = self._windows[shard][numbers[rows] - self._first(shard)]
        return out

    def _first(self, shard: int) -> int:
        return int(self._ends[shard - 1]) if shard else 0


def share(total: int, *, rank: int, size: int) -> slice:
    """The part of a global batch of `total` records that is `rank`'s; SettingsError unless all ranks get the same
    number.
    """
    if total % size:
        raise SettingsError(
            f"a global batch of {total} records cannot be divided among {size} ranks; use a multiple of {size}"
        )
    part = total // size
    return slice(rank * part, (rank + 1) * part)
