"""python -m benchmarks.training_ablation_reducer [--megabits 400]: one reducer against a ring, on links with a limit.

Two and four machines (network namespaces, each with a link of its own of the given rate both ways) train the same
GPT-2 on the same batches: with MXNet's parameter server (kvstore dist_sync over ps-lite, its own scheduler and server
processes) on a machine of its own, the same with a server on every machine, and with Horovod's ring over Gloo, as the
trainer does. The losses of every rank must agree. Arms alternate. Needs root.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.support import median, result
from benchmarks.training_arms import MODEL, Figures, Row, medians, run_on_machines, same_losses

# 16.8 MB of gradients and few tokens, so that the link decides
FEW_TOKENS: dict[str, int] = {**MODEL, "sequence": 64, "batch": 1}
ARMS = {"ring": None, "one server": "one", "a server each": "each"}


def link_seconds(arm: str, ranks: int, *, megabytes: float, megabits: float) -> float:
    """What the fullest link needs at least for one step, both directions used at once: the one server's link carries
    the gradients of all ranks, each other link 2 (n - 1) / n of them."""
    share = float(ranks) if arm == "one server" else 2 * (ranks - 1) / ranks
    return share * megabytes * 8 / megabits


def rows(runs: dict[str, list[Figures]], *, ranks: int, megabits: float) -> dict[str, Row]:
    """A row an arm."""
    return {
        f"{arm}, {ranks} ranks": {
            **medians(group, digits=3),
            "records_per_second": round(ranks * FEW_TOKENS["batch"] / median([one.seconds for one in group]), 2),
            "link_needs_seconds": round(link_seconds(arm, ranks, megabytes=group[0].megabytes, megabits=megabits), 3),
        }
        for arm, group in runs.items()
    }


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabits", type=float, default=400.0)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4])
    args = parser.parse_args()
    table: dict[str, Row] = {}
    same = True
    for ranks in args.ranks:
        runs: dict[str, list[Figures]] = {arm: [] for arm in ARMS}
        for number in range(args.runs):
            for arm, servers in ARMS.items():
                model = {**FEW_TOKENS, "steps": args.steps}
                done = run_on_machines(model, ranks=ranks, megabits=args.megabits, servers=servers)
                runs[arm].append(done)
                said = f"{ranks} ranks, run {number + 1}, {arm}: {done.seconds:.3f} s, {done.cpu:.3f} CPU-s a step"
                print(said, file=sys.stderr, flush=True)
        same = same_losses(runs, ranks=ranks) and same
        table |= rows(runs, ranks=ranks, megabits=args.megabits)
    most = max(args.ranks)
    gain = table[f"one server, {most} ranks"]["seconds"] / table[f"ring, {most} ranks"]["seconds"]
    return result(
        "training_ablation_reducer",
        gain,
        unit=f"x faster step, Horovod's ring over one reducer, {most} ranks on {args.megabits:g} Mbit/s links",
        goal="> 1, same losses",
        holds=gain > 1 and same,
        peers={arm: row["seconds"] for arm, row in table.items()},
        runs=args.runs,
        table=table,
        losses_agree=same,
        megabits=args.megabits,
    )


if __name__ == "__main__":
    sys.exit(main())
