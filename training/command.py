"""What every program of this package shares at its edge: exit codes and plain lines."""

from __future__ import annotations

import sys
from collections.abc import Callable

from training.errors import TrainingError


def say(text: str) -> None:
    """Print one line at once: whoever follows the job's log sees it while the job runs."""
    print(text, flush=True)


def run(main: Callable[[], int | None]) -> None:
    """Call `main` and exit: 0, its own code, an error's code, or 130 after ctrl-C. Known errors print one line, no
    traceback.
    """
    try:
        code = main() or 0
    except TrainingError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        code = error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        code = 130
    sys.exit(code)
