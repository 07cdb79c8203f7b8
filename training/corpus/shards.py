"""Shards: immutable files of tokens in Megatron-LM's indexed format, named by their content.

``NAME.bin`` holds the token ids of all documents back to back; ``NAME.idx`` says where each document starts. A shard
is written to a temporary name and hashed on the way; it gets its name, which carries the hash, only when complete and
synced. Layout of the index (little-endian): ``MMIDIDX\\0\\0``, u64 version 1, u8 type code, u64 documents, u64
documents + 1, i32 sizes, i64 byte offsets, i64 document starts. Source: megatron/core/datasets/indexed_dataset.py of
NVIDIA/Megatron-LM.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from training.errors import ShardError
from training.files import sha256_of, sync_folder, temporary_beside, whole_file

MAGIC = b"MMIDIDX\x00\x00"
_TYPE_CODES = {np.dtype("<u2"): 8, np.dtype("<i4"): 4}
_HEADER = struct.Struct("<QBQQ")
Tokens = np.ndarray[Any, np.dtype[Any]]
Sizes = np.ndarray[Any, np.dtype[np.int32]]
_PART = 1 << 16  # documents handled at once when an index is written


def token_type(vocabulary: int) -> np.dtype[Any]:
    """The smallest type of the format that fits the ids of a vocabulary."""
    return np.dtype("<u2") if vocabulary <= 1 << 16 else np.dtype("<i4")


@dataclass(frozen=True)
class ShardInfo:
    """What a manifest says about one shard. ``text_bytes`` are UTF-8 bytes of the documents as they were given."""

    name: str
    split: str
    tokens: int
    documents: int
    text_bytes: int
    token_bytes: int
    sha256_bin: str
    sha256_idx: str


class ShardWriter:
    """Writes documents and makes one shard of them. Use :meth:`close` or :meth:`abandon`; side effects stay inside
    `folder`. Sizes of documents wait in a file too: a shard's memory does not grow with it.
    """

    def __init__(self, folder: Path, *, split: str, kind: np.dtype[Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._split, self._kind = folder, split, kind
        self._temporary = temporary_beside(folder / f"{split}.bin")
        self._stream = self._temporary.open("wb")
        self._digest = hashlib.sha256()
        self._sizes_path = temporary_beside(folder / f"{split}.sizes")
        self._sizes = self._sizes_path.open("w+b")
        self.tokens = self.documents = self.text_bytes = 0

    def add(self, tokens: bytes, sizes: Sizes, *, text_bytes: int) -> None:
        """Append documents: their ids back to back as raw bytes, and the number of ids of each."""
        self._stream.write(tokens)
        self._digest.update(tokens)
        self._sizes.write(sizes.astype("<i4").tobytes())
        self.tokens += len(tokens) // self._kind.itemsize
        self.documents += len(sizes)
        self.text_bytes += text_bytes

    def close(self, number: int) -> ShardInfo:
        """Give both files their names; from here on the shard never changes."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
        digest = self._digest.hexdigest()
        name = f"{self._split}-{number:05d}-{digest[:16]}"
        index_digest = hashlib.sha256()
        with whole_file(self._folder / f"{name}.idx") as stream:
            for part in index_parts(self._sizes, self.documents, kind=self._kind):
                stream.write(part)
                index_digest.update(part)
        self._drop_sizes()
        self._temporary.replace(self._folder / f"{name}.bin")
        sync_folder(self._folder)
        return ShardInfo(
            name=name,
            split=self._split,
            tokens=self.tokens,
            documents=self.documents,
            text_bytes=self.text_bytes,
            token_bytes=self._kind.itemsize,
            sha256_bin=digest,
            sha256_idx=index_digest.hexdigest(),
        )

    def abandon(self) -> None:
        """Leave no trace of an unfinished shard."""
        self._stream.close()
        self._temporary.unlink(missing_ok=True)
        self._drop_sizes()

    def _drop_sizes(self) -> None:
        self._sizes.close()
        self._sizes_path.unlink(missing_ok=True)


def index_parts(sizes: BinaryIO, count: int, *, kind: np.dtype[Any]) -> Iterator[bytes]:
    """The content of an ``.idx`` file for `count` documents, in pieces of half a megabyte.

    `sizes` is a file of their sizes in tokens, four bytes each; it is read twice.
    """
    yield MAGIC + _HEADER.pack(1, _TYPE_CODES[kind], count, count + 1)
    sizes.seek(0)
    while part := sizes.read(4 * _PART):
        yield part
    sizes.seek(0)
    end = 0
    while part := sizes.read(4 * _PART):
        ends = end + np.cumsum(np.frombuffer(part, "<i4"), dtype="<i8")
        yield (np.concatenate([[end], ends[:-1]]).astype("<i8") * kind.itemsize).tobytes()
        end = int(ends[-1])
    for first in range(0, count + 1, _PART):
        yield np.arange(first, min(count + 1, first + _PART), dtype="<i8").tobytes()


def open_tokens(folder: Path, info: ShardInfo) -> Tokens:
    """The ids of a shard, mapped read-only; ShardError when the file is missing or has another size than the manifest
    says.
    """
    path = folder / f"{info.name}.bin"
    kind = np.dtype("<u2") if info.token_bytes == 2 else np.dtype("<i4")
    try:
        found = path.stat().st_size
    except OSError as error:
        raise ShardError(
            f"shard {path} cannot be read ({error}); restore it from its bucket or encode again"
        ) from error
    if found != info.tokens * info.token_bytes:
        raise ShardError(
            f"shard {path} has {found} bytes, its manifest says {info.tokens * info.token_bytes}: truncated or replaced"
        )
    return np.memmap(path, dtype=kind, mode="r") if found else np.zeros(0, kind)


def verify(folder: Path, info: ShardInfo) -> None:
    """Read both files of a shard and compare their hashes with the manifest's; ShardError names the one "
    "that differs."""
    for suffix, expected in ((".bin", info.sha256_bin), (".idx", info.sha256_idx)):
        path = folder / f"{info.name}{suffix}"
        try:
            found = sha256_of(path)
        except OSError as error:
            raise ShardError(
                f"shard {path} cannot be read ({error}); restore it from its bucket or encode again"
            ) from error
        if found != expected:
            raise ShardError(f"shard {path} is damaged: sha256 {found[:16]}..., its manifest says {expected[:16]}...")


def read_sizes(path: Path) -> Sizes:
    """Tokens of each document, from an ``.idx`` file."""
    data = path.read_bytes()
    start = len(MAGIC) + _HEADER.size
    if not data.startswith(MAGIC) or len(data) < start:
        raise ShardError(f"{path} is no index of Megatron's format")
    count = _HEADER.unpack(data[len(MAGIC) : start])[2]
    if len(data) != start + count * 12 + (count + 1) * 8:
        raise ShardError(f"{path} is truncated: {len(data)} bytes for {count} documents")
    return np.frombuffer(data, "<i4", count, start)
