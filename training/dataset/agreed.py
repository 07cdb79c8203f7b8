"""What all ranks of a run agree on about its corpus: how far it is, and that its shards are whole."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from training.corpus import manifest, shards
from training.dataset.stream import Sealed
from training.errors import ModelError, TrainingError


class Agreement(Protocol):
    """The part of :class:`training.collective.Ranks` that is needed here."""

    rank: int
    size: int

    def share(self, value: list[int], *, name: str) -> list[int]:
        """Rank 0's value."""

    def all_fine(self, problem: str, *, name: str) -> None:
        """An error on every rank if any has a problem."""


class AgreedCorpus:
    """A corpus as all ranks see it. Every method is collective."""

    def __init__(self, folder: Path, ranks: Agreement) -> None:
        self._folder, self._ranks = folder, ranks
        self._whole: set[str] = set()

    def sealed(self) -> Sealed:
        """How far rank 0 finds it."""
        corpus = manifest.read(self._folder)
        shards_, generations = self._ranks.share([len(corpus.shards), len(corpus.generations)], name="corpus.sealed")
        return Sealed(shards_, generations)

    def check(self, *, vocabulary: int) -> None:
        """An error on all ranks if a shard is damaged or the vocabulary is another one."""
        problem = ""
        found: list[shards.ShardInfo] = []
        try:
            corpus = manifest.read(self._folder)
            found = list(corpus.shards)
            if corpus.header.vocabulary != vocabulary:
                raise ModelError(
                    f"the corpus has a vocabulary of {corpus.header.vocabulary}, the model one of {vocabulary}"
                )
        except TrainingError as error:
            problem = str(error)
        self._ranks.all_fine(problem, name="corpus")
        self.check_shards(found)

    def check_shards(self, found: list[shards.ShardInfo]) -> None:
        """Hash this rank's part of the shards that are new here; an error on all ranks if one is damaged."""
        problem = ""
        new = [shard for shard in found if shard.name not in self._whole]
        try:
            for shard in new[self._ranks.rank :: self._ranks.size]:
                shards.verify(self._folder, shard)
        except TrainingError as error:
            problem = str(error)
        self._ranks.all_fine(problem, name="corpus.shards")
        self._whole |= {shard.name for shard in new}
