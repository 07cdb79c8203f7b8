"""How Horovod and NCCL reduce: the options, the variables they become, and what they cost in exactness. Pure.

Source of the variables: https://horovod.readthedocs.io/en/stable/tensor-fusion.html, .../autotune.html, and
https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/env.html.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from training.errors import LaunchError, SettingsError

OPERATIONS = ("auto", "gloo", "mpi", "nccl")
REQUESTED = "DURE_OPERATIONS"
"""Variable that carries --operations from the launcher to the ranks."""
_NCCL_ALGORITHMS = {"ring": "Ring", "tree": "Tree"}


@dataclass(frozen=True)
class Tuning:
    """What a run asks of the reduction; None leaves a value to the library or to the environment."""

    operations: str = "auto"
    fusion_threshold_mb: float | None = None
    cycle_time_ms: float | None = None
    hierarchical_allreduce: bool = False
    autotune: bool = False
    autotune_log: Path | None = None
    nccl_algorithm: str | None = None

    def __post_init__(self) -> None:
        problems = [
            f"--{name.replace('_', '-')} is {value}, must not be negative"
            for name, value in (
                ("fusion_threshold_mb", self.fusion_threshold_mb),
                ("cycle_time_ms", self.cycle_time_ms),
            )
            if value is not None and value < 0
        ]
        if self.autotune_log is not None and not self.autotune:
            problems.append("--autotune-log needs --autotune")
        if problems:
            raise SettingsError("; ".join(problems))

    def variables(self) -> dict[str, str]:
        """Environment of a rank."""
        found = {REQUESTED: self.operations}
        if self.operations == "mpi":
            found |= {"HOROVOD_CONTROLLER": "mpi", "HOROVOD_CPU_OPERATIONS": "mpi", "HOROVOD_DISABLE_GROUP_FUSION": "1"}
        if self.fusion_threshold_mb is not None:
            found["HOROVOD_FUSION_THRESHOLD"] = str(int(self.fusion_threshold_mb * (1 << 20)))
        if self.cycle_time_ms is not None:
            found["HOROVOD_CYCLE_TIME"] = str(self.cycle_time_ms)
        if self.hierarchical_allreduce:
            found["HOROVOD_HIERARCHICAL_ALLREDUCE"] = "1"
        if self.autotune:
            found["HOROVOD_AUTOTUNE"] = "1"
        if self.autotune_log is not None:
            found["HOROVOD_AUTOTUNE_LOG"] = str(self.autotune_log)
        if self.nccl_algorithm is not None:
            found["NCCL_ALGO"] = _NCCL_ALGORITHMS[self.nccl_algorithm]
        return found


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command line of :class:`Tuning`."""
    group = parser.add_argument_group("reduction")
    group.add_argument(
        "--operations",
        choices=OPERATIONS,
        default="auto",
        help="auto: NCCL for GPUs where Horovod has it, else Gloo; mpi: ranks were started by an MPI (srun --mpi=pmix)",
    )
    group.add_argument(
        "--fusion-threshold-mb", type=float, help="Horovod's fusion buffer; acts with pretrain's --reduce-groups 0"
    )
    group.add_argument("--cycle-time-ms", type=float, help="how often Horovod looks for ready gradients")
    group.add_argument(
        "--hierarchical-allreduce", action="store_true", help="reduce inside each node first (NCCL and MPI)"
    )
    group.add_argument("--autotune", action="store_true", help="let Horovod change these while it runs")
    group.add_argument("--autotune-log", type=Path, help="CSV file of what autotune tried")
    group.add_argument("--nccl-algorithm", choices=tuple(_NCCL_ALGORITHMS), help="default: NCCL's own choice")


def from_options(args: argparse.Namespace) -> Tuning:
    """The options' values."""
    return Tuning(
        operations=args.operations,
        fusion_threshold_mb=args.fusion_threshold_mb,
        cycle_time_ms=args.cycle_time_ms,
        hierarchical_allreduce=args.hierarchical_allreduce,
        autotune=args.autotune,
        autotune_log=args.autotune_log,
        nccl_algorithm=args.nccl_algorithm,
    )


@dataclass(frozen=True)
class Built:
    """What the installed Horovod was compiled with."""

    gloo: bool
    mpi: bool
    nccl: bool


def choose(requested: str, *, built: Built, gpus: int) -> str:
    """What will carry the gradients; LaunchError if that cannot be."""
    if requested == "auto":
        if gpus and built.nccl:
            return "nccl"
        requested = "gloo"
    if not getattr(built, requested):
        have = ", ".join(name for name in ("gloo", "mpi", "nccl") if getattr(built, name)) or "nothing"
        raise LaunchError(
            f"--operations {requested}: this Horovod was built with {have}; build it with "
            f"{'HOROVOD_GPU_OPERATIONS=NCCL' if requested == 'nccl' else f'HOROVOD_WITH_{requested.upper()}=1'}, "
            "or choose another one"
        )
    if requested == "nccl" and not gpus:
        raise LaunchError("--operations nccl: MXNet sees no GPU on this machine; use --operations gloo")
    return requested


def inexact_because(environment: Mapping[str, str], *, groups: int, ranks: int) -> list[str]:
    """Why a resumed run may differ from an undisturbed one in the last bits: sums are then taken in an order that
    depends on timing. Empty when it will not."""
    if ranks == 1:
        return []
    reasons = []
    if not groups:
        reasons.append("gradients are fused as they come (--reduce-groups 0)")
    elif environment.get("HOROVOD_DISABLE_GROUP_FUSION") != "1":
        reasons.append("groups of gradients may be fused with others (HOROVOD_DISABLE_GROUP_FUSION is not 1)")
    if environment.get("HOROVOD_AUTOTUNE", "0") not in ("", "0"):
        reasons.append("Horovod changes how it reduces while it runs (--autotune)")
    return reasons
