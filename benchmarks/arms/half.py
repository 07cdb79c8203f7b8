"""python -m benchmarks.arms.half STEPS: training steps in fp32 and in fp16 with fp32 master weights, in turn.

On the GPU where MXNet sees one. On a CPU MXNet has no fp16 kernel for the dense layers: what it says is printed as
REFUSED. Else RESULT with the median seconds of each.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any

import mxnet as mx

from training.device import choose
from training.model.config import ModelConfig
from training.model.network import TokenLoss, build, named_parameters
from training.optimizer import AdamW

WINDOWS = 8


class Candidate:
    """A network of one precision with its trainer."""

    def __init__(self, config: ModelConfig, context: Any, *, half: bool) -> None:
        self.config, self.context = config, context
        network = build(config, seed=1, context=context, half=half)
        self.losses = TokenLoss(network)
        self.losses.hybridize(static_alloc=True, static_shape=True)
        optimizer = AdamW(beta1=0.9, beta2=0.95, epsilon=1e-8, weight_decay=0.1, fused=context.device_type == "gpu")
        optimizer.set_learning_rate(1e-4)
        self.trainer = mx.gluon.Trainer(named_parameters(network), optimizer, kvstore=None)

    def step(self, number: int) -> float:
        """Seconds of one step."""
        shape = (self.config.sequence, WINDOWS)
        ids = mx.nd.random.randint(0, self.config.vocabulary, shape=shape, ctx=self.context, dtype="int32")
        mx.nd.waitall()
        begun = time.perf_counter()
        with mx.autograd.record():
            loss = self.losses(ids, ids).mean()
        loss.backward()
        self.trainer._optimizer.step_number = number
        self.trainer.update(1)
        mx.nd.waitall()
        return time.perf_counter() - begun


def main() -> None:
    """Prints REFUSED or RESULT."""
    context = choose(0)
    if context.device_type == "gpu":
        config = ModelConfig(layers=12, units=768, heads=12, sequence=1024, vocabulary=50_000)
    else:
        config = ModelConfig(layers=1, units=64, heads=2, sequence=16, vocabulary=64)
    candidates = {name: Candidate(config, context, half=name == "fp16") for name in ("fp32", "fp16")}
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(1, int(sys.argv[1]) + 3):
        for name, candidate in candidates.items():
            try:
                seconds[name].append(candidate.step(number))
            except mx.MXNetError as error:
                print("REFUSED", json.dumps({"precision": name, "device": str(context), "said": str(error)[-400:]}))
                return
    medians = {name: statistics.median(each[2:]) for name, each in seconds.items()}
    print("RESULT", json.dumps({"seconds": medians, "device": str(context)}))


if __name__ == "__main__":
    main()
