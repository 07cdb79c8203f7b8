"""What setup says while it works: one line a step, a ticking clock on a terminal, the whole output in a log file."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


class SetupError(Exception):
    """A step failed. The text says what was tried, what came back and what to do."""


def say(text: str) -> None:
    """Prints one line at once, also into a pipe."""
    print(text, flush=True)


def run(
    what: str,
    argv: Sequence[str],
    *,
    log: Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    hint: str = "",
) -> None:
    """Runs one long command with a progress line; its output goes to `log`.

    Errors: SetupError with the command's last lines, the log's path and `hint`.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    tty = sys.stdout.isatty()
    if not tty:
        say(f"    {what} ...")
    with log.open("wb") as out:
        try:
            process = subprocess.Popen(
                argv,
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=cwd,
                env={**os.environ, **(env or {})},
            )
        except OSError as error:
            raise SetupError(f"{what}: `{argv[0]}` could not be started: {error.strerror}. {hint}") from error
        code = _wait(process, what, started=started, tty=tty)
    seconds = time.monotonic() - started
    if code:
        tail = "\n".join("      " + line for line in log.read_text(errors="replace").splitlines()[-12:])
        raise SetupError(
            f"{what}: `{' '.join(argv[:6])}{' ...' if len(argv) > 6 else ''}` ended with code {code}. Its last lines:\n"
            f"{tail}\n    The whole log: {log}\n    {hint}".rstrip()
        )
    print(f"\r    {what}: {seconds:.0f} s{' ' * 20}" if tty else f"    {what}: {seconds:.0f} s", flush=True)


def _wait(process: subprocess.Popen[bytes], what: str, *, started: float, tty: bool) -> int:
    while True:
        try:
            return process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            if tty:
                print(f"\r    {what} ... {time.monotonic() - started:.0f} s", end="", flush=True)
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
