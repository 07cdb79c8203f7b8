"""Runs every test suite, each in the environment that its code belongs to, and sums them up.

    python -m tools.check.tests [--only NAME] [--jobs N] [--long] [-- PYTEST ARGUMENTS]

The environments never meet (docs/decisions), so neither do their tests: a suite is a name, an environment and paths.
Suites run beside each other. What a suite prints appears when it has ended; until then a line tells how far each is.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# One more than processors: a suite with a cluster waits for it a part of its time. No more clusters at once than five
JOBS_AT_ONCE = min((os.cpu_count() or 1) + 1, 5)
SECONDS_BETWEEN_LINES = 30


@dataclass(frozen=True)
class Suite:
    """A pytest run: where its interpreter lies, what it collects, what it leaves to others."""

    name: str
    python: str
    paths: tuple[str, ...]
    without: tuple[str, ...] = ()


# Three parts of about the same length; a file that nobody names here is in the last
CLUSTERS = (
    "tests/end_to_end/test_cluster_files.py",
    "tests/end_to_end/test_first_deploy.py",
    "tests/end_to_end/test_head_reboot.py",
    "tests/end_to_end/test_queue_options.py",
)
JOBS = (
    "tests/end_to_end/test_head_state.py",
    "tests/end_to_end/test_main_job.py",
    "tests/end_to_end/test_monitoring.py",
    "tests/end_to_end/test_negative_proofs.py",
    "tests/end_to_end/test_node_life.py",
)
# The longest first: then no processor is idle at the end
SUITES = (
    Suite("end to end", ".venv/bin/python", ("tests/end_to_end",), without=(*CLUSTERS, *JOBS)),
    Suite("clusters", ".venv/bin/python", CLUSTERS),
    Suite("contract and jobs", ".venv/bin/python", ("tests/contract", *JOBS)),
    Suite("trainer", ".envs/trainer/bin/python", ("tests/unit/training",)),
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
)
OUTCOME = re.compile(r"(\d+) (passed|failed|error|errors|skipped)")
DOTS = re.compile(r"^[.FEsxX]+", re.MULTILINE)


class Progress:
    """How far each running suite is; a line of it now and then."""

    def __init__(self) -> None:
        self._shares: dict[str, str] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def at(self, name: str, share: str | None) -> None:
        """Remember how far a suite is, such as 40 tests; None: it has ended."""
        with self._lock:
            if share is None:
                self._shares.pop(name, None)
            else:
                self._shares[name] = share

    def show(self) -> None:
        """Print lines until `end`."""
        while not self._ended.wait(SECONDS_BETWEEN_LINES):
            with self._lock:
                running = ", ".join(f"{name} {share}" for name, share in self._shares.items())
            print(f"... {running}", flush=True)

    def end(self) -> None:
        """No more lines."""
        self._ended.set()


def run(suite: Suite, extra: list[str], progress: Progress) -> tuple[str, dict[str, int]]:
    """Runs one suite; returns its output and its counts. A suite that collects nothing counts as an error."""
    argv = [
        str(ROOT / suite.python),
        "-m",
        "pytest",
        "-q",
        *suite.paths,
        *(f"--ignore={p}" for p in suite.without),
        "--durations=8",
        *extra,
    ]
    progress.at(suite.name, "begins")
    process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout
    output = ""
    # In pieces, not in lines: pytest ends a line of dots only after some seventy tests
    while piece := os.read(process.stdout.fileno(), 1 << 16):
        output += piece.decode(errors="replace")
        progress.at(suite.name, f"{sum(len(dots) for dots in DOTS.findall(output))} tests")
    code = process.wait()
    progress.at(suite.name, None)
    last = next((line for line in reversed(output.splitlines()) if OUTCOME.search(line)), "")
    counts = {word.rstrip("s") if word.startswith("error") else word: int(n) for n, word in OUTCOME.findall(last)}
    if code and not counts.get("failed") and not counts.get("error"):
        counts["error"] = 1
    return output, counts


def main() -> int:
    """Exit codes: 0 every test passed; 1 one did not."""
    parser = argparse.ArgumentParser(prog="python -m tools.check.tests")
    parser.add_argument("--only", choices=[s.name for s in SUITES], action="append")
    parser.add_argument("--jobs", type=int, default=JOBS_AT_ONCE, help="suites at once")
    parser.add_argument("--long", action="store_true", help="also the tests that are marked long")
    parser.add_argument("extra", nargs="*", help="arguments for pytest, after --")
    options = parser.parse_args()
    suites = [suite for suite in SUITES if not options.only or suite.name in options.only]
    extra = options.extra if options.long else ["-m", "not long", *options.extra]
    total: dict[str, int] = {}
    started = time.monotonic()
    progress = Progress()
    threading.Thread(target=progress.show, daemon=True).start()
    with ThreadPoolExecutor(max(1, options.jobs)) as pool:
        running = {pool.submit(run, suite, extra, progress): suite for suite in suites}
        for done in as_completed(running):
            output, counts = done.result()
            suite = running[done]
            print(
                f"\n=== {suite.name}: {' '.join(suite.paths)} ({time.monotonic() - started:.0f} s)\n{output}",
                end="",
                flush=True,
            )
            for word, count in counts.items():
                total[word] = total.get(word, 0) + count
    progress.end()
    failed = total.get("failed", 0) + total.get("error", 0)
    print(f"\nall suites in {time.monotonic() - started:.0f} s")
    print(f"{total.get('passed', 0)} passed, {failed} failed, {total.get('skipped', 0)} skipped")
    return 1 if failed or not total.get("passed") else 0


if __name__ == "__main__":
    sys.exit(main())
