"""The few things that ranks do together, over Horovod.

Horovod is initialised once, from the environment that training.launch has prepared; without one there is a single rank.
"""

from __future__ import annotations

import json
from collections.abc import MutableMapping
from typing import Any

import numpy as np

from training import background
from training.errors import LaunchError
from training.launching import tuning


class Ranks:
    """Rank and size of this process, and small collective operations (each must be called by all ranks in the same
    order)."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        # Without these a Horovod that was built with MPI too would start MPI
        environment.setdefault("HOROVOD_CONTROLLER", "gloo")
        environment.setdefault("HOROVOD_CPU_OPERATIONS", "gloo")
        environment.setdefault("HOROVOD_TIMELINE", "DYNAMIC")  # records nothing until training.profile asks for it
        import horovod.mxnet as hvd
        import mxnet as mx

        built = tuning.Built(gloo=bool(hvd.gloo_built()), mpi=bool(hvd.mpi_built()), nccl=bool(hvd.nccl_built()))
        requested = environment.get(tuning.REQUESTED, "auto")
        self.operations = tuning.choose(requested, built=built, gpus=int(mx.context.num_gpus()))
        before = background.threads()
        try:
            hvd.init()
        except Exception as error:
            raise LaunchError(
                f"Horovod could not bring the ranks together: {error}; "
                "start several ranks through python -m training.launch"
            ) from error
        background.demote(background.spinning(background.threads() - before))  # its writer of timelines, on rank 0
        self.hvd: Any = hvd
        self.rank, self.size, self.local_rank = int(hvd.rank()), int(hvd.size()), int(hvd.local_rank())

    def share(self, value: Any, *, name: str) -> Any:
        """Rank 0's `value` (anything JSON can hold) on all ranks."""
        if self.size == 1:
            return value
        import mxnet as mx

        data = np.frombuffer(json.dumps(value).encode(), np.uint8)
        length = int(self.hvd.broadcast(mx.nd.array([len(data)], dtype="int32"), 0, name=f"{name}.length").asscalar())
        buffer = mx.nd.array(data if self.rank == 0 else np.zeros(length, np.uint8), dtype="uint8")
        return json.loads(self.hvd.broadcast(buffer, 0, name=name).asnumpy().tobytes())

    def total(self, values: list[float], *, name: str) -> list[float]:
        """Element-wise sums over all ranks, in double precision."""
        if self.size == 1:
            return list(values)
        import mxnet as mx

        result = self.hvd.allreduce(mx.nd.array(values, dtype="float64"), average=False, name=name)
        return [float(value) for value in result.asnumpy()]

    def all_fine(self, problem: str, *, name: str) -> None:
        """Raise LaunchError on every rank if any rank has a problem (an empty text is none): nobody waits for one
        that gave up.
        """
        bad = self.total([float(bool(problem))], name=name)[0]
        if bad:
            raise LaunchError(problem or f"{int(bad)} other rank(s) failed; their own output says why")

    def shutdown(self) -> None:
        """Leave; other ranks that still wait for this one get an error."""
        self.hvd.shutdown()
