"""Profiling a running job for some steps: Horovod's timeline and MXNet's profiler, switched on between two steps.

A request is a file in the run's checkpoint folder (``python -m training.profile`` writes it); rank 0 looks for it
before every step and takes it away. What comes out is a folder ``profile-step-SSSSSSSSS`` of Chrome traces
(chrome://tracing, ui.perfetto.dev), each file whole or not there: ``timeline.json`` (rank 0: when each reduction was
negotiated and ran), ``rank-RRRRR.json`` (operators), and at last ``profile.json`` when all ranks are done.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training.collective import Ranks
from training.command import say
from training.errors import SettingsError
from training.files import temporary_beside, write_bytes, write_json

REQUEST = "profile-request.json"
SUMMARY = "profile.json"
_TIMELINE_SECONDS = 10.0


@dataclass(frozen=True)
class Request:
    """Profile the next `steps` steps into a new folder below `output`."""

    steps: int
    output: str

    def __post_init__(self) -> None:
        if not isinstance(self.steps, int) or not 1 <= self.steps <= 1000:
            raise SettingsError(f"--steps is {self.steps}, must be 1 to 1000 (a step writes a megabyte and more)")
        if not Path(self.output).is_absolute():
            raise SettingsError(f"--output is {self.output}, must be absolute: the job has another working folder")


def ask(checkpoints: Path, request: Request) -> Path:
    """Put a request where the run looks for it; SettingsError if there is no such run."""
    if not checkpoints.is_dir():
        raise SettingsError(f"{checkpoints} is not there: give the --checkpoints folder of a running training.pretrain")
    path = checkpoints / REQUEST
    write_json(path, asdict(request))
    return path


class Profiler:
    """Switches profiling of one rank on and off; all ranks call :meth:`after_step` alike."""

    def __init__(self, checkpoints: Path, ranks: Ranks, *, say: Callable[[str], None]) -> None:
        self._path, self._ranks, self._say = checkpoints / REQUEST, ranks, say
        self._left = 0
        self._private: tempfile.TemporaryDirectory[str] | None = None
        self._folder = Path()
        self._timeline: Path | None = None
        self._first = 0

    def asked(self) -> bool:
        """Whether a request lies there: what rank 0 tells the others with its next step."""
        return self._ranks.rank == 0 and not self._left and self._path.exists()

    def after_step(self, step: int, *, asked: bool) -> None:
        """Begin where a request was seen, or end after the last of its steps. Collective when `asked`, and at the
        end."""
        if self._left:
            self._left -= 1
            if not self._left:
                self._end(step)
        elif asked:
            request = self._ranks.share(self._take() if self._ranks.rank == 0 else None, name="profile")
            if request is not None:
                self._begin(step, Request(**request))

    def _take(self) -> dict[str, Any] | None:
        try:
            request = Request(**json.loads(self._path.read_text()))
        except (OSError, ValueError, TypeError, SettingsError) as error:
            self._say(f"the profile request {self._path} cannot be used: {error}")
            return None
        finally:
            self._path.unlink(missing_ok=True)
        return asdict(request)

    def _begin(self, step: int, request: Request) -> None:
        self._left, self._first = request.steps, step + 1
        self._folder = Path(request.output) / f"profile-step-{self._first:09d}"
        self._timeline = None
        with self._never_fatal():
            self._folder.mkdir(parents=True, exist_ok=True)
            self._switch_on()
            self._say(f"profiling {request.steps} steps from step {self._first} on into {self._folder}")

    @contextlib.contextmanager
    def _never_fatal(self) -> Iterator[None]:
        """A profile that does not come about is told; the run goes on."""
        try:
            yield
        except (OSError, RuntimeError) as error:  # MXNet's errors are RuntimeErrors
            say(f"no profile of rank {self._ranks.rank} in {self._folder}: {error}")  # whichever rank it is

    def _switch_on(self) -> None:
        import mxnet as mx

        timeline = temporary_beside(self._folder / "timeline.json")
        self._ranks.hvd.start_timeline(str(timeline), mark_cycles=True)
        self._timeline = timeline
        self._configure()
        mx.profiler.set_state("run")

    def _configure(self) -> None:
        """Tell MXNet where to write: once, since a second time may end the process (a check of dmlc/thread_group.h in
        1.9.1). So all traces of a run are written to one file of this machine, one after the other."""
        import mxnet as mx

        if self._private is None:
            self._private = tempfile.TemporaryDirectory(prefix="dure-profile-")
            self._trace = Path(self._private.name) / "trace.json"
            mx.profiler.set_config(
                filename=str(self._trace), profile_symbolic=True, profile_imperative=True, profile_api=False
            )

    def _end(self, step: int) -> None:
        with self._never_fatal():
            if self._timeline is not None:
                self._collect(self._timeline)
        self._ranks.total([1.0], name="profiled")
        with self._never_fatal():
            if self._ranks.rank == 0:
                write_json(self._folder / SUMMARY, {"first": self._first, "last": step, "ranks": self._ranks.size})
            self._say(f"profiled steps {self._first} to {step}: {self._folder}")

    def _collect(self, timeline: Path) -> None:
        import mxnet as mx

        mx.nd.waitall()
        mx.profiler.set_state("stop")
        mx.profiler.dump(finished=True)
        self._ranks.hvd.stop_timeline()
        self._publish(self._trace, f"rank-{self._ranks.rank:05d}.json", whole_trace)
        if self._ranks.rank == 0 and self._ranks.size > 1:
            self._publish(timeline, "timeline.json", lambda text: text)
        timeline.unlink(missing_ok=True)

    def _publish(self, temporary: Path, name: str, repair: Callable[[str], str]) -> None:
        """Give a file its name once it is whole: Horovod writes its own from a thread of its own."""
        deadline = time.monotonic() + _TIMELINE_SECONDS
        while True:
            try:
                text = repair(temporary.read_text())
                json.loads(text)
            except (OSError, ValueError) as error:
                if time.monotonic() > deadline:
                    self._say(f"{name} is left out of the profile: {error}")
                    return
                time.sleep(0.05)
            else:
                write_bytes(self._folder / name, text.encode())
                temporary.unlink()
                return


def whole_trace(text: str) -> str:
    """MXNet writes the beginning of its JSON only the first time that a process is profiled."""
    return text if text.lstrip().startswith("{") else '{"traceEvents": [' + text.lstrip(" \n,")
