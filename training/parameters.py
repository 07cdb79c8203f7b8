"""The trained parameters of one rank with their optimizer state, and their way into a checkpoint and back.

Weights are fp32 in every checkpoint and model folder. Where the network computes in half precision, they are the
optimizer's master weights, and what the network uses is these, rounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mxnet as mx
import numpy as np

from training.errors import ModelError
from training.safetensors import Arrays

_MOMENTS = ("mean", "variance")
_MASTER = 2  # where a state of half precision keeps the master weights


def as_ready(named: Mapping[str, Any]) -> dict[str, Any]:
    """The same parameters under keys that sort as the backward pass is through with them: last norm, blocks from the
    last to the first, embeddings. Trainers order by key, and so fill groups that can be reduced early.
    """

    def turn(name: str) -> tuple[int, int]:
        if name.startswith("block"):
            return 1, -int(name.removeprefix("block").split("_")[0])
        return (0, 0) if name.startswith("norm") else (2, 0)

    ordered = sorted(named, key=lambda name: (turn(name), name))
    return {f"{number:04d}_{name}": named[name] for number, name in enumerate(ordered)}


class Parameters:
    """Parameters by their stable names, on one device."""

    def __init__(self, named: Mapping[str, Any], *, context: Any) -> None:
        self.named, self._context = dict(named), context
        self._states: dict[str, tuple[Any, ...]] = {}

    def attach(self, trainer: Any) -> None:
        """Make the optimizer's state of every parameter now, and remember where it is. (A trainer makes it at the
        first update, which a checkpoint may come before.)"""
        names = {id(parameter): name for name, parameter in self.named.items()}
        updater = trainer._updaters[0]
        for index, parameter in enumerate(trainer._params):
            state = trainer._optimizer.create_state_multi_precision(index, parameter.data(self._context))
            updater.states[index], updater.states_synced[index] = state, True
            self._states[names[id(parameter)]] = state

    def gradients(self) -> list[Any]:
        """The gradient of each, in a fixed order."""
        return [parameter.grad(self._context) for parameter in self.named.values()]

    def weights(self) -> Arrays:
        """Copies of the fp32 weights by name."""
        return {name: self._full(name, parameter).asnumpy() for name, parameter in self.named.items()}

    def _full(self, name: str, parameter: Any) -> Any:
        state = self._states.get(name, ())
        return state[_MASTER] if len(state) > _MASTER else parameter.data(self._context)

    def set_weights(self, weights: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Replace the weights; ModelError unless names and shapes are this model's."""
        for name, parameter in self.named.items():
            if name not in weights or weights[name].shape != parameter.shape:
                raise ModelError(
                    f"the weights given do not fit this model: {name} must have the shape {parameter.shape}"
                )
        for name, parameter in self.named.items():
            full = mx.nd.array(weights[name], ctx=self._context, dtype="float32")
            parameter.set_data(full.astype(parameter.dtype))
            state = self._states.get(name, ())
            if len(state) > _MASTER:
                full.copyto(state[_MASTER])

    def moments(self) -> Arrays:
        """Copies of mean and variance, as ``NAME/mean`` and ``NAME/variance``."""
        return {
            f"{name}/{kind}": array.asnumpy()
            for name, state in self._states.items()
            for kind, array in zip(_MOMENTS, state[:_MASTER], strict=True)
        }

    def set_moments(self, moments: Arrays) -> None:
        """Replace mean and variance of every parameter."""
        for name, state in self._states.items():
            for kind, array in zip(_MOMENTS, state[:_MASTER], strict=True):
                array[:] = mx.nd.array(moments[f"{name}/{kind}"], ctx=self._context)
