"""A sign of life of every rank: a small file that is replaced whole, at most once a second.

``rank-RRRRR.json``: {"step", "time" (unix seconds), "pid", "host", "state": "running" or "ended"}. Not synced to the
disk: it says that a rank lives, and a machine that lost its power does not.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

from training.files import temporary_beside

_LEAST_SECONDS = 1.0


class Heartbeat:
    """One rank's file in `folder`; with no folder it does nothing."""

    def __init__(self, folder: Path | None, *, rank: int, clock: Callable[[], float]) -> None:
        self._path = folder / f"rank-{rank:05d}.json" if folder is not None else None
        self._clock, self._last = clock, float("-inf")
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def beat(self, step: int, *, ended: bool = False) -> None:
        """Say that `step` is done. OSError if the folder cannot be written."""
        now = self._clock()
        if self._path is None or (now - self._last < _LEAST_SECONDS and not ended):
            return
        self._last = now
        values = {
            "step": step,
            "time": round(now, 3),
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "state": "ended" if ended else "running",
        }
        temporary = temporary_beside(self._path)
        temporary.write_text(json.dumps(values) + "\n")
        temporary.replace(self._path)
