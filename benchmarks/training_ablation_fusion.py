"""python -m benchmarks.training_ablation_fusion [--megabits 800]: in what portions gradients are reduced.

Two machines (network namespaces with a limited link each) train the same network: all gradients in one group, in four
and in sixteen fixed groups (the trainer's --reduce-groups), one reduction a tensor, and Horovod's own fusion by timing
with several thresholds (MB) and cycle times (ms). Groups are filled by name, or in the order in which the backward
pass is through with the tensors (the trainer's). Fewer portions begin later, more portions pay more for each. Last,
four groups that begin only when the backward pass is over: what its overlap is worth. Arms alternate. Needs root.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.support import result
from benchmarks.training_arms import MODEL, Figures, medians, run_on_machines, same_losses

ARMS: dict[str, tuple[dict[str, object], dict[str, str]]] = {
    "1 group": ({"groups": 1}, {}),
    "4 groups": ({"groups": 4}, {}),
    "16 groups": ({"groups": 16}, {}),
    "4 groups, filled by name": ({"groups": 4, "order": "names"}, {}),
    "16 groups, filled by name": ({"groups": 16, "order": "names"}, {}),
    "each tensor, no fusion": ({"groups": 0}, {"HOROVOD_FUSION_THRESHOLD": "0"}),
    "fusion 8 MB, cycle 1 ms": (
        {"groups": 0},
        {"HOROVOD_FUSION_THRESHOLD": str(8 << 20), "HOROVOD_CYCLE_TIME": "1"},
    ),
    "fusion 64 MB, cycle 1 ms": (
        {"groups": 0},
        {"HOROVOD_FUSION_THRESHOLD": str(64 << 20), "HOROVOD_CYCLE_TIME": "1"},
    ),
    "fusion 64 MB, cycle 25 ms": (
        {"groups": 0},
        {"HOROVOD_FUSION_THRESHOLD": str(64 << 20), "HOROVOD_CYCLE_TIME": "25"},
    ),
    "4 groups, not overlapped": ({"groups": 4, "overlap": False}, {}),
}


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabits", type=float, default=800.0)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--runs", type=int, default=1)
    args = parser.parse_args()
    runs: dict[str, list[Figures]] = {name: [] for name in ARMS}
    for number in range(args.runs):
        for name, (changes, env) in ARMS.items():
            arm = {**MODEL, "steps": args.steps, **changes}
            done = run_on_machines(arm, ranks=2, megabits=args.megabits, env=env)
            runs[name].append(done)
            print(f"run {number + 1}, {name}: {done.seconds:.3f} s, {done.cpu:.3f} CPU-s", file=sys.stderr, flush=True)
    table = {name: medians(group, digits=4) for name, group in runs.items()}
    same = same_losses(runs, ranks=2)
    gain = table["4 groups, not overlapped"]["seconds"] / table["4 groups"]["seconds"]
    return result(
        "training_ablation_fusion",
        gain,
        unit=f"x faster step, reduction during the backward pass over after it, {args.megabits:g} Mbit/s links",
        goal="> 1, same losses",
        holds=gain > 1 and same,
        peers={name: row["seconds"] for name, row in table.items()},
        runs=args.runs,
        table=table,
        losses_agree=same,
        megabits=args.megabits,
    )


if __name__ == "__main__":
    sys.exit(main())
