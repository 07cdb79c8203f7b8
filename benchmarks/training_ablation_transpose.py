"""python -m benchmarks.training_ablation_transpose: where a batch is turned, so that tokens come first.

On the host before it is sent (what the trainer does), by an operator on the device, or by turning the activations
around each attention, as a network with windows first has to. On a CPU the device is the host: only what the work
itself costs (CPU seconds of one thread) is seen, not that a GPU need not wait for the host.
"""

from __future__ import annotations

import sys

from benchmarks.support import result
from benchmarks.training_arms import MODEL, build_operators, compare, options


def main() -> int:
    """Entry point."""
    args = options(__doc__, runs=2, steps=8)
    build_operators()
    arms = {turn: {**MODEL, "steps": args.steps, "turn": turn} for turn in ("host", "device", "activations")}
    table, same = compare(arms, runs=args.runs)
    ratio = table["activations"]["cpu_seconds"] / table["host"]["cpu_seconds"]
    device = table["device"]["cpu_seconds"] / table["host"]["cpu_seconds"]
    return result(
        "training_ablation_transpose",
        ratio,
        unit="x fewer CPU seconds a step, ids turned once over activations turned at each layer",
        goal=">= 0.95 (no dearer beyond the noise), same losses",
        holds=ratio >= 0.95 and same,
        peers={**{name: row["cpu_seconds"] for name, row in table.items()}, "device_over_host": device},
        runs=args.runs,
        table=table,
        losses_agree=same,
    )


if __name__ == "__main__":
    sys.exit(main())
