"""python -m benchmarks.training_ablation_fp16: fp16 with fp32 master weights against fp32, the talk's model on one GPU.

MXNet has no fp16 kernel for dense layers on a CPU. There this only shows that: the result says that nothing was
measured, and what MXNet answered.
"""

from __future__ import annotations

import json
import sys

from benchmarks.support import result
from benchmarks.training_arms import options
from benchmarks.training_support import TRAINER, environment, measure


def main() -> int:
    """Entry point."""
    args = options(__doc__, runs=1, steps=20)
    output = measure([TRAINER, "-m", "benchmarks.arms.half", str(args.steps)], env=environment()).output
    kind, text = next(line.split(" ", 1) for line in output.splitlines() if line.startswith(("RESULT ", "REFUSED ")))
    found = json.loads(text)
    measured = kind == "RESULT"
    seconds: dict[str, float] = found["seconds"] if measured else {}
    ratio = seconds["fp32"] / seconds["fp16"] if measured else 0.0
    return result(
        "training_ablation_fp16",
        ratio,
        unit="x faster step, fp16 over fp32" + ("" if measured else " (nothing measured: needs a GPU)"),
        goal="> 1 on a GPU",
        holds=ratio > 1 or not measured,
        peers={name: seconds.get(name) for name in ("fp32", "fp16")},
        runs=args.steps,
        table={name: {"seconds": round(value, 5)} for name, value in seconds.items()},
        measured=measured,
        device=found["device"],
        said=found.get("said", ""),
    )


if __name__ == "__main__":
    sys.exit(main())
