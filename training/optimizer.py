"""AdamW and LAMB on MXNet's operators, and the learning-rate schedule.

MXNet has no AdamW class; its ``adam`` adds the decay to the gradient, which is another method. Here the decay is
decoupled (Loshchilov and Hutter, 2019): w <- w (1 - rate * decay), then Adam's step with both bias corrections.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mxnet as mx
import numpy as np

State = tuple[Any, ...]

_AGGREGATE = 40  # tensors a fused call; MXNet's operator takes at most 60


@dataclass(frozen=True)
class Tensor:
    """What one update touches: a weight, its reduced gradient, its state, and its weight decay."""

    weight: Any
    gradient: Any
    state: State
    decay: float


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up from zero to `peak`, then a decay to ``peak * floor`` at `steps`."""

    peak: float
    warmup: int
    steps: int
    floor: float = 0.1
    shape: str = "cosine"

    def rate(self, step: int) -> float:
        """The learning rate of `step` (the first is 1)."""
        if step <= self.warmup:
            return self.peak * step / self.warmup
        share = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        fall = 0.5 * (1 + math.cos(math.pi * share)) if self.shape == "cosine" else 1 - share
        return self.peak * (self.floor + (1 - self.floor) * fall)


class _MultiTensor(mx.optimizer.Optimizer):  # type: ignore[misc]
    """What AdamW and LAMB share: Gluon hands over lists of tensors; the step number is set from outside (a resume
    knows it). The state of a tensor is its mean and variance, and for one of half precision its master weights; all
    of them are fp32.

    ``fused`` uses one operator for many tensors, ``native`` our own operator for each (CPUs, fp32); without either
    MXNet's operators for one tensor are used.
    """

    def __init__(
        self, *, beta1: float, beta2: float, epsilon: float, weight_decay: float, fused: bool, native: bool = False
    ) -> None:
        super().__init__(wd=weight_decay, learning_rate=0.0)
        self.beta1, self.beta2, self.epsilon, self.fused, self.native = beta1, beta2, epsilon, fused, native
        self.aggregate_num = _AGGREGATE
        self.step_number = 0

    def create_state(self, index: int, weight: Any) -> State:
        """Mean and variance, zero at first, and the master copy of a half-precision weight."""
        del index
        moments = tuple(mx.nd.zeros(weight.shape, weight.context, dtype="float32") for _ in range(2))
        return (*moments, weight.astype("float32")) if weight.dtype == np.float16 else moments

    create_state_multi_precision = create_state

    def update(self, index: Any, weight: Any, grad: Any, state: Any) -> None:
        """Gluon's entry point: one tensor, or lists."""
        if not isinstance(index, (list, tuple)):
            index, weight, grad, state = [index], [weight], [grad], [state]
        decays = [self._get_wd(i) for i in index]
        tensors = [Tensor(*each) for each in zip(weight, grad, state, decays, strict=True)]
        self.apply(tensors)

    update_multi_precision = update

    def apply(self, tensors: Sequence[Tensor]) -> None:
        """Update the weights in place."""
        raise NotImplementedError

    def _adam(self, tensors: Sequence[Tensor]) -> None:
        """Adam's step with decoupled decay, for all tensors."""
        if not tensors:
            return
        correction = math.sqrt(1 - self.beta2**self.step_number)
        rate = self.learning_rate * correction / (1 - self.beta1**self.step_number)
        epsilon = self.epsilon * correction  # so that epsilon is added to the corrected deviation
        if self.fused:
            self._adam_fused(tensors, rate=rate, epsilon=epsilon)
            return
        for tensor in tensors:
            if self.native and len(tensor.state) == 2:
                self._adam_native(tensor, rate=rate, epsilon=epsilon)
            else:
                self._adam_single(tensor, rate=rate, epsilon=epsilon)

    def _adam_fused(self, tensors: Sequence[Tensor], *, rate: float, epsilon: float) -> None:
        half, lists = _as_lists(tensors)
        call = mx.nd.contrib.multi_mp_adamw_update if half else mx.nd.contrib.multi_adamw_update
        call(
            **lists,
            rescale_grad=mx.nd.full((1,), self.rescale_grad, ctx=tensors[0].weight.context),
            lrs=[rate] * len(tensors),
            wds=[self.learning_rate * tensor.decay for tensor in tensors],
            etas=[1.0] * len(tensors),
            beta1=self.beta1,
            beta2=self.beta2,
            epsilon=epsilon,
            size=len(tensors),
        )

    def _adam_native(self, tensor: Tensor, *, rate: float, epsilon: float) -> None:
        mx.nd.dure_adamw(
            tensor.weight,
            tensor.gradient,
            *tensor.state,
            rate=repr(rate),
            beta1=repr(self.beta1),
            beta2=repr(self.beta2),
            epsilon=repr(epsilon),
            keep=repr(1 - self.learning_rate * tensor.decay),
            scale=repr(float(self.rescale_grad)),
        )

    def _adam_single(self, tensor: Tensor, *, rate: float, epsilon: float) -> None:
        weight, (mean, variance, *master) = tensor.weight, tensor.state
        common = {"beta1": self.beta1, "beta2": self.beta2, "epsilon": epsilon, "lr": rate, "out": weight}
        if master:
            mx.nd.contrib.mp_adamw_update(
                weight,
                tensor.gradient,
                mean,
                variance,
                master[0],
                mx.nd.full((1,), self.rescale_grad, ctx=weight.context),
                eta=1.0,
                wd=self.learning_rate * tensor.decay,
                **common,
            )
            return
        if tensor.decay:
            weight *= 1 - self.learning_rate * tensor.decay
        mx.nd.adam_update(
            weight,
            tensor.gradient,
            mean,
            variance,
            wd=0.0,
            rescale_grad=self.rescale_grad,
            lazy_update=False,
            **common,
        )


class AdamW(_MultiTensor):
    """Decoupled weight decay (Loshchilov and Hutter, 2019)."""

    def apply(self, tensors: Sequence[Tensor]) -> None:
        """Update the weights in place."""
        self._adam(tensors)


class Lamb(_MultiTensor):
    """LAMB (You et al., 2020) for large batches: Adam's direction with the decay in it, for each tensor as long as the
    weights are (their norm over the direction's, times the rate). Tensors without decay take Adam's plain step, as in
    the authors' program; MXNet's fused LAMB would stretch those too."""

    def apply(self, tensors: Sequence[Tensor]) -> None:
        """Update the weights in place."""
        self._adam([tensor for tensor in tensors if not tensor.decay])
        stretched = [tensor for tensor in tensors if tensor.decay]
        if not stretched:
            return
        if self.fused:
            self._lamb_fused(stretched)
            return
        for tensor in stretched:
            self._lamb_single(tensor)

    def _lamb_fused(self, tensors: Sequence[Tensor]) -> None:
        half, lists = _as_lists(tensors)
        call = mx.nd.contrib.multi_mp_lamb_update if half else mx.nd.contrib.multi_lamb_update
        call(
            **lists,
            step_count=[self.step_number] * len(tensors),
            lrs=[self.learning_rate] * len(tensors),
            wds=[tensor.decay for tensor in tensors],
            beta1=self.beta1,
            beta2=self.beta2,
            epsilon=self.epsilon,
            bias_correction=True,
            rescale_grad=self.rescale_grad,
        )

    def _lamb_single(self, tensor: Tensor) -> None:
        weight, (mean, variance, *master) = tensor.weight, tensor.state
        first = mx.nd.mp_lamb_update_phase1 if master else mx.nd.lamb_update_phase1
        direction = first(
            weight,
            tensor.gradient,
            mean,
            variance,
            *master,
            beta1=self.beta1,
            beta2=self.beta2,
            epsilon=self.epsilon,
            t=self.step_number,
            bias_correction=True,
            wd=tensor.decay,
            rescale_grad=self.rescale_grad,
        )
        full = master[0] if master else weight
        mx.nd.lamb_update_phase2(full, direction, full.norm(), direction.norm(), lr=self.learning_rate, out=full)
        if master:
            full.copyto(weight)  # MXNet 1.9.1's mp_lamb_update_phase2 leaves the master weights as they were


def _as_lists(tensors: Sequence[Tensor]) -> tuple[bool, dict[str, list[Any]]]:
    """Arguments of MXNet's fused operators, and whether they are those with master weights."""
    lists = {
        "weights": [tensor.weight for tensor in tensors],
        "grads": [tensor.gradient for tensor in tensors],
        "mean": [tensor.state[0] for tensor in tensors],
        "var": [tensor.state[1] for tensor in tensors],
        "out": [tensor.weight for tensor in tensors],
    }
    half = len(tensors[0].state) == 3
    if half:
        lists["weights32"] = [tensor.state[2] for tensor in tensors]
    return half, lists


def squared_norm(gradients: Sequence[Any], *, native: bool = False) -> float:
    """Sum of squares of all elements; the caller's scale applies to the square. Half-precision gradients are squared
    in fp32: MXNet's operator would square them in fp16, where 256 is the largest number that has a square. `native`
    takes our own operator (CPUs), several times as fast as MXNet's."""
    wide = [g if g.dtype == np.float32 else g.astype("float32") for g in gradients]
    if native:
        return float(mx.nd.dure_sum_squares(*wide, count=str(len(wide))).asscalar())
    return float(mx.nd.multi_sum_sq(*wide, num_arrays=len(wide)).asnumpy().astype("float64").sum())
