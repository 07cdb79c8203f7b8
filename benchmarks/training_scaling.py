"""python -m benchmarks.training_scaling [--megabits 800]: two ranks on a core each against one, and what overlaps.

Weak scaling: every rank has the same batch and one core. In turn: one rank; two ranks that know nothing of each other
(what sharing a machine costs by itself); two Horovod ranks over loopback; and two that reduce only when the backward
pass is over, whose waiting is the floor: what a reduction of these gradients takes here. Efficiency beyond the floor
is (one rank's step + floor) / two ranks' step, of the fastest step of each arm; `beyond_sharing` takes one of two
strangers' step in the place of one rank's. Where even one rank's fastest step takes much more than its CPU seconds,
others disturb the machine and the result does not hold.

Then two machines (network namespaces) with limited links: Horovod's timeline shows the share of the reduction that ran
during the backward pass, with groups of gradients filled by name and as they become ready. This part needs root.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.support import median, result
from benchmarks.training_arms import MODEL, build_operators, results, run_arm, run_on_machines
from benchmarks.training_support import TRAINER, environment
from benchmarks.training_timeline import hidden, parse, reductions

WEAK = {**MODEL, "batch": 4, "pin": True}
DISTURBED = 1.15  # seconds over CPU seconds of one rank on one thread
ARMS: dict[str, dict[str, object]] = {
    "one": {"reducer": "none"},
    "two": {"reducer": "trainer"},
    "two, not overlapped": {"reducer": "trainer", "overlap": False},
}


def strangers(arm: dict[str, object]) -> list[dict[str, Any]]:
    """Two single ranks at the same time, each on its core."""
    command = [str(TRAINER), "-m", "benchmarks.arms.step", json.dumps(arm)]
    started = [
        subprocess.Popen(
            command,
            env=environment(OPENBLAS_CORETYPE="Haswell", HOROVOD_RANK=str(core)),
            stdout=subprocess.PIPE,
            text=True,
        )
        for core in range(2)
    ]
    return [results(process.communicate()[0])[0] for process in started]


def weak_scaling(*, runs: int, steps: int) -> dict[str, dict[str, float]]:
    """Seconds and CPU seconds of a step by arm, and the floor: the wait of the rank that came last."""
    seconds: dict[str, list[float]] = {name: [] for name in (*ARMS, "two strangers")}
    cpu: dict[str, list[float]] = {name: [] for name in seconds}
    floor: list[float] = []
    for number in range(runs):
        for name in seconds:
            arm = {**WEAK, "steps": steps, **ARMS.get(name, {"reducer": "none"})}
            if name == "two strangers":
                found = strangers(arm)
            else:
                found = results(run_arm(arm, ranks=2 if name.startswith("two") else 1).output)
            seconds[name] += [max(one["seconds"][step] for one in found) for step in range(steps)]
            cpu[name] += [sum(one["cpu"][step] for one in found) for step in range(steps)]
            if name == "two, not overlapped":
                waits = [[m["reduced"] - m["computed"] for m in one["moments"]] for one in found]
                floor += [min(each) for each in zip(*waits, strict=True)]
            print(f"run {number + 1}/{runs} {name}: {median(seconds[name]):.3f} s", file=sys.stderr, flush=True)
    table = {
        name: {
            "seconds": round(median(seconds[name]), 4),
            "fastest": round(min(seconds[name]), 4),
            "cpu_seconds": round(median(cpu[name]), 4),
        }
        for name in seconds
    }
    return {**table, "floor": {"seconds": round(median(floor), 4), "fastest": round(min(floor), 4)}}


def overlap(folder: Path, *, order: str, groups: int, megabits: float, steps: int) -> tuple[float, float]:
    """Share of the reduction that ran during the backward pass, and the median step's seconds."""
    path = folder / f"timeline-{order}-{groups}.json"
    arm = {**MODEL, "steps": steps, "order": order, "groups": groups}
    found = run_on_machines(arm, ranks=2, megabits=megabits, env={"HOROVOD_TIMELINE": str(path)})
    intervals = reductions(parse(path.read_text()), without=("meet",))
    moments = [(m["begun"], m["computed"], m["ended"]) for m in found.ranks[0]["moments"]]
    pairs = hidden(intervals, moments)
    return sum(part for _, part in pairs) / sum(whole for whole, _ in pairs), found.seconds


def overlaps(
    plans: Sequence[tuple[str, int]], *, runs: int, megabits: float, steps: int
) -> dict[str, dict[str, float]]:
    """Medians of all runs by plan, in turn."""
    found: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        for _ in range(runs):
            for order, groups in plans:
                one = overlap(Path(name), order=order, groups=groups, megabits=megabits, steps=steps)
                found.setdefault(f"{groups} groups, order: {order}", []).append(one)
                print(
                    f"{groups} groups, order: {order}: {one[0]:.2f} hidden, {one[1]:.3f} s", file=sys.stderr, flush=True
                )
    return {
        plan: {"hidden": round(median([h for h, _ in each]), 3), "seconds": round(median([s for _, s in each]), 4)}
        for plan, each in found.items()
    }


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabits", type=float, default=800.0)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--runs", type=int, default=2)
    args = parser.parse_args()
    build_operators()
    table = weak_scaling(runs=args.runs, steps=args.steps)
    one, two, floor = (table[name]["fastest"] for name in ("one", "two", "floor"))
    disturbed = table["one"]["fastest"] > DISTURBED * table["one"]["cpu_seconds"]
    plans = (("names", 4), ("backward", 4), ("backward", 16))
    shares = overlaps(plans, runs=args.runs, megabits=args.megabits, steps=args.steps)
    beyond = (one + floor) / two
    strange = table["two strangers"]["fastest"]
    return result(
        "training_scaling",
        beyond,
        unit="weak scaling of two ranks on a core each, beyond the measured floor of the reduction",
        goal=">= 0.9, and part of the reduction hidden",
        holds=not disturbed and beyond >= 0.9 and max(plan["hidden"] for plan in shares.values()) > 0,
        peers={
            "plain": one / two,
            "strangers": one / strange,
            **{f"hidden, {name}": row["hidden"] for name, row in shares.items()},
        },
        runs=args.runs,
        table={**table, **shares},
        megabits=args.megabits,
        beyond_sharing=round((strange + floor) / two, 3),
        disturbed=disturbed,
    )


if __name__ == "__main__":
    sys.exit(main())
