"""python -m benchmarks.training_ablation_graph: the network as one graph with static memory, as a graph, op by op.

hybridize(static_alloc=True, static_shape=True), as the trainer does; hybridize(); and Gluon's imperative mode. On one
thread, by its CPU seconds.
"""

from __future__ import annotations

import sys

from benchmarks.support import result
from benchmarks.training_arms import MODEL, build_operators, compare, options


def main() -> int:
    """Entry point."""
    args = options(__doc__, runs=2, steps=8)
    build_operators()
    arms = {graph: {**MODEL, "steps": args.steps, "graph": graph} for graph in ("static", "hybrid", "imperative")}
    table, same = compare(arms, runs=args.runs)
    ratio = table["imperative"]["cpu_seconds"] / table["static"]["cpu_seconds"]
    return result(
        "training_ablation_graph",
        ratio,
        unit="x fewer CPU seconds a step, static graph over imperative",
        goal=">= 0.95 (no dearer beyond the noise), same losses",
        holds=ratio >= 0.95 and same,
        peers={name: row["cpu_seconds"] for name, row in table.items()},
        runs=args.runs,
        table=table,
        losses_agree=same,
    )


if __name__ == "__main__":
    sys.exit(main())
