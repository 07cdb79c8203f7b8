"""Training steps of the trainer's network with each thing that the talk tuned as a switch.

    python -m benchmarks.arms.step '{"reducer": "trainer", ...}'

Runs alone, as a Horovod rank (training.launch), or as a worker of MXNet's kvstore (DMLC_ROLE and its kin are set).
Prints BEGIN when the steps that do not count are done, then RESULT with seconds, CPU seconds and losses of each step.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import mxnet as mx
import numpy as np

from benchmarks.arms import variants
from training import native
from training.model.config import ModelConfig
from training.model.network import TokenLoss, build, decays, named_parameters
from training.optimizer import AdamW, squared_norm
from training.parameters import as_ready


@dataclass(frozen=True)
class Arm:
    """What to run; the defaults are what the trainer does.

    ``gelu`` fused or composed; ``graph`` static, hybrid (no static memory) or imperative; ``turn`` where the batch is
    turned: host, device, or activations (at every layer); ``reducer`` none, trainer (Horovod's DistributedTrainer),
    optimizer (its DistributedOptimizer, which reduces inside of the update, so it can't ``clip``) or dist_sync (MXNet's
    parameter server); ``overlap`` false waits for the backward pass before the reduction begins;
    ``order`` of tensors in the groups: names, or backward, as their gradients become ready; ``pin`` keeps a rank on the
    core of its number.
    """

    layers: int = 4
    units: int = 256
    heads: int = 4
    sequence: int = 128
    vocabulary: int = 4000
    batch: int = 2
    steps: int = 5
    unmeasured: int = 2
    gelu: str = "fused"
    graph: str = "static"
    turn: str = "host"
    reducer: str = "none"
    overlap: bool = True
    groups: int = 4
    order: str = "backward"
    fused: bool = False
    clip: bool = True
    pin: bool = False


class Reducer:
    """Sums the gradients of all ranks; `rank`, `size`, and the trainer that updates with the sums."""

    def __init__(self, arm: Arm, parameters: dict[str, Any], optimizer: Any) -> None:
        self.arm, self.rank, self.size, self.shares = arm, 0, 1, 1
        self.hvd: Any = None
        if arm.reducer in ("trainer", "optimizer"):
            from training.collective import Ranks

            ranks = Ranks(os.environ)
            self.hvd, self.rank, self.size = ranks.hvd, ranks.rank, ranks.size
        if arm.reducer == "trainer":
            if arm.order == "backward":
                parameters = as_ready(parameters)
            self.trainer = self.hvd.DistributedTrainer(parameters, optimizer, num_groups=arm.groups)
        elif arm.reducer == "optimizer":
            wrapped = self.hvd.DistributedOptimizer(optimizer, num_groups=arm.groups)
            self.trainer = mx.gluon.Trainer(parameters, wrapped, kvstore=None)
            self.shares = 1 if wrapped._average_in_framework is False else self.size
        elif arm.reducer == "dist_sync":
            self.store = mx.kv.create("dist_sync")
            self.rank, self.size = int(self.store.rank), int(self.store.num_workers)
            self.trainer = mx.gluon.Trainer(parameters, optimizer, kvstore=self.store, update_on_kvstore=False)
            self.shares = self.size  # the server sums
        else:
            self.trainer = mx.gluon.Trainer(parameters, optimizer, kvstore=None)

    def reduce(self) -> None:
        """Queue the reduction; DistributedOptimizer does it in the update."""
        if self.arm.reducer in ("trainer", "dist_sync"):
            self.trainer.allreduce_grads()

    def norm(self, gradients: list[Any]) -> float:
        """Norm of the averaged gradient; waits for the reduction."""
        total = squared_norm(gradients, native=native.load(os.environ)) ** 0.5
        return float(total * self.trainer._scale / self.shares)

    def meet(self) -> None:
        """Wait for all ranks."""
        if self.hvd is not None and self.size > 1:
            self.hvd.allreduce(mx.nd.zeros((1,)), name="meet").wait_to_read()
        elif self.arm.reducer == "dist_sync":
            self.store._barrier()


def network_of(arm: Arm) -> tuple[dict[str, Any], Any]:
    """Named parameters and the block that gives losses for ids and targets."""
    if arm.gelu == "composed":
        variants.composed_gelu()
    if arm.turn == "activations":
        variants.windows_first()
    config = ModelConfig(arm.layers, arm.units, arm.heads, arm.sequence, arm.vocabulary)
    network = build(config, seed=1, context=mx.cpu(), native=native.load(os.environ))
    parameters = named_parameters(network)
    for name, parameter in parameters.items():
        parameter.wd_mult = 1.0 if decays(name) else 0.0
    losses: Any = TokenLoss(network)
    if arm.turn == "device":
        losses = variants.TurnedOnDevice(losses)
    if arm.graph != "imperative":
        fixed = arm.graph == "static"
        losses.hybridize(static_alloc=fixed, static_shape=fixed)
    return parameters, losses


@dataclass
class Moments:
    """When things happened in a step, in seconds since the epoch: its begin, the end of the backward pass, the end of
    the reduction as the norm's reading shows it, its end."""

    begun: float
    computed: float = 0.0
    reduced: float = 0.0
    ended: float = 0.0


def one_step(
    arm: Arm, reducer: Reducer, losses: Any, parameters: dict[str, Any], tokens: Any, number: int
) -> tuple[float, Moments]:
    """Forward, backward, reduction, clipping, update; this rank's loss."""
    moments = Moments(time.time())
    gradients = [parameter.grad() for parameter in parameters.values()]
    turned = np.ascontiguousarray(tokens.T) if arm.turn == "host" else tokens
    cut = (turned[:-1], turned[1:]) if arm.turn == "host" else (turned[:, :-1], turned[:, 1:])
    inputs, targets = (mx.nd.array(part, dtype="int32") for part in cut)
    with mx.autograd.record():
        loss = losses(inputs, targets).mean()
    loss.backward()
    # Ready when the pass is: these two gradients are its last. Queued before the reduction changes them
    probes = [parameters[name].grad().reshape((-1,))[0:1].copy() for name in ("embedding", "positions")]
    if not arm.overlap:
        mx.nd.waitall()
        moments.computed = time.time()
    reducer.reduce()
    for probe in probes:
        probe.wait_to_read()
    moments.computed = moments.computed or time.time()
    if arm.reducer in ("trainer", "dist_sync"):
        for gradient in gradients:
            gradient.wait_to_read()
    moments.reduced = time.time()
    shrink = min(1.0, 1 / reducer.norm(gradients)) if arm.clip else 1.0
    optimizer = reducer.trainer._optimizer
    getattr(optimizer, "_optimizer", optimizer).step_number = number
    reducer.trainer.update(reducer.shares / shrink)
    mx.nd.waitall()
    moments.ended = time.time()
    return float(loss.asscalar()), moments


def say(line: str) -> None:
    """In one piece, although ranks share their output."""
    os.write(1, f"{line}\n".encode())


def run(arm: Arm) -> None:
    """All steps of this rank."""
    if arm.pin:
        core = int(os.environ.get("HOROVOD_RANK", "0"))
        for task in os.listdir("/proc/self/task"):  # noqa: PTH208
            os.sched_setaffinity(int(task), {core})
    parameters, losses = network_of(arm)
    optimizer = AdamW(
        beta1=0.9, beta2=0.95, epsilon=1e-8, weight_decay=0.1, fused=arm.fused, native=native.load(os.environ)
    )
    optimizer.set_learning_rate(1e-3)
    reducer = Reducer(arm, parameters, optimizer)
    generator = np.random.default_rng(0)
    seconds, cpu, found, moments = [], [], [], []
    for number in range(1, arm.unmeasured + arm.steps + 1):
        everyone = generator.integers(0, arm.vocabulary, (arm.batch * reducer.size, arm.sequence + 1))
        everyone = everyone**2 % arm.vocabulary
        mine = everyone[reducer.rank * arm.batch : (reducer.rank + 1) * arm.batch]
        reducer.meet()
        if number == arm.unmeasured + 1:
            say("BEGIN")
        begun, used = time.perf_counter(), time.process_time()
        loss, times = one_step(arm, reducer, losses, parameters, mine, number)
        found.append(loss)
        seconds.append(time.perf_counter() - begun)
        cpu.append(time.process_time() - used)
        moments.append(asdict(times))
    size = sum(int(np.prod(parameter.shape)) for parameter in parameters.values()) * 4
    skip = arm.unmeasured
    figures = {"seconds": seconds[skip:], "cpu": cpu[skip:], "moments": moments[skip:], "losses": found}
    say("RESULT " + json.dumps({**figures, "bytes": size, "rank": reducer.rank}))


if __name__ == "__main__":
    run(Arm(**json.loads(sys.argv[1])))
