"""`dure --help` comes at once. The claim's own benchmark, in wall time beside its peers, is benchmarks/help_time.py."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

DURE = Path(sys.executable).with_name("dure")
LIMIT = 0.060  # seconds, python's start included


def processor_seconds() -> float:
    """What finished children have used: unlike the clock, not a matter of what else this machine does."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_takes_under_60_ms_as_the_median_of_15() -> None:
    times = []
    for _ in range(15):
        before = processor_seconds()
        done = subprocess.run([str(DURE), "--help"], capture_output=True, text=True, check=True)
        times.append(processor_seconds() - before)
    assert "submit" in done.stdout
    assert sorted(times)[7] < LIMIT, times
