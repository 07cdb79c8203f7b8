"""python -m benchmarks.help_time: how long `dure --help` takes, python's start included, beside peers.

Goal: a median of at most 60 ms over 15 runs. The peers are commands of the same interpreter, alternated: `pass`, and
argparse with as many subcommands built at start.
"""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.support import ROOT, median, result

RUNS, GOAL_MS = 15, 60.0
EAGER = (
    "import argparse; p = argparse.ArgumentParser(); s = p.add_subparsers(); "
    "[s.add_parser(str(i)).add_argument('--x') for i in range(12)]; p.format_help()"
)
COMMANDS = {
    "dure --help": [str(ROOT / ".venv/bin/dure"), "--help"],
    "python -c pass": [sys.executable, "-c", "pass"],
    "argparse, 12 subcommands": [sys.executable, "-c", EAGER],
}


def milliseconds(argv: list[str]) -> float:
    """Wall time of one run."""
    started = time.perf_counter()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - started) * 1000


def main() -> int:
    """Measures, alternating, and prints the result."""
    for argv in COMMANDS.values():
        milliseconds(argv)  # byte code and file cache
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(RUNS):
        for name, argv in COMMANDS.items():
            times[name].append(milliseconds(argv))
    value, *peers = (median(t) for t in times.values())
    return result(
        "help_time",
        value,
        unit="ms",
        goal=f"at most {GOAL_MS:.0f}",
        holds=value <= GOAL_MS,
        peers=dict(zip(list(COMMANDS)[1:], peers, strict=True)),
        runs=RUNS,
    )


if __name__ == "__main__":
    sys.exit(main())
