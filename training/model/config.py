"""Sizes of a GPT-2, ready ones by name, and what follows from them: parameters and floating-point operations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from training.errors import ModelError, SettingsError


@dataclass(frozen=True)
class ModelConfig:
    """A GPT-2: pre-norm blocks, learned positions, input embedding tied to the output."""

    layers: int
    units: int
    heads: int
    sequence: int
    vocabulary: int
    dropout: float = 0.0

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {getattr(self, name)}, must be positive"
            for name in ("layers", "units", "heads", "sequence", "vocabulary")
            if getattr(self, name) < 1
        ]
        if not problems and self.units % self.heads:
            problems.append(f"{self.units} units cannot be divided among {self.heads} heads")
        if not 0 <= self.dropout < 1:
            problems.append(f"dropout is {self.dropout}, must be at least 0 and below 1")
        if problems:
            raise SettingsError("model: " + "; ".join(problems))

    @property
    def parameters(self) -> int:
        """Trained numbers: embeddings, positions, per block 12 units^2 + 13 units, and the last norm."""
        block = 12 * self.units**2 + 13 * self.units
        return (self.vocabulary + self.sequence) * self.units + self.layers * block + 2 * self.units

    @property
    def flops_per_record(self) -> float:
        """Floating-point operations to train on one record: six a token and parameter (positions are only added), and
        attention's two products, forward and twice backward."""
        matrix = 6 * (self.parameters - self.sequence * self.units)
        attention = 12 * self.layers * self.units * self.sequence
        return float(matrix + attention) * self.sequence

    def to_hugging_face(self, *, begin_id: int, end_id: int, pad_id: int) -> dict[str, Any]:
        """``config.json`` of a GPT-2 of the transformers library."""
        return {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "activation_function": "gelu",
            "n_layer": self.layers,
            "n_embd": self.units,
            "n_head": self.heads,
            "n_positions": self.sequence,
            "n_ctx": self.sequence,
            "vocab_size": self.vocabulary,
            "layer_norm_epsilon": 1e-5,
            "tie_word_embeddings": True,
            "torch_dtype": "float32",
            "attn_pdrop": self.dropout,
            "embd_pdrop": self.dropout,
            "resid_pdrop": self.dropout,
            "initializer_range": 0.02,
            "bos_token_id": begin_id,
            "eos_token_id": end_id,
            "pad_token_id": pad_id,
        }


def from_hugging_face(values: dict[str, Any]) -> ModelConfig:
    """Read a ``config.json``; ModelError for what this network does not compute."""
    try:
        config = ModelConfig(
            layers=values["n_layer"],
            units=values["n_embd"],
            heads=values["n_head"],
            sequence=values["n_positions"],
            vocabulary=values["vocab_size"],
            dropout=float(values.get("resid_pdrop", 0.0)),
        )
    except KeyError as error:
        raise ModelError(f"config.json lacks {error}: is it a GPT-2?") from error
    wrong = []
    if values.get("model_type") != "gpt2":
        wrong.append(f"model_type is {values.get('model_type')!r}, only 'gpt2' can be read")
    if values.get("activation_function", "gelu_new") != "gelu":
        wrong.append(
            f"activation_function is {values.get('activation_function', 'gelu_new')!r}, this network "
            "computes the exact 'gelu'"
        )
    if values.get("n_inner") not in (None, 4 * config.units):
        wrong.append(f"n_inner is {values['n_inner']}, only 4 x n_embd can be read")
    if wrong:
        raise ModelError("; ".join(wrong))
    return config


# Source of the sizes: Radford et al. 2019, table 2; "kogpt2" is the first row with the 50,000 pieces of the talk
PRESETS = {
    "nano": ModelConfig(layers=2, units=128, heads=4, sequence=128, vocabulary=4_000),
    "tiny": ModelConfig(layers=4, units=256, heads=4, sequence=256, vocabulary=8_000),
    "small": ModelConfig(layers=6, units=512, heads=8, sequence=512, vocabulary=16_000),
    "kogpt2": ModelConfig(layers=12, units=768, heads=12, sequence=1024, vocabulary=50_000, dropout=0.1),
    "medium": ModelConfig(layers=24, units=1024, heads=16, sequence=1024, vocabulary=50_000, dropout=0.1),
    "large": ModelConfig(layers=36, units=1280, heads=20, sequence=1024, vocabulary=50_000, dropout=0.1),
}


def preset(name: str, **changes: int | float | None) -> ModelConfig:
    """A ready configuration with some values changed (None leaves one as it is)."""
    if name not in PRESETS:
        raise SettingsError(f"there is no model {name!r}; choose one of {', '.join(PRESETS)}")
    return replace(PRESETS[name], **{key: value for key, value in changes.items() if value is not None})  # type: ignore[arg-type]
