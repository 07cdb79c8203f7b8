"""python -m benchmarks.arms.optimizer LAYERS UNITS ROUNDS: one update of all tensors of a GPT-2, several ways in turn.

Prints RESULT with the median seconds and CPU seconds of each way, and how far its weights are from those of the first
way of its method.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from typing import Any

import mxnet as mx
import numpy as np

from training import native
from training.model.config import ModelConfig
from training.model.network import build, decays, named_parameters
from training.optimizer import AdamW, Lamb

COMMON: dict[str, Any] = {"beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8, "weight_decay": 0.1}


class OneByOne(AdamW):
    """MXNet's own adamw_update, a call for each tensor: what its multi-tensor operator replaces."""

    def apply(self, tensors: Any) -> None:
        """Update the weights in place."""
        correction = float((1 - self.beta2**self.step_number) ** 0.5)
        rate = self.learning_rate * correction / (1 - self.beta1**self.step_number)
        for tensor in tensors:
            mx.nd.contrib.adamw_update(
                tensor.weight,
                tensor.gradient,
                *tensor.state,
                mx.nd.full((1,), self.rescale_grad),
                lr=rate,
                eta=1.0,
                wd=self.learning_rate * tensor.decay,
                beta1=self.beta1,
                beta2=self.beta2,
                epsilon=self.epsilon * correction,
                out=tensor.weight,
            )


def ways() -> dict[str, Any]:
    """Name to optimizer. The first of a method is what the others must agree with."""
    found = {
        "adamw multi-tensor": AdamW(**COMMON, fused=True),
        "adamw one by one": OneByOne(**COMMON, fused=False),
        "adamw, decay then adam_update": AdamW(**COMMON, fused=False),
        "lamb multi-tensor": Lamb(**COMMON, fused=True),
        "lamb one by one": Lamb(**COMMON, fused=False),
    }
    if native.load(os.environ):
        found["adamw, our operator"] = AdamW(**COMMON, fused=False, native=True)
    for optimizer in found.values():
        optimizer.set_learning_rate(1e-3)
    return found


def trainer_of(optimizer: Any, config: ModelConfig) -> Any:
    """A Gluon trainer over a network of its own, with gradients that all ways share."""
    parameters = named_parameters(build(config, seed=1, context=mx.cpu()))
    generator = np.random.default_rng(1)
    for name, parameter in parameters.items():
        parameter.wd_mult = 1.0 if decays(name) else 0.0
        parameter.grad()[:] = mx.nd.array(generator.standard_normal(parameter.shape, np.float32))
    return mx.gluon.Trainer(parameters, optimizer, kvstore=None)


def difference(first: Any, other: Any) -> float:
    """Largest difference of two trainers' weights."""
    pairs = zip(first._params, other._params, strict=True)
    return max(float((a.data() - b.data()).abs().max().asscalar()) for a, b in pairs)


def main() -> None:
    """Prints RESULT."""
    layers, units, rounds = map(int, sys.argv[1:4])
    config = ModelConfig(layers, units, 4, 128, 4000)
    trainers = {name: trainer_of(optimizer, config) for name, optimizer in ways().items()}
    seconds: dict[str, list[float]] = {name: [] for name in trainers}
    cpu: dict[str, list[float]] = {name: [] for name in trainers}
    for number in range(1, rounds + 3):
        for name, trainer in trainers.items():
            for parameter in trainer._params:
                parameter.data()._fresh_grad = True  # else Gluon takes them for gradients of the step before
            mx.nd.waitall()
            begun, used = time.perf_counter(), time.process_time()
            trainer._optimizer.step_number = number
            trainer.update(1)
            mx.nd.waitall()
            seconds[name].append(time.perf_counter() - begun)
            cpu[name].append(time.process_time() - used)
    differences = {
        name: difference(trainers[f"{name.split(',')[0].split(' ')[0]} multi-tensor"], trainer)
        for name, trainer in trainers.items()
    }
    print(
        "RESULT",
        json.dumps(
            {
                "seconds": {name: statistics.median(each[2:]) for name, each in seconds.items()},
                "cpu": {name: statistics.median(each[2:]) for name, each in cpu.items()},
                "differences": differences,
                "tensors": len(next(iter(trainers.values()))._params),
                "parameters": config.parameters,
            }
        ),
    )


if __name__ == "__main__":
    main()
