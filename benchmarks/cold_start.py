"""python -m benchmarks.cold_start [--runs 5]: the local cloud's times: head ready, a cold 2-node job, a warm one.

Deploys clusters/local.yaml on a local cloud of its own with the commands that users run, then submits a job on two
nodes that do not exist, waits until they are terminated, and so on. A cold start is from `dure submit` to the first
line of output from both nodes. Goal: a median of at most 15 s. The peer is the same job on nodes that run already.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.support import median, result
from tests.cloud import Cloud, wait_until

GOAL = 15.0  # seconds


def job(cloud: Cloud) -> float:
    """Seconds from submission until both nodes' output has come back over CloudWatch Logs."""
    started = time.monotonic()
    out = cloud.dure("submit", "--no-code", "--nodes", "2", "--wait", "--", "hostname").stdout
    seconds = time.monotonic() - started
    assert sum(line.startswith("ip-") for line in out.splitlines()) == 2, out
    return seconds


def all_away(cloud: Cloud) -> None:
    """Waits until no compute node is left, and Slurm knows it."""
    wait_until(lambda: not cloud.instances(role="compute"), what="idle nodes are terminated", timeout=120)
    away = {"powered down", "powered_down"}
    wait_until(lambda: {n["state"] for n in cloud.json("nodes")} <= away, what="Slurm knows it", timeout=120)


def main() -> int:
    """Measures and prints the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dure-bench-") as scratch:
        cloud = Cloud.start(Path(scratch) / "cloud")
        try:
            started = time.monotonic()
            cloud.deploy()
            deployed = time.monotonic() - started
            cold, warm = [], []
            for _ in range(options.runs):
                cold.append(job(cloud))
                warm.append(job(cloud))
                all_away(cloud)
        finally:
            cloud.stop()
    value = median(cold)
    return result(
        "cold_start",
        value,
        unit="s",
        goal=f"at most {GOAL:.0f}",
        holds=value <= GOAL,
        peers={"the same job, nodes running": median(warm)},
        runs=options.runs,
        bootstrap_deploy_and_head_seconds=round(deployed, 1),
    )


if __name__ == "__main__":
    sys.exit(main())
