"""journalctl of a machine: prints what services wrote, from the files in which pid 1 keeps it."""

from __future__ import annotations

import argparse
import os
import sys

from .execution import LOG_FOLDER
from .report import tail
from .units import full_name


def main(arguments: list[str]) -> int:
    """`journalctl [-u UNIT]... [-n LINES] [-f] [--no-pager]`."""
    parser = argparse.ArgumentParser(prog="journalctl")
    parser.add_argument("-u", "--unit", action="append", default=[])
    parser.add_argument("-n", "--lines", type=int)
    parser.add_argument("-f", "--follow", action="store_true")
    parser.add_argument("-b", "--boot", action="store_true", help="accepted: there is one boot only")
    parser.add_argument("--no-pager", action="store_true", help="accepted: there is no pager")
    options = parser.parse_args(arguments)
    names = [full_name(name) for name in options.unit]
    paths = [LOG_FOLDER / f"{name}.log" for name in names] if names else sorted(LOG_FOLDER.glob("*.log"))
    paths = [path for path in paths if path.exists()]
    if options.follow:
        os.execvp("tail", ["tail", "-n", str(options.lines or 10), "-F", *map(str, paths)])
    if not paths:
        print("-- No entries --", file=sys.stderr)
    for path in paths:
        for line in tail(path, options.lines or 1 << 30):
            print(line)
    return 0
