"""Training in half precision: which device can, and the scale that keeps small gradients from vanishing in fp16.

The loss is multiplied by a scale before the backward pass and the gradients divided by it in the update. A gradient
that overflowed (some element of the reduced gradient is not finite) costs its step: the weights stay, the scale is
halved. After a number of good steps in a row the scale is doubled. Source: Micikevicius et al. 2018, "Mixed precision
training", section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from training.errors import SettingsError

PRECISIONS = ("fp32", "fp16")
FIRST_SCALE = 2.0**15
LEAST_SCALE = 1.0
LARGEST_SCALE = 2.0**24
GOOD_STEPS = 2000


@dataclass(frozen=True)
class LossScale:
    """The present scale (a power of two, so that scaling loses no bit) and the good steps since it last changed."""

    scale: float = FIRST_SCALE
    good: int = 0

    def after(self, *, overflowed: bool) -> LossScale:
        """What the next step uses."""
        if overflowed:
            return LossScale(max(LEAST_SCALE, self.scale / 2), 0)
        if self.good + 1 < GOOD_STEPS:
            return replace(self, good=self.good + 1)
        return LossScale(min(LARGEST_SCALE, self.scale * 2), 0)

    @property
    def can_fall(self) -> bool:
        """Whether a smaller scale may help. At the smallest one a gradient that is not finite is a bad step as it
        would be in fp32."""
        return self.scale > LEAST_SCALE


def refuse_where_impossible(precision: str, context: Any) -> None:
    """SettingsError unless MXNet can train in `precision` on this device."""
    if precision == "fp16" and context.device_type != "gpu":
        raise SettingsError(
            f"--precision fp16 needs a GPU, this rank is on {context}: MXNet's FullyConnected and dot have no "
            "half-precision kernel for CPUs; use --precision fp32 here"
        )
