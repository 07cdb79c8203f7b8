"""What one encoding process does: chunk of text in, token ids out.

Held-out documents are chosen by a hash of their text, so the same sentence never lies on both sides, whatever the
order of files.
"""

from __future__ import annotations

import array
import ctypes
import hashlib
import itertools
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.corpus.shards import token_type
from training.corpus.sources import Chunk, Reject, documents

_PR_SET_PDEATHSIG = 1
_HASH_RANGE = 1 << 64


@dataclass(frozen=True)
class WorkerSettings:
    """All that a worker needs to know."""

    tokenizer: Path
    separator: bytes
    held_out: float
    hashes: bool


@dataclass
class Part:
    """Documents of one split: ids back to back, ids of each document, bytes of text of each, and (if asked for)
    content hashes.
    """

    tokens: bytes
    sizes: np.ndarray[Any, np.dtype[np.int32]]
    text_sizes: np.ndarray[Any, np.dtype[np.int64]]
    hashes: np.ndarray[Any, np.dtype[np.uint64]] | None


@dataclass
class Encoded:
    """The result of one chunk."""

    train: Part
    held_out: Part
    rejects: list[Reject]
    empty: int
    seconds: float = 0.0


class Worker:
    """A loaded tokenizer. :meth:`encode` is a pure function of the chunk."""

    def __init__(self, settings: WorkerSettings) -> None:
        import sentencepiece

        self._settings = settings
        self._processor: Any = sentencepiece.SentencePieceProcessor(model_file=str(settings.tokenizer))
        self._typecode = {2: "H", 4: "i"}[token_type(int(self._processor.get_piece_size())).itemsize]
        self._threshold = int(settings.held_out * _HASH_RANGE)

    def encode(self, chunk: Chunk, json_field: str | None) -> Encoded:
        """Ids of every document of the chunk, each ended by ``</s>``, apart for training and held out."""
        found = documents(chunk, separator=self._settings.separator, json_field=json_field)
        # A list in one call costs a fifth less than a call for each line
        encode = self._processor.encode
        ids: list[list[int]] = encode(found.texts, num_threads=1, add_eos=True) if found.texts else []
        hashes = self._hashes(found.texts)
        held = hashes < np.uint64(self._threshold) if self._threshold else np.zeros(len(ids), np.bool_)
        sizes = np.array(found.sizes, np.int64)
        return Encoded(
            self._part(ids, hashes, sizes, choose=~held),
            self._part(ids, hashes, sizes, choose=held),
            found.rejects,
            found.empty,
        )

    def _hashes(self, texts: list[str]) -> np.ndarray[Any, np.dtype[np.uint64]]:
        if not (self._threshold or self._settings.hashes):
            return np.zeros(len(texts), np.uint64)
        joined = b"".join(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
        return np.frombuffer(joined, "<u8")

    def _part(
        self,
        ids: list[list[int]],
        hashes: np.ndarray[Any, np.dtype[np.uint64]],
        text_sizes: np.ndarray[Any, np.dtype[np.int64]],
        *,
        choose: np.ndarray[Any, np.dtype[np.bool_]],
    ) -> Part:
        chosen = list(itertools.compress(ids, choose.tolist()))
        tokens = array.array(self._typecode, itertools.chain.from_iterable(chosen))
        return Part(
            tokens.tobytes(),
            np.fromiter(map(len, chosen), np.int32, len(chosen)),
            text_sizes[choose],
            hashes[choose] if self._settings.hashes else None,
        )


_worker: Worker | None = None


def start(settings: WorkerSettings, parents_files: tuple[int, ...]) -> None:
    """Make this process a worker: it closes what it inherited, dies with its parent and leaves ctrl-C to it."""
    global _worker
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for descriptor in parents_files:
        os.close(descriptor)
    _worker = Worker(settings)


def encode(chunk: Chunk, json_field: str | None) -> Encoded:
    """Run in a worker process."""
    assert _worker is not None, "start() has not run in this process"
    return _worker.encode(chunk, json_field)
