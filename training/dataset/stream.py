"""The endless stream of global batches, and the position in it that a checkpoint keeps.

Batch b of an epoch holds the records at places b * size .. (b + 1) * size - 1 of that epoch's permutation. Nothing
depends on the number of ranks. When an epoch ends, the newest generation of the corpus is asked for: text added
meanwhile joins there, on all ranks alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.corpus import manifest
from training.dataset.order import Permutation
from training.dataset.records import Batch, Records, share
from training.errors import SettingsError

_AHEAD = 4096  # positions of an epoch whose record numbers are computed together


@dataclass(frozen=True)
class Position:
    """Where the next batch lies: `batch` of `epoch` (both from 0), over the corpus as of `generation`."""

    epoch: int
    batch: int
    generation: int


class BatchStream:
    """Reads one rank's part of global batches. `newest` returns the newest generation and must answer alike on all
    ranks.
    """

    def __init__(
        self,
        folder: Path,
        *,
        length: int,
        global_batch: int,
        seed: int,
        rank: int,
        size: int,
        newest: Callable[[], int],
    ) -> None:
        self._folder, self._length, self._global_batch, self._seed = folder, length, global_batch, seed
        self._mine, self._newest = share(global_batch, rank=rank, size=size), newest
        self.position = Position(-1, 0, 0)
        self._batches = 0

    def seek(self, position: Position | None) -> None:
        """Stand at `position`, or at the very beginning."""
        self._open(position or Position(0, 0, self._newest()))

    def _open(self, position: Position) -> None:
        shards = manifest.read(self._folder).of_generation(position.generation, split="train")
        self._records = Records(self._folder, shards, length=self._length, seed=self._seed, epoch=position.epoch)
        self._batches = self._records.count // self._global_batch
        if not self._batches:
            raise SettingsError(
                f"{self._folder} holds {self._records.count} records of {self._length} tokens, fewer than "
                "one global batch of "
                f"{self._global_batch}: encode more text, or lower --global-batch or --sequence"
            )
        self._permutation = Permutation(
            self._records.count, seed=self._seed, epoch=position.epoch, generation=position.generation
        )
        self._block: tuple[int, np.ndarray[Any, np.dtype[np.int64]]] = (0, np.zeros(0, np.int64))
        self.position = position

    def numbers(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Record numbers of the whole global batch at the present position."""
        first, end = (self._global_batch * (self.position.batch + more) for more in (0, 1))
        begin, block = self._block
        if not begin <= first or end > begin + len(block):
            # Many at once: a call of the permutation costs as much for a thousand positions as for one
            last = min(self._batches * self._global_batch, first + max(_AHEAD, self._global_batch))
            begin, block = first, self._permutation(np.arange(first, last, dtype=np.uint64))
            self._block = begin, block
        return block[first - begin : end - begin]

    def read(self) -> Batch:
        """This rank's part of the batch at the present position: (records, length + 1) ids. Does not move."""
        return self._records.read(self.numbers()[self._mine])

    def advance(self) -> None:
        """Go on to the next batch; at the end of an epoch, to the next epoch and the newest generation."""
        here = self.position
        if here.batch + 1 < self._batches:
            self.position = Position(here.epoch, here.batch + 1, here.generation)
        else:
            self._open(Position(here.epoch + 1, 0, self._newest()))

    @property
    def batches_per_epoch(self) -> int:
        """Global batches in the present epoch."""
        return self._batches
