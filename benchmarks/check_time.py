"""`python -m benchmarks.check_time [--runs 15] [--peer-environment DIR]`: how long `dure check` takes.

Runs `dure check clusters/kogpt2-p3dn.yaml` in fresh processes; `value` is the median in milliseconds, Python's start
included. Its peer is aws-parallelcluster in an environment of its own (made when missing, with pip): a fresh process
that imports its schema and loads a cluster file of the same kind, without its validators, as these call AWS.
Side effects: the peer's environment under build/; the compiled bytecode of both.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from pathlib import Path

from benchmarks.support import ROOT, median, result

FILE = "clusters/kogpt2-p3dn.yaml"
GOAL_MS = 150.0
PEER = "aws-parallelcluster==3.15.0"
PEER_FILE = """
Region: us-east-1
Image: {Os: alinux2023}
HeadNode:
  InstanceType: m5.2xlarge
  Networking: {SubnetId: subnet-0123456789abcdef0}
Scheduling:
  Scheduler: slurm
  SlurmQueues:
    - Name: gpu
      ComputeResources:
        - {Name: p4d, InstanceType: p4d.24xlarge, MinCount: 0, MaxCount: 8, Efa: {Enabled: true}}
      Networking: {SubnetIds: [subnet-0123456789abcdef0], PlacementGroup: {Enabled: true}}
SharedStorage:
  - Name: fsx
    StorageType: FsxLustre
    MountDir: /fsx
    FsxLustreSettings: {StorageCapacity: 2400, DeploymentType: PERSISTENT_2, PerUnitStorageThroughput: 250}
"""
PEER_PROGRAM = """
import sys, yaml
from pcluster.schemas.cluster_schema import ClusterSchema
cluster = ClusterSchema(cluster_name="bench").load(yaml.safe_load(open(sys.argv[1])))
assert cluster.scheduling.queues[0].name == "gpu"
"""


def milliseconds(argv: Sequence[str]) -> float:
    """The time of one run."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "AWS_"))}
    environment["AWS_DEFAULT_REGION"] = "us-east-1"
    started = time.perf_counter()
    subprocess.run(argv, cwd=ROOT, env=environment, check=True, capture_output=True)
    return 1000 * (time.perf_counter() - started)


def alternated(ours: Sequence[str], theirs: Sequence[str] | None, runs: int) -> tuple[float, float | None]:
    """Medians of both in turn, after one run that compiles what they import."""
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs + 1):
        for times, argv in zip(found, (ours, theirs), strict=True):
            if argv is not None:
                times.append(milliseconds(argv))
    return median(found[0][1:]), median(found[1][1:]) if theirs is not None else None


def peer(folder: Path, file: Path) -> list[str] | None:
    """The peer's command; None, with the reason on stderr, when it can't be had here."""
    python = folder / "bin/python"
    try:
        if not python.exists():
            venv.create(folder, with_pip=True)
            subprocess.run([python, "-m", "pip", "install", "-qq", PEER, "setuptools<81"], check=True)
        file.write_text(PEER_FILE)
        command = [str(python), "-c", PEER_PROGRAM, str(file)]
        milliseconds(command)
        return command
    except subprocess.CalledProcessError as error:
        words = (error.stderr or b"").decode(errors="replace").strip().splitlines()
        print(f"the peer did not run: {error}; {words[-1:]}", file=sys.stderr)
        return None


def main() -> int:
    """Measure, and print the result as one JSON line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--runs", type=int, default=15)
    options.add_argument("--peer-environment", type=Path, default=ROOT / "build/bench-parallelcluster")
    given = options.parse_args()
    dure = str(Path(sys.executable).with_name("dure"))
    with tempfile.TemporaryDirectory() as folder:
        command = peer(given.peer_environment, Path(folder) / "cluster.yaml")
        ours, theirs = alternated([dure, "check", FILE], command, given.runs)
    return result(
        "check_time",
        ours,
        unit="ms",
        goal=GOAL_MS,
        holds=ours <= GOAL_MS and theirs is not None,
        peers={f"{PEER}, schema import and load": theirs},
        runs=given.runs,
    )


if __name__ == "__main__":
    sys.exit(main())
