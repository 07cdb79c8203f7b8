"""python -m benchmarks.arms.gelu ROUNDS: GELU and its gradient on the activations of one block, several ways in turn.

Prints RESULT with median seconds and CPU seconds of each way, and how far values and gradients are from the fused
operator's.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import mxnet as mx

from training import native

SHAPE = (1024, 1, 3072)  # one window of the talk's model between its two dense layers


def composed(F: Any, x: Any) -> Any:
    """Four elementary operators."""
    return x * (F.erf(x * math.sqrt(0.5)) + 1) * 0.5


class Graph(mx.gluon.HybridBlock):  # type: ignore[misc]
    """A function of (F, x) as a graph with static memory."""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.function = function
        self.hybridize(static_alloc=True, static_shape=True)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Any shape."""
        return self.function(F, x)


def ways() -> dict[str, Any]:
    """Name to block; the fused operator first."""
    found = {
        "fused": Graph(lambda F, x: F.LeakyReLU(x, act_type="gelu")),
        "composed": Graph(composed),
    }
    if native.load(os.environ) and hasattr(mx.nd, "dure_gelu"):
        found["our operator"] = Graph(lambda F, x: F.dure_gelu(x))
    return found


def main() -> None:
    """Prints RESULT."""
    rounds = int(sys.argv[1])
    mx.random.seed(1)
    x, above = mx.nd.random.normal(shape=SHAPE), mx.nd.random.normal(shape=SHAPE)
    x.attach_grad()
    seconds: dict[str, list[float]] = {}
    cpu: dict[str, list[float]] = {}
    values: dict[str, tuple[Any, Any]] = {}
    blocks = ways()
    for _ in range(rounds + 2):
        for name, block in blocks.items():
            mx.nd.waitall()
            begun, used = time.perf_counter(), time.process_time()
            with mx.autograd.record():
                y = block(x)
            y.backward(above)
            mx.nd.waitall()
            seconds.setdefault(name, []).append(time.perf_counter() - begun)
            cpu.setdefault(name, []).append(time.process_time() - used)
            values.setdefault(name, (y.copy(), x.grad.copy()))
    first = values["fused"]
    differences = {
        name: max(float((a - b).abs().max().asscalar()) for a, b in zip(first, each, strict=True))
        for name, each in values.items()
    }
    medians = [{name: statistics.median(each[2:]) for name, each in kind.items()} for kind in (seconds, cpu)]
    print("RESULT", json.dumps({"seconds": medians[0], "cpu": medians[1], "differences": differences}))


if __name__ == "__main__":
    main()
