"""Checkpoints: the whole state of a run, complete or absent, checked when read, never executed.

A checkpoint is a folder ``step-SSSSSSSSS`` with ``weights.safetensors``, ``optimizer.safetensors``, ``state.json``
and ``checksums.json`` (the SHA-256 of the others). It is filled under a temporary name by a thread of its own from a
copy of the state, synced and renamed; training stands still only while the copy is made. An older one is removed only
after a newer one was read back and found right.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training import safetensors
from training.errors import CheckpointError, TrainingError
from training.files import sha256_of, temporary_beside, whole_folder, write_json
from training.safetensors import Arrays

_PREFIX = "step-"
_FILES = ("weights.safetensors", "optimizer.safetensors", "state.json")


@dataclass(frozen=True)
class Snapshot:
    """A state that no longer changes: arrays by name, and everything else as JSON values in `state`."""

    step: int
    weights: Arrays
    optimizer: Arrays
    state: dict[str, Any]


def write(folder: Path, snapshot: Snapshot) -> Path:
    """Write one checkpoint and return its folder."""
    path = folder / f"{_PREFIX}{snapshot.step:09d}"
    with whole_folder(path) as temporary:
        safetensors.save(temporary / _FILES[0], snapshot.weights, metadata={"step": str(snapshot.step)})
        safetensors.save(temporary / _FILES[1], snapshot.optimizer, metadata={"step": str(snapshot.step)})
        write_json(temporary / _FILES[2], {**snapshot.state, "step": snapshot.step})
        write_json(temporary / "checksums.json", {name: sha256_of(temporary / name) for name in _FILES})
    return path


def verify(path: Path) -> None:
    """CheckpointError that says what is wrong unless every file is there and has its checksum."""
    try:
        expected = json.loads((path / "checksums.json").read_text())
        for name in _FILES:
            if sha256_of(path / name) != expected[name]:
                raise CheckpointError(f"{path / name} is damaged: its checksum differs")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is incomplete or damaged: {type(error).__name__}: {error}") from error


def load(path: Path) -> Snapshot:
    """Verify and read a checkpoint."""
    verify(path)
    try:
        state = json.loads((path / "state.json").read_text())
        weights, _ = safetensors.load(path / _FILES[0])
        optimizer, _ = safetensors.load(path / _FILES[1])
    except (OSError, ValueError, TrainingError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    return Snapshot(int(state["step"]), weights, optimizer, state)


def steps(folder: Path) -> list[int]:
    """Steps that have a checkpoint folder, newest first; says nothing about whether they are right."""
    if not folder.is_dir():
        return []
    names = (path.name[len(_PREFIX) :] for path in folder.iterdir() if path.name.startswith(_PREFIX))
    return sorted((int(name) for name in names if name.isdigit()), reverse=True)


def path_of(folder: Path, step: int) -> Path:
    """The folder of a step's checkpoint."""
    return folder / f"{_PREFIX}{step:09d}"


def newest_valid(folder: Path, *, say: Callable[[str], None]) -> int | None:
    """The newest step whose checkpoint is right; every one passed over is said."""
    for step in steps(folder):
        try:
            verify(path_of(folder, step))
        except CheckpointError as error:
            say(f"checkpoint of step {step} is not usable, taking the one before: {error}")
        else:
            return step
    return None


class CheckpointWriter:
    """Writes checkpoints one after the other in the background; the caller is never more than one ahead."""

    def __init__(self, folder: Path, *, keep: int, say: Callable[[str], None]) -> None:
        self._folder, self._keep, self._say = folder, keep, say
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(".tmp-*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def save(self, snapshot: Snapshot) -> None:
        """Begin to write; waits for the one before, and raises what went wrong with it."""
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(snapshot,), name="checkpoint", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Until what was begun is durable; CheckpointError if it failed."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise CheckpointError(f"a checkpoint could not be written to {self._folder}: {error}") from error

    def _run(self, snapshot: Snapshot) -> None:
        begun = time.monotonic()
        try:
            path = write(self._folder, snapshot)
            verify(path)
            self._say(f"checkpoint of step {snapshot.step} written in {time.monotonic() - begun:.2f} s")
            self._prune(snapshot.step)
        except BaseException as error:
            self._error = error

    def _prune(self, proven: int) -> None:
        """Keep `proven` and the newest before it. Later ones are leftovers that the resume passed over as damaged:
        they must neither count as kept nor come back."""
        found = steps(self._folder)
        kept = [step for step in found if step <= proven][: self._keep]
        for step in sorted(set(found) - set(kept)):
            path = path_of(self._folder, step)
            doomed = temporary_beside(path)
            path.rename(doomed)  # first, so that a crash never leaves half a checkpoint under its name
            shutil.rmtree(doomed, ignore_errors=True)
