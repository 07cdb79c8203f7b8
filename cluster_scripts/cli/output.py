"""Writing answers: tables and pairs for people, JSON for programs."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from cluster_scripts.cli.table import Column, cell_width, clean, pad, render


def print_json(value: Any) -> None:
    """One JSON document, indented, in the order given, Korean as Korean."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def terminal_width() -> int | None:
    """Cells of the terminal that stdout is, else None: a file or a pipe gets everything."""
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        return None
    return shutil.get_terminal_size().columns


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """A table as wide as the terminal allows; `empty` is said (on stderr) when there is no row."""
    if not rows:
        sys.stderr.write(empty + "\n")
        return
    sys.stdout.write("\n".join(render(columns, rows, width=terminal_width())) + "\n")


def print_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Names and values under each other; values are not cut."""
    width = max(cell_width(name) for name, _ in pairs)
    for name, value in pairs:
        sys.stdout.write(f"{pad(name, width)}  {clean(value)}".rstrip() + "\n")


def say(text: str) -> None:
    """Tell the user something that is not the answer (stderr, so that a pipe gets the answer only)."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def duration(seconds: float | None) -> str:
    """Seconds as people read them: 8s, 3m20s, 2h05m, 3d04h; "-" for None."""
    if seconds is None:
        return "-"
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def since(start: datetime | None, end: datetime | None, *, now: datetime) -> float | None:
    """Seconds from start to end (or now while there is no end); None without a start."""
    return None if start is None else ((end or now) - start).total_seconds()


def local_time(value: datetime | None) -> str:
    """A time in the zone of this machine, with its offset; "-" for None."""
    return "-" if value is None else value.astimezone().strftime("%Y-%m-%d %H:%M:%S %z")


def utc_now() -> datetime:
    return datetime.now(UTC)
