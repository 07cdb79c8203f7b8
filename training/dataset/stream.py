"""The endless stream of global batches, and the position in it that a checkpoint keeps.

Batch b of an epoch holds the records at places b * size .. (b + 1) * size - 1 of that epoch's order. Nothing depends
on the number of ranks. When an epoch ends, the newest generation of the corpus is asked for: text added meanwhile
joins there, on all ranks alike.

The order of an epoch is a permutation of all its records, which exists only when the last of them does. In the order
"streamed" the first epoch instead goes shard by shard (see :class:`training.dataset.order.Streamed`): its batches can
be read while the corpus' first generation is still being encoded, and are those that a later run would read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.corpus import manifest
from training.corpus.shards import ShardInfo
from training.dataset.order import Permutation, Streamed
from training.dataset.records import Batch, Records, share
from training.errors import SettingsError

ORDERS = ("global", "streamed")
_AHEAD = 4096  # positions of an epoch whose record numbers are computed together


@dataclass(frozen=True)
class Position:
    """Where the next batch lies: `batch` of `epoch` (both from 0), over the corpus as of `generation`."""

    epoch: int
    batch: int
    generation: int


@dataclass(frozen=True)
class Sealed:
    """How far a corpus is: shards in its manifest, and generations."""

    shards: int
    generations: int


class BatchStream:
    """Reads one rank's part of global batches.

    `look` says how far the corpus is and must answer alike on all ranks; `check` is called with the shards of every
    epoch before they are read. `left_out` holds (epoch, batch) pairs that are passed over.
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
        look: Callable[[], Sealed],
        order: str = "global",
        check: Callable[[list[ShardInfo]], None] = lambda shards: None,
    ) -> None:
        self._folder, self._length, self._global_batch, self._seed = folder, length, global_batch, seed
        self._mine, self._look, self._check = share(global_batch, rank=rank, size=size), look, check
        self._streamed = order == "streamed"
        self.position = Position(-1, 0, 0)
        self.sealed = Sealed(0, 0)
        self.left_out: set[tuple[int, int]] = set()
        self._batches = 0

    def seek(self, position: Position | None) -> None:
        """Stand at `position`, or at the very beginning."""
        self.sealed = self._look()
        if position is None:
            if not self.sealed.generations and not self._streamed:
                raise SettingsError(
                    f"{self._folder} is still being encoded for the first time; wait for its end, or begin at once "
                    "with --order streamed"
                )
            position = Position(0, 0, self.sealed.generations or 1)
        self._open(position)
        self._settle()

    @property
    def growing(self) -> bool:
        """Whether the present epoch's text is still being encoded."""
        return self._streamed and self.position.generation == 1 and not self.sealed.generations

    def _open(self, position: Position) -> None:
        corpus = manifest.read(self._folder)
        self.position = position
        if self.growing:
            shards = [s for s in corpus.shards[: self.sealed.shards] if s.split == "train" and s.tokens]
        else:
            shards = corpus.of_generation(position.generation, split="train")
        self._check(shards)
        self._records = Records(self._folder, shards, length=self._length, seed=self._seed, epoch=position.epoch)
        self._batches = self._records.count // self._global_batch
        if not self._batches and not self.growing:
            raise SettingsError(
                f"{self._folder} holds {self._records.count} records of {self._length} tokens, fewer than "
                "one global batch of "
                f"{self._global_batch}: encode more text, or lower --global-batch or --sequence"
            )
        self._order = self._order_of(position)
        self._block: tuple[int, np.ndarray[Any, np.dtype[np.int64]]] = (0, np.zeros(0, np.int64))

    def _order_of(self, position: Position) -> Callable[[Any], np.ndarray[Any, np.dtype[np.int64]]]:
        epoch, generation = position.epoch, position.generation
        if self._streamed and epoch == 0:
            return Streamed(self._records.counts, seed=self._seed, epoch=epoch, generation=generation)
        return Permutation(self._records.count, seed=self._seed, epoch=epoch, generation=generation)

    def _settle(self) -> None:
        """Pass over what is left out, and over the end of an epoch that has one."""
        while True:
            here = self.position
            if not self.growing and here.batch >= self._batches:
                self.sealed = self._look()
                self._open(Position(here.epoch + 1, 0, self.sealed.generations))
            elif (here.epoch, here.batch) in self.left_out:
                self.position = Position(here.epoch, here.batch + 1, here.generation)
            else:
                return

    def ready(self) -> bool:
        """Whether the batch at the present position is encoded; looks again if it was not. Collective."""
        if self.growing and self.position.batch >= self._batches:
            before, self.sealed = self.sealed, self._look()
            if self.sealed != before:
                self._open(self.position)
                self._settle()
        return self.position.batch < self._batches

    def numbers(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Record numbers of the whole global batch at the present position."""
        first, end = (self._global_batch * (self.position.batch + more) for more in (0, 1))
        begin, block = self._block
        if not begin <= first or end > begin + len(block):
            # Many at once: a call of the permutation costs as much for a thousand positions as for one
            last = min(self._batches * self._global_batch, first + max(_AHEAD, self._global_batch))
            begin, block = first, self._order(np.arange(first, last, dtype=np.uint64))
            self._block = begin, block
        return block[first - begin : end - begin]

    def read(self) -> Batch:
        """This rank's part of the batch at the present position: (records, length + 1) ids. Does not move."""
        return self._records.read(self.numbers()[self._mine])

    def advance(self) -> None:
        """Go on to the next batch; at the end of an epoch, to the next epoch and the newest generation."""
        here = self.position
        self.position = Position(here.epoch, here.batch + 1, here.generation)
        self._settle()

    def leave_out(self, batches: Iterable[tuple[int, int]]) -> None:
        """Never read these (epoch, batch) pairs, from the present position on."""
        self.left_out |= set(batches)
        self._settle()

    @property
    def batches_per_epoch(self) -> int:
        """Global batches in the present epoch, of those encoded so far."""
        return self._batches
