"""AdamW on MXNet's operators, and the learning-rate schedule.

MXNet has no AdamW class; its ``adam`` adds the decay to the gradient, which is another method. Here the decay is
decoupled (Loshchilov and Hutter, 2019): w <- w (1 - rate * decay), then Adam's step with both bias corrections.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mxnet as mx

_AGGREGATE = 40  # tensors a fused call; MXNet's operator takes at most 60


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
    knows it).
    """

    def __init__(
        self, *, beta1: float, beta2: float, epsilon: float, weight_decay: float, fused: bool, native: bool = False
    ) -> None:
        super().__init__(wd=weight_decay, learning_rate=0.0)
        self.beta1, self.beta2, self.epsilon, self.fused, self.native = beta1, beta2, epsilon, fused, native
        self.aggregate_num = _AGGREGATE
        self.step_number = 0

    def create_state(self, index: int, weight: Any) -> tuple[Any, Any]:
        """Mean and variance, zero at first."""
        del index
        return tuple(mx.nd.zeros(weight.shape, weight.context, dtype="float32") for _ in range(2))

    def update(self, index: Any, weight: Any, grad: Any, state: Any) -> None:
        """Gluon's entry point: one tensor, or lists."""
        if not isinstance(index, (list, tuple)):
            index, weight, grad, state = [index], [weight], [grad], [state]
        decays = [self._get_wd(i) for i in index]
        self.apply(weight, grad, state, decays=decays)

    update_multi_precision = update

    def apply(
        self,
        weights: Sequence[Any],
        gradients: Sequence[Any],
        states: Sequence[Any],
        *,
        decays: Sequence[float],
    ) -> None:
        """Update `weights` in place."""
        raise NotImplementedError


class AdamW(_MultiTensor):
    """Decoupled weight decay.

    ``fused`` uses one operator for many tensors (GPUs), ``native`` our own operator for each (CPUs); without either it
    takes two cheap built-in ones a tensor.
    """

    def apply(
        self,
        weights: Sequence[Any],
        gradients: Sequence[Any],
        states: Sequence[Any],
        *,
        decays: Sequence[float],
    ) -> None:
        """Update `weights` in place."""
        step = self.step_number
        correction = math.sqrt(1 - self.beta2**step)
        rate = self.learning_rate * correction / (1 - self.beta1**step)
        epsilon = self.epsilon * correction  # so that epsilon is added to the corrected deviation
        if self.fused:
            count = len(weights)
            tensors = [t for w, g, (m, v) in zip(weights, gradients, states, strict=True) for t in (w, g, m, v)]
            scale = mx.nd.full((1,), self.rescale_grad, ctx=weights[0].context)
            mx.nd.contrib.multi_adamw_update(
                weights=tensors[0::4],
                grads=tensors[1::4],
                mean=tensors[2::4],
                var=tensors[3::4],
                rescale_grad=scale,
                out=list(weights),
                lrs=[rate] * count,
                wds=[self.learning_rate * d for d in decays],
                etas=[1.0] * count,
                beta1=self.beta1,
                beta2=self.beta2,
                epsilon=epsilon,
                size=count,
            )
            return
        for weight, gradient, (mean, variance), decay in zip(weights, gradients, states, decays, strict=True):
            if self.native:
                mx.nd.dure_adamw(
                    weight,
                    gradient,
                    mean,
                    variance,
                    rate=repr(rate),
                    beta1=repr(self.beta1),
                    beta2=repr(self.beta2),
                    epsilon=repr(epsilon),
                    keep=repr(1 - self.learning_rate * decay),
                    scale=repr(float(self.rescale_grad)),
                )
                continue
            if decay:
                weight *= 1 - self.learning_rate * decay
            mx.nd.adam_update(
                weight,
                gradient,
                mean,
                variance,
                out=weight,
                lr=rate,
                beta1=self.beta1,
                beta2=self.beta2,
                epsilon=epsilon,
                wd=0.0,
                rescale_grad=self.rescale_grad,
                lazy_update=False,
            )


class Lamb(_MultiTensor):
    """LAMB (You et al., 2020) for large batches: Adam's direction with the decay in it, for each tensor as long as the
    weights are (their norm over the direction's, times the rate). Tensors without decay take Adam's plain step."""

    def apply(
        self, weights: Sequence[Any], gradients: Sequence[Any], states: Sequence[Any], *, decays: Sequence[float]
    ) -> None:
        """Update `weights` in place."""
        for weight, gradient, (mean, variance), decay in zip(weights, gradients, states, decays, strict=True):
            direction = mx.nd.lamb_update_phase1(
                weight,
                gradient,
                mean,
                variance,
                beta1=self.beta1,
                beta2=self.beta2,
                epsilon=self.epsilon,
                t=self.step_number,
                bias_correction=True,
                wd=decay,
                rescale_grad=self.rescale_grad,
            )
            if decay:
                norms = weight.norm(), direction.norm()
            else:
                norms = mx.nd.ones((1,), weight.context), mx.nd.ones((1,), weight.context)
            mx.nd.lamb_update_phase2(weight, direction, *norms, lr=self.learning_rate, out=weight)


def squared_norm(gradients: Sequence[Any]) -> float:
    """Sum of squares of all elements; the caller's scale applies to the square."""
    return float(mx.nd.multi_sum_sq(*gradients, num_arrays=len(gradients)).asnumpy().astype("float64").sum())
