"""What one encoding process does: chunk of text in, token ids out.

Held-out documents are chosen by a hash of their text, so the same sentence never lies on both sides, whatever the
order of files.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.corpus.shards import token_type
from training.corpus.sources import Chunk, Reject, documents
from training.corpus.words import Ids, Sizes, encode_whole, make

_PR_SET_PDEATHSIG = 1
_HASH_RANGE = 1 << 64


@dataclass(frozen=True)
class WorkerSettings:
    """All that a worker needs to know. ``words`` is the library of training.corpus.words, None to do without."""

    tokenizer: Path
    end_id: int
    words: Path | None
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

    def chosen(self, keep: np.ndarray[Any, np.dtype[np.bool_]], *, token_bytes: int) -> Part:
        """Only the documents for which `keep` is true."""
        if keep.all():
            return self
        tokens = np.frombuffer(self.tokens, f"V{token_bytes}")
        return Part(
            tokens[np.repeat(keep, self.sizes)].tobytes(),
            self.sizes[keep],
            self.text_sizes[keep],
            None if self.hashes is None else self.hashes[keep],
        )


@dataclass
class Encoded:
    """The result of one chunk."""

    train: Part
    held_out: Part
    rejects: list[Reject]
    empty: int


class Worker:
    """A loaded tokenizer. :meth:`encode` is a pure function of the chunk."""

    def __init__(self, settings: WorkerSettings) -> None:
        import sentencepiece

        self._settings = settings
        self._processor: Any = sentencepiece.SentencePieceProcessor(model_file=str(settings.tokenizer))
        self._kind = token_type(int(self._processor.get_piece_size()))
        self._threshold = int(settings.held_out * _HASH_RANGE)
        self._words = None
        if settings.words is not None:
            self._words = make(self._processor, model=settings.tokenizer, library=settings.words)

    def encode(self, chunk: Chunk, json_field: str | None) -> Encoded:
        """Ids of every document of the chunk, each ended by ``</s>``, apart for training and held out."""
        found = documents(chunk, separator=self._settings.separator, json_field=json_field)
        ids, counts = self._ids(found.texts)
        hashes = self._hashes(found.texts)
        held = hashes < np.uint64(self._threshold) if self._threshold else np.zeros(len(counts), np.bool_)
        whole = Part(ids.tobytes(), counts, np.array(found.sizes, np.int64), hashes)
        if not self._settings.hashes:
            whole.hashes = None
        return Encoded(
            whole.chosen(~held, token_bytes=self._kind.itemsize),
            whole.chosen(held, token_bytes=self._kind.itemsize),
            found.rejects,
            found.empty,
        )

    def _ids(self, texts: list[str]) -> tuple[Ids, Sizes]:
        end = self._settings.end_id
        if not texts:
            return np.zeros(0, self._kind), np.zeros(0, np.int32)
        if self._words is not None:
            found = self._words.encode(texts, kind=self._kind, end=end)
            if found is not None:
                return found
        ids, counts = encode_whole(self._processor, texts)
        return np.insert(ids, np.cumsum(counts), end).astype(self._kind), counts + np.int32(1)

    def _hashes(self, texts: list[str]) -> np.ndarray[Any, np.dtype[np.uint64]]:
        if not (self._threshold or self._settings.hashes):
            return np.zeros(len(texts), np.uint64)
        joined = b"".join(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
        return np.frombuffer(joined, "<u8")


_worker: Worker | None = None


def start(worker: Worker, parents_files: tuple[int, ...]) -> None:
    """Make this process a worker: it closes what it inherited, dies with its parent and leaves ctrl-C to it."""
    global _worker
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for descriptor in parents_files:
        os.close(descriptor)
    gc.freeze()  # what the parent had is garbage for nobody here: not to be looked through, not to be copied
    _worker = worker


def encode(chunk: Chunk, json_field: str | None) -> Encoded:
    """Run in a worker process."""
    assert _worker is not None, "start() has not run in this process"
    return _worker.encode(chunk, json_field)
