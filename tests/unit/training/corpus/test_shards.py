"""Shard files: the format, and that no damage goes unseen."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from training.corpus import shards
from training.errors import ShardError

DOCUMENTS = [[5, 6, 7, 1], [8, 1], [9, 10, 1]]


def written(folder: Path, kind: str = "<u2") -> shards.ShardInfo:
    writer = shards.ShardWriter(folder, split="train", kind=np.dtype(kind))
    flat = np.array([token for document in DOCUMENTS for token in document], kind)
    writer.add(flat.tobytes(), np.array([len(d) for d in DOCUMENTS], np.int32), text_bytes=30)
    return writer.close(0)


@pytest.mark.parametrize(("kind", "code"), [("<u2", 8), ("<i4", 4)])
def test_the_index_is_megatrons(tmp_path: Path, kind: str, code: int) -> None:
    info = written(tmp_path, kind)
    data = (tmp_path / f"{info.name}.idx").read_bytes()
    width = np.dtype(kind).itemsize
    expected = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, code, 3, 4) + struct.pack("<3i", 4, 2, 3)
    expected += struct.pack("<3q", 0, 4 * width, 6 * width) + struct.pack("<4q", 0, 1, 2, 3)
    assert data == expected
    assert shards.open_tokens(tmp_path, info).tolist() == [t for d in DOCUMENTS for t in d]
    assert shards.read_sizes(tmp_path / f"{info.name}.idx").tolist() == [4, 2, 3]


@pytest.mark.parametrize("suffix", [".bin", ".idx"])
def test_any_flipped_bit_and_any_truncation_is_found(tmp_path: Path, suffix: str) -> None:
    info = written(tmp_path)
    shards.verify(tmp_path, info)
    path = tmp_path / f"{info.name}{suffix}"
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(ShardError, match="is damaged"):
            shards.verify(tmp_path, info)
        path.write_bytes(whole[:position])
        with pytest.raises(ShardError, match="is damaged"):
            shards.verify(tmp_path, info)
    path.unlink()
    with pytest.raises(ShardError, match="cannot be read"):
        shards.verify(tmp_path, info)


def test_a_short_file_is_not_mapped(tmp_path: Path) -> None:
    info = written(tmp_path)
    path = tmp_path / f"{info.name}.bin"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(ShardError, match="truncated or replaced"):
        shards.open_tokens(tmp_path, info)
    path.unlink()
    with pytest.raises(ShardError, match="cannot be read"):
        shards.open_tokens(tmp_path, info)


def test_an_abandoned_shard_leaves_nothing(tmp_path: Path) -> None:
    writer = shards.ShardWriter(tmp_path, split="train", kind=np.dtype("<u2"))
    writer.add(b"ab", np.array([1], np.int32), text_bytes=1)
    writer.abandon()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("vocabulary", "kind"), [(65_536, "<u2"), (65_537, "<i4")])
def test_two_bytes_where_they_suffice(vocabulary: int, kind: str) -> None:
    assert shards.token_type(vocabulary) == np.dtype(kind)


@pytest.mark.parametrize("data", [b"", b"MMIDIDX\x00\x00", b"not an index at all, but long enough to be one"])
def test_a_file_that_is_no_index(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.idx").write_bytes(data)
    with pytest.raises(ShardError):
        shards.read_sizes(tmp_path / "x.idx")
