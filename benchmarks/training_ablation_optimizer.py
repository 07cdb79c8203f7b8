"""python -m benchmarks.training_ablation_optimizer: multi-tensor AdamW and LAMB against one operator a tensor.

One update of all 148 tensors of a GPT-2 with 12 layers, narrow and wide: MXNet's multi-tensor operators (40 tensors a
call, what the trainer uses on GPUs), MXNet's operators for one tensor, and the trainer's own on a CPU. A multi-tensor
operator saves kernel launches, which a CPU hardly has. By the CPU seconds of one thread.
"""

from __future__ import annotations

import sys

from benchmarks.support import result
from benchmarks.training_arms import Row, build_operators, options, ways

UNITS = (128, 384)


def main() -> int:
    """Entry point."""
    args = options(__doc__, runs=1, steps=10)
    build_operators()
    table: dict[str, Row] = {}
    largest = 0.0
    for units in UNITS:
        rows, differences, found = ways("optimizer", 12, units, args.steps * args.runs)
        largest = max(largest, *differences.values())
        table |= {f"{found['parameters'] / 1e6:.1f} M parameters, {name}": row for name, row in rows.items()}
    last = {name.split(", ", 1)[1]: row["cpu_seconds"] for name, row in list(table.items())[-6:]}
    ratio = last["adamw one by one"] / last["adamw multi-tensor"]
    ours = min(last[n] for n in ("adamw multi-tensor", "adamw one by one")) / last["adamw, our operator"]
    return result(
        "training_ablation_optimizer",
        ratio,
        unit="x fewer CPU seconds an update, multi-tensor AdamW over MXNet's one by one",
        goal="same weights within 1e-5, and what the trainer takes on a CPU no dearer than either",
        holds=ours >= 1 and largest < 1e-5,
        peers={**last, "ours_over_the_better": ours, "lamb": last["lamb one by one"] / last["lamb multi-tensor"]},
        runs=args.steps * args.runs,
        table=table,
        largest_difference=largest,
    )


if __name__ == "__main__":
    sys.exit(main())
