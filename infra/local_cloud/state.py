"""The folder of one local cloud: who runs on it, and the files that say so to others.

`lock` is held (flock) by the owner for as long as it lives, so a `kill -9` frees it; `cloud.json` appears whole once
the local cloud is ready and goes when it ends; one that is left without a held lock is stale.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

STOP_SECONDS = 30.0


class StateError(Exception):
    """The folder can't be used as asked; says what to do."""


class State:
    """A state folder; made when it is missing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock_path, self._info_path = folder / "lock", folder / "cloud.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "it may not be written to")
        except OSError as error:
            raise StateError(
                f"{folder} can't be used: {error.strerror}; give --state a folder that you may write"
            ) from error

    @contextlib.contextmanager
    def own(self) -> Iterator[None]:
        """Hold the lock. Raises `StateError` when somebody does already."""
        with self._lock_path.open("a+") as lock:
            if not _try_lock(lock.fileno()):
                info = self.info() or {}
                raise StateError(
                    f"a local cloud already runs on {self.folder} ({info.get('endpoint', 'starting')}, process "
                    f"{self.owner()}): use it, or end it with `down`"
                )
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            try:
                yield
            finally:
                self._info_path.unlink(missing_ok=True)

    def owner(self) -> int | None:
        """The process that holds the lock, None when nobody does."""
        try:
            with self._lock_path.open("r+") as lock:
                if _try_lock(lock.fileno()):
                    return None
                text = lock.read().strip()
        except FileNotFoundError:
            return None
        return int(text) if text.isdigit() else None

    def publish(self, info: Mapping[str, Any]) -> None:
        """Write cloud.json, whole or not at all."""
        temporary = self._info_path.with_suffix(".new")
        with temporary.open("w") as file:
            json.dump(info, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._info_path)

    def info(self) -> dict[str, Any] | None:
        """cloud.json, None when there is none."""
        try:
            content = json.loads(self._info_path.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return content if isinstance(content, dict) else None

    def end_owner(self) -> bool:
        """End the local cloud that runs here and wait until it is gone; False when none ran. Stale files go."""
        pid = self.owner()
        if pid is None:
            self._info_path.unlink(missing_ok=True)
            return False
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            end = time.monotonic() + STOP_SECONDS
            while time.monotonic() < end:
                if self.owner() is None:
                    self._info_path.unlink(missing_ok=True)
                    return True
                time.sleep(0.05)
        raise StateError(f"process {pid} does not end: look at {self.folder / 'cloud.log'}")


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
