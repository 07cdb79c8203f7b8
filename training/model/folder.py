"""A model as a folder that needs nothing else: ``config.json``, ``model.safetensors``, ``tokenizer.model``,
``tokenizer.json``, ``training.json``.

It is the layout of transformers' GPT-2 (names, and weights stored as input x output), so the same folder loads there.
The trainer keeps queries, keys and values of a head side by side; here they are apart. Conversions only move numbers:
there and back is bit-identical.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from training import safetensors
from training.errors import ModelError
from training.files import whole_folder, write_json
from training.model.config import ModelConfig, from_hugging_face
from training.safetensors import Arrays
from training.tokenizer import Tokenizer

_DENSE = {
    "attention_qkv": "attn.c_attn",
    "attention_out": "attn.c_proj",
    "up": "mlp.c_fc",
    "down": "mlp.c_proj",
}
_NORMS = {"norm1": "ln_1", "norm2": "ln_2"}


def _pairs(layers: int) -> Iterator[tuple[str, str, str]]:
    """(our name, transformers' name, what to do) for every tensor."""
    yield "embedding", "transformer.wte.weight", "same"
    yield "positions", "transformer.wpe.weight", "positions"
    yield "norm_gamma", "transformer.ln_f.weight", "same"
    yield "norm_beta", "transformer.ln_f.bias", "same"
    for number in range(layers):
        for ours, theirs in _NORMS.items():
            yield f"block{number}_{ours}_gamma", f"transformer.h.{number}.{theirs}.weight", "same"
            yield f"block{number}_{ours}_beta", f"transformer.h.{number}.{theirs}.bias", "same"
        for ours, theirs in _DENSE.items():
            kind = "qkv" if ours == "attention_qkv" else "dense"
            yield f"block{number}_{ours}_weight", f"transformer.h.{number}.{theirs}.weight", kind
            yield (
                f"block{number}_{ours}_bias",
                f"transformer.h.{number}.{theirs}.bias",
                "qkv_bias" if kind == "qkv" else "same",
            )


def to_hugging_face(weights: Arrays, config: ModelConfig) -> Arrays:
    """Our arrays under transformers' names and in its layout."""
    heads, width = config.heads, config.units // config.heads
    result: Arrays = {}
    for ours, theirs, kind in _pairs(config.layers):
        array = weights[ours]
        if kind == "positions":
            array = array.reshape(config.sequence, config.units)
        elif kind == "qkv":
            array = (
                array.reshape(heads, 3, width, config.units)
                .transpose(3, 1, 0, 2)
                .reshape(config.units, 3 * config.units)
            )
        elif kind == "qkv_bias":
            array = array.reshape(heads, 3, width).transpose(1, 0, 2).reshape(-1)
        elif kind == "dense":
            array = array.T
        result[theirs] = np.ascontiguousarray(array)
    return result


def from_hugging_face_arrays(arrays: Arrays, config: ModelConfig) -> Arrays:
    """The inverse of :func:`to_hugging_face`; also takes names without the leading ``transformer.``. ModelError lists
    what is missing.
    """
    heads, width = config.heads, config.units // config.heads
    have = {name if name.startswith("transformer.") else f"transformer.{name}": array for name, array in arrays.items()}
    missing = [theirs for _, theirs, _ in _pairs(config.layers) if theirs not in have]
    if missing:
        raise ModelError(f"the weights lack {', '.join(missing[:5])}{' and more' if len(missing) > 5 else ''}")
    result: Arrays = {}
    for ours, theirs, kind in _pairs(config.layers):
        array = have[theirs]
        if kind == "positions":
            array = array.reshape(config.sequence, 1, config.units)
        elif kind == "qkv":
            array = (
                array.reshape(config.units, 3, heads, width)
                .transpose(2, 1, 3, 0)
                .reshape(3 * config.units, config.units)
            )
        elif kind == "qkv_bias":
            array = array.reshape(3, heads, width).transpose(1, 0, 2).reshape(-1)
        elif kind == "dense":
            array = array.T
        result[ours] = np.ascontiguousarray(array)
    return result


def write(folder: Path, weights: Arrays, *, config: ModelConfig, tokenizer: Tokenizer, about: dict[str, Any]) -> None:
    """Write a model folder, whole or not at all; `about` (figures of the training) becomes ``training.json``."""
    with whole_folder(folder) as temporary:
        safetensors.save(temporary / "model.safetensors", to_hugging_face(weights, config), metadata={"format": "pt"})
        values = config.to_hugging_face(begin_id=tokenizer.begin_id, end_id=tokenizer.end_id, pad_id=tokenizer.pad_id)
        write_json(temporary / "config.json", values)
        write_json(temporary / "training.json", about)
        for name in ("tokenizer.model", "tokenizer.json"):
            shutil.copyfile(tokenizer.path.parent / name, temporary / name)


def read(folder: Path) -> tuple[ModelConfig, Arrays]:
    """Configuration and weights under transformers' names (as float32); ModelError if they do not fit each other."""
    try:
        config = from_hugging_face(json.loads((folder / "config.json").read_text()))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} is no model folder: {error}") from error
    arrays, _ = safetensors.load(folder / "model.safetensors")
    ours = from_hugging_face_arrays(arrays, config)
    found = sum(array.size for array in ours.values())
    if found != config.parameters:
        raise ModelError(f"{folder}: the weights hold {found:,} numbers, config.json asks for {config.parameters:,}")
    return config, {theirs: to_float32(array) for theirs, array in to_hugging_face(ours, config).items()}


def to_float32(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Half precision becomes single; single stays the same memory."""
    return array.astype(np.float32, copy=False)
