"""python -m benchmarks.training_ablation_trainer: Horovod's DistributedTrainer against its DistributedOptimizer.

Two ranks on this machine train the same network on the same batches. DistributedTrainer queues the reduction behind
the backward pass and updates all tensors in one call; DistributedOptimizer reduces inside of each update. Without
clipping, which DistributedOptimizer has no place for. Both in four fixed groups, as the trainer does, and as they come.
"""

from __future__ import annotations

import sys

from benchmarks.support import result
from benchmarks.training_arms import MODEL, build_operators, compare, options


def main() -> int:
    """Entry point."""
    args = options(__doc__, runs=2, steps=6)
    build_operators()
    arms = {
        f"{reducer}, {groups or 'no'} groups": {
            **MODEL,
            "steps": args.steps,
            "clip": False,
            "reducer": reducer,
            "groups": groups,
        }
        for groups in (4, 0)
        for reducer in ("trainer", "optimizer")
    }
    table, same = compare(arms, runs=args.runs, ranks=2)
    ratio = table["optimizer, 4 groups"]["seconds"] / table["trainer, 4 groups"]["seconds"]
    return result(
        "training_ablation_trainer",
        ratio,
        unit="x faster step, DistributedTrainer over DistributedOptimizer, 2 ranks",
        goal=">= 0.95 (no slower beyond the noise), same losses",
        holds=ratio >= 0.95 and same,
        peers={name: row["seconds"] for name, row in table.items()},
        runs=args.runs,
        table=table,
        losses_agree=same,
    )


if __name__ == "__main__":
    sys.exit(main())
