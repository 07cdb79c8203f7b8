"""Threads of libraries that never sleep get the least priority, so that they take only time that nobody wants.

Horovod's writer of timelines is one (horovod/common/timeline.cc, TimelineWriter::WriterLoop of 0.28.1): on rank 0 it
asks for work without end from the start of a run that may be profiled later, whether it is or not.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

_TASKS = Path("/proc/self/task")
_LOOKS, _PAUSE = 12, 0.002
_LEAST = 19  # the nice value; as much as 1.5 % of a core that others want


def threads(tasks: Path = _TASKS) -> set[int]:
    """The kernel's ids of this process's threads."""
    return {int(path.name) for path in tasks.iterdir()}


def spinning(of: set[int], *, tasks: Path = _TASKS, sleep: Callable[[float], None] = time.sleep) -> set[int]:
    """Those of the threads that ran or wanted to run at every one of a dozen looks, 2 ms apart."""
    left = set(of)
    for _ in range(_LOOKS):
        left = {thread for thread in left if _state(tasks / str(thread) / "stat") == "R"}
        sleep(_PAUSE)
    return left


def demote(some: set[int]) -> None:
    """Give threads the least priority."""
    for thread in some:
        os.setpriority(os.PRIO_PROCESS, thread, _LEAST)


def _state(stat: Path) -> str:
    try:
        return stat.read_text().rpartition(")")[2].split()[0]
    except OSError:  # it has ended
        return ""
