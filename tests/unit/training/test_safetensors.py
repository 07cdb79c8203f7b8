"""The file format: what others write is read, what is damaged is refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training import safetensors
from training.errors import ModelError

TENSORS: dict[str, np.ndarray[Any, Any]] = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.array(3, np.int64),
    "half": np.ones(3, np.float16),
    "bytes": np.arange(5, dtype=np.uint8),
    "none": np.zeros((0, 4), np.float32),
}


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    safetensors.save(path, TENSORS, metadata={"k": "v"})
    found, metadata = safetensors.load(path)
    assert metadata == {"k": "v"}
    assert found.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert (found[name] == array).all()


def test_the_bytes_are_the_documented_format(tmp_path: Path) -> None:
    safetensors.save(tmp_path / "x", {"t": np.array([1.0, 2.0], np.float32)}, metadata={})
    data = (tmp_path / "x").read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    assert json.loads(data[8 : 8 + length]) == {"t": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    assert data[8 + length :] == struct.pack("<2f", 1, 2)
    assert (8 + length) % 8 == 0


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    safetensors.save(path, TENSORS, metadata={})
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(ModelError):
            safetensors.load(path)


def test_a_header_that_lies_is_refused(tmp_path: Path) -> None:
    def put(header: object, body: bytes) -> None:
        text = json.dumps(header).encode()
        (tmp_path / "x").write_bytes(struct.pack("<Q", len(text)) + text + body)

    headers: list[Any] = [
        {"t": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
        {"t": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}},
        {"t": {"dtype": "X", "shape": [1], "data_offsets": [0, 4]}},
        {"t": {"shape": [1]}},
        {"t": 5},
        [],
    ]
    for header in headers:
        put(header, b"\0" * 8)
        with pytest.raises(ModelError):
            safetensors.load(tmp_path / "x")


def test_an_unknown_type_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no name for complex"):
        safetensors.save(tmp_path / "x", {"t": np.zeros(2, np.complex128)}, metadata={})
    assert list(tmp_path.iterdir()) == []
