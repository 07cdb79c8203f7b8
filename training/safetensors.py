"""The safetensors file format, read and written with numpy alone.

A file is an 8-byte little-endian header length, a JSON header ``{name: {"dtype", "shape", "data_offsets"}}`` and the
raw tensors. Nothing in it is ever executed, so a model or a checkpoint from a stranger is safe to open. Format:
https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from training.errors import ModelError
from training.files import whole_file

Arrays = dict[str, np.ndarray[Any, Any]]
_LONGEST_HEADER = 100 << 20
_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
_NAMES = {np.dtype(code): name for name, code in _TYPES.items()}


def dump(stream: BinaryIO, tensors: Mapping[str, np.ndarray[Any, Any]], *, metadata: Mapping[str, str]) -> None:
    """Write `tensors` in the order of their names (the same content always gives the same bytes)."""
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    arrays, offset = [], 0
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name]).reshape(tensors[name].shape)
        if array.dtype not in _NAMES:
            raise ModelError(f"tensor {name}: safetensors has no name for {array.dtype}")
        header[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
        arrays.append(array)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    stream.write(len(text).to_bytes(8, "little") + text)
    for array in arrays:
        array.tofile(stream)


def save(path: Path, tensors: Mapping[str, np.ndarray[Any, Any]], *, metadata: Mapping[str, str]) -> None:
    """Write a file, whole or not at all."""
    with whole_file(path) as stream:
        dump(stream, tensors, metadata=metadata)


def load(path: Path) -> tuple[Arrays, dict[str, str]]:
    """Tensors (copies in memory) and metadata of a file; ModelError when it is torn or inconsistent."""
    try:
        with path.open("rb") as stream:
            header = _read_header(stream, path)
            metadata = header.pop("__metadata__", {})
            body = np.fromfile(stream, dtype=np.uint8)
        return _tensors(header, body, path), metadata
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} is not a readable safetensors file: {type(error).__name__}: {error}") from error


def _tensors(header: Mapping[str, Any], body: np.ndarray[Any, Any], path: Path) -> Arrays:
    """Views of `body` as the header describes them; ModelError unless they cover it exactly, without gap or overlap."""
    covered = 0
    arrays: Arrays = {}
    for name, entry in sorted(header.items(), key=lambda item: (item[1]["data_offsets"], item[0])):
        begin, end = entry["data_offsets"]
        kind = np.dtype(_TYPES[entry["dtype"]])
        if begin != covered or end > body.size or end - begin != kind.itemsize * math.prod(entry["shape"]):
            raise ModelError(f"{path}: tensor {name} does not lie where the header says (truncated or damaged file)")
        aligned = begin % kind.itemsize == 0
        data = body[begin:end] if aligned else np.frombuffer(body[begin:end].tobytes(), np.uint8)
        arrays[name] = data.view(kind).reshape(entry["shape"])
        covered = end
    if covered != body.size:
        raise ModelError(f"{path}: {body.size - covered} bytes after the last tensor")
    return arrays


def _read_header(stream: BinaryIO, path: Path) -> dict[str, Any]:
    length = int.from_bytes(stream.read(8), "little")
    if not 0 < length <= min(_LONGEST_HEADER, os.fstat(stream.fileno()).st_size):
        raise ModelError(f"{path}: a header of {length} bytes is impossible (truncated or damaged file)")
    header = json.loads(stream.read(length))
    if not isinstance(header, dict):
        raise ModelError(f"{path}: the header is no JSON object")
    return header
