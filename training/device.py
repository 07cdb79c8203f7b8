"""Which device a rank computes on."""

from __future__ import annotations

from typing import Any


def choose(local_rank: int) -> Any:
    """The GPU with this rank's number on the machine where MXNet sees one, else the CPU."""
    import mxnet as mx

    count = mx.context.num_gpus()
    return mx.gpu(local_rank % count) if count else mx.cpu()
