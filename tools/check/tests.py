"""Runs every test suite, each in the environment that its code belongs to, and sums them up.

    python -m tools.check.tests [--only NAME] [-- PYTEST ARGUMENTS]

The environments never meet (docs/decisions), so neither do their tests: a suite is a name, an environment and paths.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Suite:
    """A pytest run: where its interpreter lies, what it collects, what it leaves to others."""

    name: str
    python: str
    paths: tuple[str, ...]
    without: tuple[str, ...] = ()


SUITES = (
    Suite(
        "toolkit",
        ".venv/bin/python",
        ("tests/unit",),
        without=("tests/unit/infra/local_cloud", "tests/unit/infra/local_cloud_aws", "tests/unit/training"),
    ),
    Suite(
        "local cloud",
        ".envs/local-cloud/bin/python",
        ("tests/unit/infra/local_cloud", "tests/unit/infra/local_cloud_aws"),
    ),
    Suite("trainer", ".envs/trainer/bin/python", ("tests/unit/training",)),
    Suite("contract and end to end", ".venv/bin/python", ("tests/contract", "tests/end_to_end")),
)
OUTCOME = re.compile(r"(\d+) (passed|failed|error|errors|skipped)")


def run(suite: Suite, extra: list[str]) -> dict[str, int]:
    """Runs one suite with its output shown; returns its counts. A suite that collects nothing counts as an error."""
    print(f"\n=== {suite.name}: {' '.join(suite.paths)}", flush=True)
    argv = [
        str(ROOT / suite.python),
        "-m",
        "pytest",
        "-q",
        *suite.paths,
        *(f"--ignore={p}" for p in suite.without),
        *extra,
    ]
    process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    last = ""
    for line in process.stdout:
        print(line, end="", flush=True)
        if OUTCOME.search(line):
            last = line
    code = process.wait()
    counts = {word.rstrip("s") if word.startswith("error") else word: int(n) for n, word in OUTCOME.findall(last)}
    if code and not counts.get("failed") and not counts.get("error"):
        counts["error"] = 1
    return counts


def main() -> int:
    """Exit codes: 0 every test passed; 1 one did not."""
    parser = argparse.ArgumentParser(prog="python -m tools.check.tests")
    parser.add_argument("--only", choices=[s.name for s in SUITES], action="append")
    parser.add_argument("extra", nargs="*", help="arguments for pytest, after --")
    options = parser.parse_args()
    total: dict[str, int] = {}
    started = time.monotonic()
    for suite in SUITES:
        if not options.only or suite.name in options.only:
            for word, count in run(suite, options.extra).items():
                total[word] = total.get(word, 0) + count
    failed = total.get("failed", 0) + total.get("error", 0)
    print(f"\nall suites in {time.monotonic() - started:.0f} s")
    print(f"{total.get('passed', 0)} passed, {failed} failed, {total.get('skipped', 0)} skipped")
    return 1 if failed or not total.get("passed") else 0


if __name__ == "__main__":
    sys.exit(main())
