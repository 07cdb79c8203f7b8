"""Gradients of one rank's part of a batch: forward and backward passes over its micro-batches."""

from __future__ import annotations

from typing import Any

import mxnet as mx
import numpy as np

from training.dataset.records import Batch
from training.parameters import Parameters


class Backward:
    """Computes gradients into the parameters. ``losses`` gives the loss of every token, natural log."""

    def __init__(self, losses: Any, parameters: Parameters, *, micro: int, context: Any) -> None:
        self._losses, self._parameters, self._micro, self._context = losses, parameters, micro, context

    def __call__(self, batch: Batch, *, scale: float | None = None) -> float:
        """Sum the gradients of all micro-batches, times `scale` if it is given; returns the mean loss, unscaled."""
        losses = []
        sums: list[Any] = []
        several = len(batch) > self._micro
        for first in range(0, len(batch), self._micro):
            inputs, targets = self._to_device(batch[first : first + self._micro])
            with mx.autograd.record():
                loss = self._losses(inputs, targets).mean()
                goal = loss if scale is None else loss * scale
            goal.backward()
            losses.append(loss)
            if several:
                # Added here and not by MXNet's grad_req "add": operators of an extension library always overwrite
                gradients = self._parameters.gradients()
                sums = [s + g for s, g in zip(sums, gradients, strict=True)] if sums else [g.copy() for g in gradients]
        for gradient, total in zip(self._parameters.gradients(), sums, strict=False):
            total.copyto(gradient)
        return sum(float(loss.asscalar()) for loss in losses) / len(losses)

    def _to_device(self, records: Batch) -> tuple[Any, Any]:
        turned = np.ascontiguousarray(records.T)  # (tokens, windows): cheaper here than transposing activations
        inputs, targets = (mx.nd.array(part, self._context, dtype="int32") for part in (turned[:-1], turned[1:]))
        return inputs, targets
