"""Whether a SentencePiece model encodes a text word by word, read from the model file itself.

It does if no piece and no rule of normalization reaches over a space: then the ids of a text are those of its words,
one after the other, and words that come again need not be encoded again. The field numbers are those of
sentencepiece_model.proto of google/sentencepiece.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

MARK = "\u2581"
"""What SentencePiece puts in the place of a space: a piece that begins with it begins a word."""

_PIECE, _TRAINER, _NORMALIZER = 1, 2, 3
_NORMAL, _KNOWN_TYPES = 1, {1, 2, 3, 6}  # normal, unknown, control, byte; not user-defined, not unused
_MODEL_TYPE, _MARK_AT_THE_END, _BPE = 3, 24, 2
_RULES, _MARK_BEFORE_ALL, _EXTRA_SPACES_GO, _SPACES_ARE_MARKED = 2, 3, 4, 5
_SPACE = 0x20


def works_by_words(model: bytes) -> bool:
    """True only where it is certain; anything unusual in the model says no."""
    try:
        pieces, rest = _pieces(model)
        fields = list(_fields(rest))
        trainer = {key: value for number, value in fields if number == _TRAINER for key, value in _fields(value)}
        normalizer = {key: value for number, value in fields if number == _NORMALIZER for key, value in _fields(value)}
        return (
            all(number != _PIECE for number, _ in fields)
            and _stay_within_words(pieces)
            and trainer.get(_MODEL_TYPE) == _BPE
            and not trainer.get(_MARK_AT_THE_END, 0)
            and all(normalizer.get(key, 1) for key in (_MARK_BEFORE_ALL, _EXTRA_SPACES_GO, _SPACES_ARE_MARKED))
            and not _rules_reach_over_spaces(normalizer.get(_RULES, b""))
        )
    except (IndexError, struct.error, TypeError, ValueError):
        return False


def _pieces(model: bytes) -> tuple[list[tuple[bytes, int]], bytes]:
    """Text and type of the pieces, which stand first, and the bytes after them.

    Each is an ``0x0A`` and its size; inside, a text, a score of four bytes and, unless it is a normal piece, a type.
    There are tens of thousands: :func:`_fields` would take a third of a second for them.
    """
    found, at = [], 0
    while model[at] == 0x0A:
        size, text_size = model[at + 1], model[at + 3]
        piece = model[at + 2 : at + 2 + size]
        kind = piece[text_size + 7 :]
        if size > 0x7F or piece[0] != 0x0A or piece[text_size + 2] != 0x15 or kind[:1] not in (b"", b"\x18"):
            raise ValueError("a piece of another form")
        found.append((piece[2 : text_size + 2], kind[1] if kind else _NORMAL))
        at += 2 + size
    return found, model[at:]


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of each field of a protobuf message: int, or bytes for all that is not a varint."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
            continue
        size = {1: 8, 2: -1, 5: 4}.get(key & 7)
        if size is None:
            raise ValueError(f"wire type {key & 7}")
        if size < 0:
            size = varint()
        if at + size > len(message):
            raise ValueError(f"{size} bytes announced at byte {at} of {len(message)}")
        yield key >> 3, message[at : at + size]
        at += size


def _stay_within_words(pieces: list[tuple[bytes, int]]) -> bool:
    """No piece holds the mark past its beginning, the mark alone is one, none is matched before normalization."""
    mark = MARK.encode()
    texts = [text for text, kind in pieces if kind == _NORMAL]
    return {kind for _, kind in pieces} <= _KNOWN_TYPES and mark in texts and all(t.rfind(mark) <= 0 for t in texts)


def _rules_reach_over_spaces(rules: bytes) -> bool:
    """Whether the key of any rule holds a space.

    The keys are a trie in one array of units of 32 bits (Darts-clone): the child of unit ``i`` by a byte is at ``i ^
    offset(i) ^ byte`` if that unit has the byte as its label. All units are asked at once, unused ones too.
    """
    if not rules:
        return False
    size = struct.unpack_from("<I", rules)[0]
    units = np.frombuffer(rules, "<u4", size // 4, 4).astype(np.int64)
    offsets = (units >> 10) << ((units & (1 << 9)) >> 6)
    children = np.arange(len(units)) ^ offsets ^ _SPACE
    children = children[children < len(units)]
    return bool(np.any((units[children] & (1 << 31 | 0xFF)) == _SPACE))
