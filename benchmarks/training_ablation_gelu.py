"""python -m benchmarks.training_ablation_gelu: GELU as MXNet's fused operator against four elementary ones.

The operator with its gradient, on what lies between the two dense layers of one block of the talk's model, and whole
training steps with either, on one thread, by its CPU seconds. The fused operator is LeakyReLU(act_type="gelu"), with
the exact error function.
"""

from __future__ import annotations

import sys

from benchmarks.support import result
from benchmarks.training_arms import MODEL, build_operators, compare, options, ways


def main() -> int:
    """Entry point."""
    args = options(__doc__, runs=3, steps=8)
    build_operators()
    operators, differences, _ = ways("gelu", 4 * args.steps)
    arms = {f"step, {gelu}": {**MODEL, "steps": args.steps, "gelu": gelu} for gelu in ("fused", "composed")}
    table, same = compare(arms, runs=args.runs)
    table |= {f"operator, {name}": row for name, row in operators.items()}
    right = max(differences.values()) < 1e-5
    alone = operators["composed"]["cpu_seconds"] / operators["fused"]["cpu_seconds"]
    ratio = table["step, composed"]["cpu_seconds"] / table["step, fused"]["cpu_seconds"]
    return result(
        "training_ablation_gelu",
        ratio,
        unit="x fewer CPU seconds a step, fused GELU over composed",
        goal=">= 0.95 (no dearer beyond the noise), the operator alone > 1, same losses",
        holds=ratio >= 0.95 and alone > 1 and same and right,
        peers={**{name: row["cpu_seconds"] for name, row in table.items()}, "operator_alone_ratio": alone},
        runs=args.runs,
        table=table,
        losses_agree=same,
        largest_difference=max(differences.values()),
    )


if __name__ == "__main__":
    sys.exit(main())
