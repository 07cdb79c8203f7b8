"""What every benchmark ends with: its result as one JSON line, on which machine, and a median for it."""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def median(values: Sequence[float]) -> float:
    """Median."""
    return float(statistics.median(values))


def machine() -> str:
    """This machine in words."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    return f"{model}, {cores} cores, {memory:.0f} GiB, load {load:.1f}, Linux {platform.release()}"


def result(
    name: str,
    value: float,
    *,
    unit: str,
    goal: str | float,
    holds: bool,
    peers: Mapping[str, float | None],
    runs: int,
    **more: object,
) -> int:
    """Print the result line that ends every benchmark; 0 if it holds, else 1."""
    line = {
        "name": name,
        "value": round(value, 6),
        "unit": unit,
        "goal": goal,
        "holds": holds,
        "peers": {key: None if number is None else round(number, 6) for key, number in peers.items()},
        "runs": runs,
        "machine": machine(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        **more,
    }
    print(json.dumps(line, ensure_ascii=False))
    return 0 if holds else 1
