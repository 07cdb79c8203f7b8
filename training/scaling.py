"""The talk's table from the logs of the same training at several sizes: records/s, speed-up and efficiency.

    python -m training.scaling weak-1.log weak-2.log weak-4.log

Reads what training.pretrain prints. The first rank count is the base: speed-up is records/s over the base's, efficiency
is speed-up over the ratio of the ranks. runs/scaling.sh makes the logs.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from training.command import run, say
from training.errors import TrainingError

_SIZE = re.compile(r"(\d+) rank\(s\) on (\S+) over (\S+), global batch (\d+) x (\d+) tokens")
_SPEED = re.compile(r"^([\d.]+) records/s on average", re.MULTILINE)


@dataclass(frozen=True)
class Measured:
    """One run: ranks, records of a step, records a second of the whole job."""

    ranks: int
    global_batch: int
    records_per_second: float


@dataclass(frozen=True)
class Row:
    """A line of the table; speed-up and efficiency are against the smallest run."""

    ranks: int
    global_batch: int
    records_per_second: float
    speed_up: float
    efficiency: float


def measured(text: str, *, name: str) -> Measured:
    """The figures in a job's log; TrainingError if the run did not come to its end."""
    size, speed = _SIZE.search(text), _SPEED.search(text)
    if not size or not speed:
        last = text.strip().splitlines()[-1:] or ["nothing"]
        raise TrainingError(f"{name} is no log of a finished training.pretrain; it ends with: {last[0]}")
    found = Measured(int(size[1]), int(size[4]), float(speed[1]))
    if not found.records_per_second:
        raise TrainingError(f"{name} has no speed: the run had nothing left to do; give it another --output")
    return found


def table(runs: Sequence[Measured]) -> list[Row]:
    """Rows by rising number of ranks."""
    ordered = sorted(runs, key=lambda one: one.ranks)
    base = ordered[0]
    rows = []
    for one in ordered:
        speed_up = one.records_per_second / base.records_per_second
        rows.append(
            Row(one.ranks, one.global_batch, one.records_per_second, speed_up, speed_up / (one.ranks / base.ranks))
        )
    return rows


def readable(rows: Sequence[Row]) -> list[str]:
    """The table for people."""
    lines = [f"{'ranks':>6} {'batch':>7} {'records/s':>10} {'speed-up':>9} {'efficiency':>11}"]
    lines += [
        f"{row.ranks:>6} {row.global_batch:>7} {row.records_per_second:>10.1f} {row.speed_up:>9.2f} "
        f"{row.efficiency:>11.1%}"
        for row in rows
    ]
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    p = argparse.ArgumentParser(prog="python -m training.scaling", description="Speed-up and efficiency from logs.")
    p.add_argument("logs", nargs="+", type=Path, help="what training.pretrain printed, one file a run")
    p.add_argument("--json", action="store_true")
    args = p.parse_args(sys.argv[1:] if argv is None else argv)
    try:
        runs = [measured(path.read_text(errors="replace"), name=str(path)) for path in args.logs]
    except OSError as error:
        raise TrainingError(f"a log cannot be read: {error}") from error
    rows = table(runs)
    if args.json:
        say(json.dumps([asdict(row) for row in rows]))
    else:
        for line in readable(rows):
            say(line)
    return 0


if __name__ == "__main__":
    run(main)
