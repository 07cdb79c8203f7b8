"""GPT-2 as a Gluon HybridBlock.

Shapes: S tokens in a window, B windows, D units, H heads, V pieces. Inside, activations are (S, B, D), the layout of
MXNet's interleaved attention operators, which take queries, keys and values of each head side by side from one
product.
"""

from __future__ import annotations

import math
from typing import Any

import mxnet as mx
import numpy as np
from mxnet.gluon import nn

from training.dataset.order import derive
from training.model.config import ModelConfig

_INITIAL_DEVIATION = 0.02
_EPSILON = 1e-5
_MASKED = -1e9  # far below any score, and finite: a softmax over it has no NaN (fp16 uses its own bound)
_MASKED_FP16 = -6e4


class CausalAttention(mx.gluon.HybridBlock):  # type: ignore[misc]
    """Multi-head self-attention in which a token sees itself and what stands before it."""

    def __init__(self, config: ModelConfig, *, native: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._heads, self._dropout = config.heads, config.dropout
        self._native = native and not config.dropout  # the native operator has no dropout of its weights
        with self.name_scope():
            self.qkv = nn.Dense(3 * config.units, flatten=False, in_units=config.units, prefix="qkv_")
            self.out = nn.Dense(config.units, flatten=False, in_units=config.units, prefix="out_")

    def hybrid_forward(self, F: Any, x: Any, mask: Any) -> Any:
        """(S, B, D), (1, S, S) -> (S, B, D)."""
        qkv = self.qkv(x)
        if self._native:
            return self.out(F.dure_causal_attention(qkv, heads=str(self._heads))[0])
        scores = F.contrib.interleaved_matmul_selfatt_qk(qkv, heads=self._heads)
        # Added in full size behind BlockGrad: a broadcast_add would sum a gradient for the mask that nobody reads
        scores = scores + F.BlockGrad(F.broadcast_like(mask, scores, lhs_axes=(0,), rhs_axes=(0,)))
        weights = F.softmax(scores, axis=-1)
        if self._dropout:
            weights = F.Dropout(weights, p=self._dropout)
        return self.out(F.contrib.interleaved_matmul_selfatt_valatt(qkv, weights, heads=self._heads))


class Norm(mx.gluon.HybridBlock):  # type: ignore[misc]
    """Layer norm over the last axis."""

    def __init__(self, units: int, *, native: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._native = native
        with self.name_scope():
            self.gamma = self.params.get("gamma", shape=(units,))
            self.beta = self.params.get("beta", shape=(units,))

    def hybrid_forward(self, F: Any, x: Any, *, gamma: Any, beta: Any) -> Any:
        """Any shape that ends with D."""
        if self._native:
            return F.dure_layer_norm(x, gamma, beta)[0]
        return F.LayerNorm(x, gamma, beta, axis=-1, eps=_EPSILON)


class Block(mx.gluon.HybridBlock):  # type: ignore[misc]
    """Norm, attention, norm, two dense layers; each half is added to its input."""

    def __init__(self, config: ModelConfig, *, native: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._dropout = config.dropout
        with self.name_scope():
            self.norm1 = Norm(config.units, native=native, prefix="norm1_")
            self.attention = CausalAttention(config, native=native, prefix="attention_")
            self.norm2 = Norm(config.units, native=native, prefix="norm2_")
            self.up = nn.Dense(4 * config.units, flatten=False, in_units=config.units, prefix="up_")
            self.down = nn.Dense(config.units, flatten=False, in_units=4 * config.units, prefix="down_")

    def hybrid_forward(self, F: Any, x: Any, mask: Any) -> Any:
        """(S, B, D), (1, S, S) -> (S, B, D)."""
        x = x + self._drop(F, self.attention(self.norm1(x), mask))
        hidden = F.LeakyReLU(self.up(self.norm2(x)), act_type="gelu")  # the fused operator for GELU
        return x + self._drop(F, self.down(hidden))

    def _drop(self, F: Any, x: Any) -> Any:
        return F.Dropout(x, p=self._dropout) if self._dropout else x


class GPT(mx.gluon.HybridBlock):  # type: ignore[misc]
    """The network from ids (S, B) to logits (S, B, V). With `native` it computes with training.native's operators,
    with `half` it is made to be cast to fp16."""

    def __init__(self, config: ModelConfig, *, native: bool, half: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config, self.native = config, native
        with self.name_scope():
            self.embedding = self.params.get("embedding", shape=(config.vocabulary, config.units))
            self.positions = self.params.get("positions", shape=(config.sequence, 1, config.units))
            if not native or config.dropout:
                self.mask = self.params.get_constant("mask", _mask(config.sequence, half=half))
            self.blocks = nn.HybridSequential(prefix="")
            for number in range(config.layers):
                self.blocks.add(Block(config, native=native, prefix=f"block{number}_"))
            self.norm = Norm(config.units, native=native, prefix="norm_")

    def hybrid_forward(self, F: Any, tokens: Any, *, embedding: Any, positions: Any, mask: Any = None) -> Any:
        """(S, B) ids of exactly ``config.sequence`` tokens -> (S, B, V)."""
        config = self.config
        x = F.Embedding(tokens, embedding, input_dim=config.vocabulary, output_dim=config.units)
        x = F.broadcast_add(x, positions)
        if config.dropout:
            x = F.Dropout(x, p=config.dropout)
        for block in self.blocks:
            x = block(x, mask)
        return F.FullyConnected(self.norm(x), embedding, no_bias=True, num_hidden=config.vocabulary, flatten=False)


class TokenLoss(mx.gluon.HybridBlock):  # type: ignore[misc]
    """The network with its loss: ids and targets (S, B) -> natural-log loss of each token (S, B)."""

    def __init__(self, network: GPT, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.network = network

    def hybrid_forward(self, F: Any, tokens: Any, targets: Any) -> Any:
        """Cross-entropy of every token, not reduced."""
        logits = F.cast(self.network(tokens), "float32")
        if self.network.native:
            flat = F.reshape(logits, shape=(-3, 0)), F.reshape(F.cast(targets, "float32"), shape=(-1,))
            return F.reshape_like(F.dure_cross_entropy(*flat)[0], targets)
        return -F.pick(F.log_softmax(logits, axis=-1), targets, axis=-1)


def _mask(length: int, *, half: bool) -> Any:
    low = _MASKED_FP16 if half else _MASKED
    return mx.nd.array(np.triu(np.full((1, length, length), low, np.float32), 1))


def build(config: ModelConfig, *, seed: int, context: Any, native: bool = False, half: bool = False) -> GPT:
    """A network on `context` with initial weights that are a function of `seed` and each parameter's name alone;
    with `half` all of it is in fp16."""
    network = GPT(config, native=native, half=half, prefix="gpt_")
    network.initialize(mx.init.Zero(), ctx=context)
    for name, value in initial_weights(network, seed=seed).items():
        named_parameters(network)[name].set_data(mx.nd.array(value, ctx=context))
    if half:
        network.cast("float16")
    return network


def initial_weights(network: GPT, *, seed: int) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """What the parameters of a new network hold, in full precision."""
    return {
        name: initial_value(name, parameter.shape, config=network.config, seed=seed)
        for name, parameter in sorted(named_parameters(network).items())
    }


def named_parameters(network: GPT) -> dict[str, Any]:
    """Trained parameters by stable names such as ``block0_attention_qkv_weight``."""
    prefix = len(network.prefix)
    return {name[prefix:]: p for name, p in network.collect_params().items() if p.grad_req != "null"}


def initial_value(
    name: str, shape: tuple[int, ...], *, config: ModelConfig, seed: int
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """GPT-2's initial weights: normal with deviation 0.02, smaller where a residual branch ends; norms one, biases
    zero.
    """
    if name.endswith("gamma"):
        return np.ones(shape, np.float32)
    if name.endswith(("beta", "bias")):
        return np.zeros(shape, np.float32)
    deviation = _INITIAL_DEVIATION
    if name.endswith(("out_weight", "down_weight")):
        deviation /= math.sqrt(2 * config.layers)
    generator = np.random.Generator(np.random.Philox(derive("weights", seed, name)))
    return generator.standard_normal(shape, np.float32) * np.float32(deviation)


def decays(name: str) -> bool:
    """Whether weight decay applies: to matrices, not to biases and norms."""
    return not name.endswith(("bias", "gamma", "beta"))
