"""What the trainer's benchmarks share: environments, measured processes, alternating runs.

The drivers need only Python; what they measure runs in `.envs/trainer` (ours) and `.envs/peers` (PyTorch,
transformers and what Megatron-LM's tools import), made on first use. CPU seconds stand beside wall time because other
work may run on the machine.
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.support import ROOT

TRAINER = ROOT / ".envs/trainer/bin/python"
PEERS = ROOT / ".envs/peers/bin/python"
PEER_PACKAGES = (
    "torch==2.13.0",
    "transformers==5.24.0",
    "sentencepiece>=0.2.3",
    "nltk",
    "einops==0.8.2",
    "triton==3.9.0",
    "zstandard",
)


@dataclass(frozen=True)
class Measured:
    """A finished process: seconds on the clock and of processors (children included), output, and the largest memory
    of the whole tree if it was watched.
    """

    wall: float
    cpu: float
    output: str
    memory_mb: float = 0.0


def peers() -> Path:
    """The peers' Python; installs its packages when it is not there yet."""
    if not PEERS.exists():
        print(f"installing {', '.join(PEER_PACKAGES)} into {PEERS.parents[1]} ...", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(PEERS.parents[1])], check=True)
        subprocess.run([str(PEERS), "-m", "pip", "install", "-q", *PEER_PACKAGES], check=True)
    return PEERS


def environment(**more: str) -> dict[str, str]:
    """Of a measured process: one thread unless `more` says otherwise, no waiting threads that spin."""
    base = {
        key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "OMP_", "SLURM_", "HOROVOD_"))
    }
    return {**base, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", **more}


def measure(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    memory: bool = False,
) -> Measured:
    """Run a command to its end; raises with its output if it fails.

    With `memory` it is watched, which takes a third of a core and stops the watched processes at every look: the times
    of such a run count for nothing.
    """
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    process = subprocess.Popen(
        [str(part) for part in command],
        env=dict(env or environment()),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with _watched(process.pid) if memory else contextlib.nullcontext([0.0]) as peak:
        output = process.communicate()[0]
    wall, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {process.returncode}:\n{output[-3000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(wall, cpu, output, peak[0] / 1e6)


@contextlib.contextmanager
def _watched(pid: int) -> Iterator[list[float]]:
    """Samples the proportional memory of a process and all below it every 50 ms into the list's one element."""
    peak, stop = [0.0], threading.Event()

    def sample() -> None:
        while not stop.wait(0.05):
            peak[0] = max(peak[0], sum(_proportional(one) for one in _tree(pid)))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def _tree(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def _proportional(pid: int) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return float(line.split()[1]) * 1024
    return 0.0


def alternate(runs: int, **candidates: Callable[[], Measured]) -> dict[str, list[Measured]]:
    """Run all candidates in turn, `runs` times: what else the machine does meets all of them alike."""
    results: dict[str, list[Measured]] = {name: [] for name in candidates}
    for number in range(runs):
        for name, candidate in candidates.items():
            done = candidate()
            results[name].append(done)
            print(
                f"run {number + 1}/{runs} {name}: {done.wall:.2f} s, {done.cpu:.2f} CPU-s",
                file=sys.stderr,
                flush=True,
            )
    return results
