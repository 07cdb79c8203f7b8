"""Which jobs have ended: Slurm's own list, to which slurmctld appends one line a job (JobCompType=jobcomp/filetxt).

A job that is queued again after its end has several lines. A job can't write this file, so it can't end another's log.
"""

from __future__ import annotations

import re
from pathlib import Path

READ_BYTES = 4_000_000

_RECORD = re.compile(rb"^JobId=([0-9]+) ", re.MULTILINE)


class EndedJobs:
    """How often each job has ended. `look` reads what is new in the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = 0
        self._offset = 0
        self._counts: dict[str, int] = {}
        self._fresh: set[str] | None = None  # until the first look

    def look(self) -> None:
        """Read new records. A file that is missing or can't be read has none; one that was rotated is read anew."""
        try:
            with self._path.open("rb") as file:
                inode = self._path.stat().st_ino
                size = file.seek(0, 2)
                if inode != self._inode or size < self._offset:
                    self._inode, self._offset = inode, 0
                file.seek(self._offset)
                while data := file.read(READ_BYTES):
                    whole = data.rfind(b"\n") + 1
                    if not whole:
                        break
                    self._count(data[:whole])
                    self._offset += whole
                    file.seek(self._offset)
        except OSError:
            pass
        self._fresh = set() if self._fresh is None else self._fresh

    def times(self, job: str) -> int:
        """How often the job has ended, as far as the file tells."""
        return self._counts.get(job, 0)

    def take_fresh(self) -> set[str]:
        """Jobs that ended since this was last asked; what the first look found counts as old."""
        fresh, self._fresh = self._fresh or set(), set()
        return fresh

    def _count(self, text: bytes) -> None:
        for match in _RECORD.finditer(text):
            job = match[1].decode()
            self._counts[job] = self._counts.get(job, 0) + 1
            if self._fresh is not None:
                self._fresh.add(job)
