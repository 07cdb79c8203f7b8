"""Other ways to compute the same network, put in the place of ours: what the tuning list compares with."""

from __future__ import annotations

import math
from typing import Any

import mxnet as mx

from training.model import network

_ROOT_HALF = math.sqrt(0.5)


def composed_gelu() -> None:
    """GELU from four elementary operators in the place of the fused one, in every network made from now on."""

    def forward(self: Any, F: Any, x: Any, mask: Any) -> Any:
        x = x + self._drop(F, self.attention(self.norm1(x), mask))
        up = self.up(self.norm2(x))
        hidden = up * (F.erf(up * _ROOT_HALF) + 1) * 0.5
        return x + self._drop(F, self.down(hidden))

    network.Block.hybrid_forward = forward  # type: ignore[method-assign]


def windows_first() -> None:
    """Activations (B, S, D): each attention turns them to the operators' (S, B, D) and back. Ids come as (B, S)."""
    inner = network.CausalAttention.hybrid_forward

    def attend(self: Any, F: Any, x: Any, mask: Any) -> Any:
        return F.swapaxes(inner(self, F, F.swapaxes(x, dim1=0, dim2=1), mask), dim1=0, dim2=1)

    def forward(self: Any, F: Any, tokens: Any, *, embedding: Any, positions: Any, mask: Any = None) -> Any:
        c = self.config
        x = F.Embedding(tokens, embedding, input_dim=c.vocabulary, output_dim=c.units)
        x = F.broadcast_add(x, F.swapaxes(positions, dim1=0, dim2=1))
        for block in self.blocks:
            x = block(x, mask)
        return F.FullyConnected(self.norm(x), embedding, no_bias=True, num_hidden=c.vocabulary, flatten=False)

    network.CausalAttention.hybrid_forward = attend  # type: ignore[method-assign]
    network.GPT.hybrid_forward = forward  # type: ignore[method-assign]


class TurnedOnDevice(mx.gluon.HybridBlock):  # type: ignore[misc]
    """Takes ids and targets as (B, S) and turns them with an operator."""

    def __init__(self, losses: Any) -> None:
        super().__init__(prefix="turned_")
        self.losses = losses

    def hybrid_forward(self, F: Any, tokens: Any, targets: Any) -> Any:
        """(B, S) twice -> (S, B) losses."""
        return self.losses(F.transpose(tokens), F.transpose(targets))
