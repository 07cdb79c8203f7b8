"""What a program on a machine did, step by step: readable on standard output, as JSON lines in a file.

    {"time": "2020-05-13T09:00:00.123Z", "program": "boot", "step": "mount", "seconds": 0.8, "ok": true}

No step is ever given a secret to log.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from cluster_scripts.node.system import Clock


class StepLog:
    """The log of one run of one program. It appends to `file`, whose folder must be there, and prints to `out`."""

    def __init__(self, program: str, *, file: Path | None, clock: Clock, out: TextIO | None = None) -> None:
        self._program = program
        self._file = file
        self._clock = clock
        self._out = out if out is not None else sys.stdout
        self._start = clock.now()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Log how long the block took, and how it ended; what it raises goes on."""
        start = self._clock.now()
        try:
            yield
        except Exception as error:
            self._write(name, start, ok=False, note=str(error) or type(error).__name__)
            raise
        self._write(name, start, ok=True)

    def note(self, name: str, text: str = "", *, ok: bool = True) -> None:
        """Log something that took no time."""
        self._write(name, self._clock.now(), ok=ok, note=text)

    def _write(self, name: str, start: float, *, ok: bool, note: str = "") -> None:
        now = self._clock.now()
        entry = {
            "time": datetime.fromtimestamp(now, tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "program": self._program,
            "step": name,
            "seconds": round(now - start, 3),
            "ok": ok,
        }
        if note:
            entry["note"] = note
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        mark = "done" if ok else "FAILED"
        line = f"{now - self._start:7.2f} s  {mark:6}  {name} ({now - start:.2f} s){': ' + note if note else ''}"
        print(line, file=self._out, flush=True)
