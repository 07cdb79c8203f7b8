"""Profile a running training.pretrain for some steps.

    python -m training.profile --checkpoints MODEL.checkpoints --output FOLDER --steps 20

Asks by a file in the run's checkpoint folder and waits for the traces. Works from any machine that sees both folders.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from training.command import run, say
from training.errors import TrainingError
from training.profiling import REQUEST, SUMMARY, Request, ask


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog="python -m training.profile", description="Profile a running training.pretrain.")
    p.add_argument("--checkpoints", type=Path, required=True, help="checkpoint folder of the run")
    p.add_argument("--output", type=Path, required=True, help="folder for the traces, seen by all ranks")
    p.add_argument("--steps", type=int, default=10)
    p.add_argument("--wait", type=float, default=600.0, metavar="SECONDS", help="for the traces; 0: do not wait")
    return p


def wait_for(output: Path, request: Path, *, before: set[Path], seconds: float, sleep: Callable[[float], None]) -> Path:
    """The summary of the new profile; TrainingError when it does not come."""
    for _ in range(int(seconds / 0.25) + 1):
        new = set(output.glob(f"profile-step-*/{SUMMARY}")) - before
        if new:
            return new.pop()
        sleep(0.25)
    if request.exists():
        request.unlink(missing_ok=True)
        raise TrainingError(f"no run took the request from {request.parent} within {seconds:.0f} s: is it running?")
    raise TrainingError(f"the run took the request, but wrote no profile to {output} within {seconds:.0f} s")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    args = parser().parse_args(sys.argv[1:] if argv is None else argv)
    output = args.output.absolute()
    before = set(output.glob(f"profile-step-*/{SUMMARY}"))
    request = ask(args.checkpoints, Request(args.steps, str(output)))
    if not args.wait:
        say(f"asked: {args.checkpoints / REQUEST}")
        return 0
    summary = wait_for(output, request, before=before, seconds=args.wait, sleep=time.sleep)
    for path in sorted(summary.parent.iterdir()):
        say(str(path))
    return 0


if __name__ == "__main__":
    run(main)
