"""Calls one command's module and turns what it raises into a line on stderr and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

INTERRUPTED = 130  # what shells give for SIGINT: 128 + 2


def abandon_output() -> None:
    """The reader of our output went away: let the interpreter's last flush go nowhere instead of complaining."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def call(module: str, argv: Sequence[str]) -> int:
    """Import the module and run its `run(argv)`; every error of ours becomes its message and its exit code."""
    try:
        code: int = import_module(module).run(argv)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        return INTERRUPTED
    except BrokenPipeError:
        abandon_output()  # `dure jobs | head -1` is no error
        return 0
    except Exception as error:
        from cluster_scripts.jobs.errors import DureError

        if not isinstance(error, DureError):
            raise
        sys.stderr.write(f"dure: {error.message}\n")
        return error.exit_code
