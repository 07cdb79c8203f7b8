"""The same network in numpy, for one sequence, with a cache of keys and values.

A model folder can so be used on any machine with numpy and sentencepiece. A test holds it to the logits of the
trained network.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from training.model.config import ModelConfig
from training.safetensors import Arrays

Array = np.ndarray[Any, np.dtype[np.float32]]
_EPSILON = np.float32(1e-5)


class Inference:
    """A model and what it has read so far. Feed it with :meth:`extend`; begin anew with :meth:`reset`."""

    def __init__(self, config: ModelConfig, weights: Arrays) -> None:
        self.config, self._weights = config, weights
        self._width = config.units // config.heads
        shape = (config.layers, config.heads, config.sequence, self._width)
        self._keys, self._values = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self.length = 0

    def reset(self) -> None:
        """Forget everything read."""
        self.length = 0

    def extend(self, tokens: list[int]) -> Array:
        """Read more ids: logits (len(tokens), vocabulary) of what may follow each. ValueError past the model's
        window.
        """
        begin, end = self.length, self.length + len(tokens)
        if end > self.config.sequence:
            raise ValueError(f"the model reads at most {self.config.sequence} tokens, asked for {end}")
        x: Array = self._weights["transformer.wte.weight"][tokens] + self._weights["transformer.wpe.weight"][begin:end]
        for number in range(self.config.layers):
            name = f"transformer.h.{number}."
            x = x + self._attention(number, self._norm(x, name + "ln_1"), begin, end)
            x = x + self._dense(
                _gelu(self._dense(self._norm(x, name + "ln_2"), name + "mlp.c_fc")), name + "mlp.c_proj"
            )
        self.length = end
        logits: Array = self._norm(x, "transformer.ln_f") @ self._weights["transformer.wte.weight"].T
        return logits

    def _dense(self, x: Array, name: str) -> Array:
        result: Array = x @ self._weights[name + ".weight"] + self._weights[name + ".bias"]
        return result

    def _norm(self, x: Array, name: str) -> Array:
        x = x - x.mean(axis=-1, keepdims=True)
        scale = np.float32(1) / np.sqrt((x * x).mean(axis=-1, keepdims=True) + _EPSILON)
        result: Array = x * scale * self._weights[name + ".weight"] + self._weights[name + ".bias"]
        return result

    def _attention(self, number: int, x: Array, begin: int, end: int) -> Array:
        name, heads, count = f"transformer.h.{number}.attn.", self.config.heads, end - begin
        queries, keys, values = np.split(self._dense(x, name + "c_attn"), 3, axis=-1)
        self._keys[number, :, begin:end] = keys.reshape(count, heads, self._width).transpose(1, 0, 2)
        self._values[number, :, begin:end] = values.reshape(count, heads, self._width).transpose(1, 0, 2)
        scores = queries.reshape(count, heads, self._width).transpose(1, 0, 2) @ self._keys[number, :, :end].transpose(
            0, 2, 1
        )
        scores *= np.float32(self._width**-0.5)
        hidden = np.arange(end)[None, :] > np.arange(begin, end)[:, None]
        scores[:, hidden] = -np.inf
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=-1, keepdims=True)
        mixed = (scores @ self._values[number, :, :end]).transpose(1, 0, 2).reshape(count, self.config.units)
        return self._dense(mixed, name + "c_proj")


def _gelu(x: Array) -> Array:
    result: Array = np.float32(0.5) * x * (np.float32(1) + erf(x * np.float32(0.5**0.5)))
    return result


def erf(x: Array) -> Array:
    """The error function to about 1e-7 (numpy has none): Abramowitz and Stegun 7.1.26 is too rough, so a series and a
    fraction.

    Uses erf(x) = 1 - t exp(-x^2 + P(t)) with t = 1 / (1 + |x| / 2), Numerical Recipes' Chebyshev fit (error below
    1.2e-7).
    """
    t = 1.0 / (1.0 + 0.5 * np.abs(x, dtype=np.float64))
    polynomial = np.zeros_like(t)
    for coefficient in _ERF:
        polynomial = polynomial * t + coefficient
    tail = t * np.exp(-np.square(x, dtype=np.float64) + polynomial)
    result: Array = (np.sign(x) * (1.0 - tail)).astype(np.float32)
    return result


_ERF = (
    0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807,
    -0.18628806, 0.09678418, 0.37409196, 1.00002368, -1.26551223,
)  # fmt: skip


def log_softmax(logits: Array) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Natural-log probabilities in double precision."""
    values = logits.astype(np.float64)
    values -= values.max(axis=-1, keepdims=True)
    result: np.ndarray[Any, np.dtype[np.float64]] = values - np.log(np.exp(values).sum(axis=-1, keepdims=True))
    return result
