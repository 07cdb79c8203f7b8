"""Runs the demo's commands: output into a log file, a live line on the screen, every step timed.

A terminal sees one line that changes; a pipe sees whole lines. Ctrl-C reaches the running command (same process
group) and then the demo, which cleans up.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


class StepFailed(Exception):
    """A command of the demo failed. The text holds the command, its code, its last lines and the log's path."""


def fit(text: str, width: int) -> str:
    """`text` cut to `width` columns; Hangul takes two."""
    out, used = [], 0
    for char in text:
        wide = 2 if unicodedata.east_asian_width(char) in "WF" else 1
        if used + wide > width:
            break
        out.append(char)
        used += wide
    return "".join(out)


@dataclass
class Runner:
    """Where commands run, with what environment, and what they have taken so far."""

    root: Path
    logs: Path
    env: dict[str, str]
    steps: list[dict[str, object]] = field(default_factory=list)
    total: int = 0
    tty: bool = field(default_factory=sys.stdout.isatty)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """One numbered, timed step of the demo."""
        number = len(self.steps) + 1
        print(f"\n[{number}/{self.total}] {name}", flush=True)
        started = time.monotonic()
        yield
        seconds = time.monotonic() - started
        self.steps.append({"name": name, "seconds": round(seconds, 2)})
        self.clear()
        print(f"      done in {seconds:.1f} s", flush=True)

    def live(self, text: str) -> None:
        """The changing line; nothing in a pipe."""
        if self.tty:
            width = shutil.get_terminal_size().columns - 8
            print(f"\r\x1b[2K      {fit(text, width)}", end="", flush=True)

    def clear(self) -> None:
        """Takes the changing line away."""
        if self.tty:
            print("\r\x1b[2K", end="", flush=True)

    def say(self, text: str) -> None:
        """A line that stays."""
        self.clear()
        print(f"      {text}", flush=True)

    def run(
        self,
        argv: Sequence[str],
        *,
        log: str,
        on_line: Callable[[str], None] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """Runs one command to its end; returns what it printed.

        `on_line` sees each line as it comes (default: the changing line). Errors: StepFailed.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        path = self.logs / f"{log}.log"
        show = on_line or self.live
        lines: list[str] = []
        with path.open("a") as out:
            out.write(f"$ {' '.join(argv)}\n")
            process = subprocess.Popen(
                list(argv),
                cwd=self.root,
                env={**self.env, **(env or {})},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                text=True,
                errors="replace",
            )
            assert process.stdout
            try:
                for raw in process.stdout:
                    out.write(raw)
                    out.flush()
                    line = raw.rstrip("\n").split("\r")[-1].rstrip()
                    lines.append(line)
                    if line:
                        show(line)
                code = process.wait()
            except BaseException:
                _stop(process)
                raise
        if code:
            tail = "\n".join("        " + line for line in lines[-15:])
            raise StepFailed(f"`{' '.join(argv)}` ended with code {code}:\n{tail}\n      whole output: {path}")
        return "\n".join(lines)


def _stop(process: subprocess.Popen[str]) -> None:
    """Ends a command that we started and no longer wait for."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)
        return
    process.kill()
    process.wait()


def base_environment(root: Path) -> dict[str, str]:
    """The user's environment without AWS variables, with the toolkit's programs first on PATH."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "DURE_", "PYTHONPATH", "PYTHONHOME"))}
    path = f"{root / '.venv/bin'}:{root / 'node_modules/.bin'}:{os.environ.get('PATH', '/usr/bin:/bin')}"
    return {**kept, "PATH": path, "PYTHONUNBUFFERED": "1"}
