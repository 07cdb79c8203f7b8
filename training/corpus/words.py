"""Encode texts with each word only once: the ids are SentencePiece's, to the last one.

SentencePiece does all encoding; our part is a store (training/native/words.cc) of the words of this process so far,
which is asked first. It needs the built library and a model that works by words (`training.corpus.word_rules`);
:func:`make` says None without. Memory: up to 20 MB a store.
"""

from __future__ import annotations

import ctypes
import itertools
from pathlib import Path
from typing import Any

import numpy as np

from training.corpus.word_rules import MARK, works_by_words

Ids = np.ndarray[Any, np.dtype[Any]]
Sizes = np.ndarray[Any, np.dtype[np.int32]]

_REGULAR, _ODD = 0, 1
_REGULAR_RANGES = (range(0x21, 0x7F), range(0xAC00, 0xD7A4), range(0x3131, 0x3164))  # as in words.cc
_POINTER, _SIZE, _NUMBER = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "new": (_POINTER, [_POINTER, _SIZE]),
    "free": (None, [_POINTER]),
    "scan": (None, [_POINTER, ctypes.c_char_p, _SIZE]),
    "question": (_POINTER, [_POINTER, _NUMBER, ctypes.POINTER(_SIZE), ctypes.POINTER(_SIZE)]),
    "learn_regular": (_NUMBER, [_POINTER, _POINTER, _SIZE]),
    "learn_odd": (None, [_POINTER, _POINTER, _POINTER]),
    "tokens": (_SIZE, [_POINTER]),
    "emit": (None, [_POINTER, _POINTER, _NUMBER, _POINTER, _NUMBER]),
}


def make(processor: Any, *, model: Path, library: Path) -> Words | None:
    """A store for this tokenizer, or None where it can't be used: every text is to be encoded as a whole then."""
    if not library.exists() or not works_by_words(model.read_bytes()):
        return None
    pieces = processor.id_to_piece(list(range(processor.get_piece_size())))
    begins = np.array([piece.startswith(MARK) for piece in pieces], np.uint8)
    for ids in processor.encode([chr(code) for codes in _REGULAR_RANGES for code in codes], num_threads=1):
        if not ids or not begins[ids[0]] or begins[ids[1:]].any():
            return None
    return Words(processor, begins, library)


class Words:
    """The store with its SentencePiece. Not for threads; a forked process has a copy of its own."""

    def __init__(self, processor: Any, begins: Ids, library: Path) -> None:
        self._processor = processor
        self._calls: dict[str, Any] = {}
        loaded = ctypes.CDLL(str(library))
        for name, (result, arguments) in _SIGNATURES.items():
            function = loaded[f"dure_words_{name}"]
            function.restype, function.argtypes = result, arguments
            self._calls[name] = function
        self._store = self._calls["new"](begins.ctypes.data, len(begins))

    def __del__(self) -> None:
        """Give the store's memory back."""
        if getattr(self, "_store", None):
            self._calls["free"](self._store)

    def encode(self, texts: list[str], *, kind: np.dtype[Any], end: int) -> tuple[Ids, Sizes] | None:
        """Ids of all texts back to back, each ended by `end`, and how many each has; None if it can't do these."""
        joined = "\0".join(texts).encode()
        if MARK.encode() in joined or joined.count(b"\0") != len(texts) - 1:
            return None
        self._calls["scan"](self._store, joined, len(joined))
        ids, _ = self._asked(_REGULAR)
        if not self._calls["learn_regular"](self._store, ids.ctypes.data, len(ids)):
            return None
        ids, counts = self._asked(_ODD)
        self._calls["learn_odd"](self._store, ids.ctypes.data, counts.ctypes.data)
        found, sizes = np.empty(self._calls["tokens"](self._store), kind), np.empty(len(texts), np.int32)
        self._calls["emit"](self._store, found.ctypes.data, kind.itemsize, sizes.ctypes.data, end)
        return found, sizes

    def _asked(self, kind: int) -> tuple[Ids, Sizes]:
        """SentencePiece's answer for the words that the last scan found new: ids, and ids of each question."""
        size, words = ctypes.c_int64(), ctypes.c_int64()
        at = self._calls["question"](self._store, kind, size, words)
        if not words.value:
            return np.zeros(0, np.int32), np.zeros(0, np.int32)
        return encode_whole(self._processor, ctypes.string_at(at, size.value).split(b"\0"))


def encode_whole(processor: Any, texts: list[bytes] | list[str]) -> tuple[Ids, Sizes]:
    """SentencePiece's ids of whole texts back to back, and how many each has."""
    ids: list[list[int]] = processor.encode(texts, num_threads=1)
    sizes = np.fromiter(map(len, ids), np.int32, len(ids))
    return np.fromiter(itertools.chain.from_iterable(ids), np.int32, int(sizes.sum())), sizes
