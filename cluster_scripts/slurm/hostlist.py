"""Slurm's short form for many hosts: `gpu-[1-3,7],cpu-1` and `gpu-[008-010]`.

`expand` reads what Slurm writes; `compress` writes what Slurm reads. `expand(compress(names)) == names` for sorted
names of one prefix each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby

#: A hostlist that expands to more than this is refused: one mistyped range must not eat the memory.
MAX_HOSTS = 65_536

_HOST = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)
_RANGE = re.compile(r"([0-9]+)(?:-([0-9]+))?", re.ASCII)
_NUMBERED = re.compile(r"(.*?)([0-9]+)", re.ASCII | re.DOTALL)


def expand(text: str) -> tuple[str, ...]:
    """Every host of the list, in its order. `""` and `(null)` are the empty list. ValueError, with the text, for
    anything else unreadable.
    """
    if text in ("", "(null)", "None assigned"):
        return ()
    hosts = [host for part in _split(text) for host in _expand_one(part, text)]
    if len(hosts) > MAX_HOSTS:
        raise ValueError(f"hostlist {text!r} names {len(hosts)} hosts, at most {MAX_HOSTS} are read")
    return tuple(hosts)


def compress(names: Iterable[str]) -> str:
    """The names as one hostlist: numbers of the same prefix become ranges; each name once, sorted by prefix and
    number.
    """
    plain = sorted({name for name in names if not _split_number(name)})
    numbered = sorted({parts for name in names if (parts := _split_number(name))})
    out = list(plain)
    for prefix, group in groupby(numbered, key=lambda parts: parts[0]):
        ranges = ",".join(_ranges([number for _, number in group]))
        out.append(f"{prefix}[{ranges}]" if "," in ranges or "-" in ranges else f"{prefix}{ranges}")
    return ",".join(out)


def _split_number(name: str) -> tuple[str, int] | None:
    match = _NUMBERED.fullmatch(name)
    # a number with leading zeros can't be a range of plain numbers: it stays a plain name
    if match and str(int(match[2])) == match[2]:
        return match[1], int(match[2])
    return None


def _ranges(numbers: list[int]) -> Iterator[str]:
    for _, group in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        yield str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}"


def _split(text: str) -> Iterator[str]:
    """Split at the commas that are outside brackets."""
    depth, start = 0, 0
    for place, sign in enumerate(text):
        depth += (sign == "[") - (sign == "]")
        if depth not in (0, 1):
            raise ValueError(f"hostlist {text!r} has brackets that do not match")
        if sign == "," and depth == 0:
            yield text[start:place]
            start = place + 1
    if depth:
        raise ValueError(f"hostlist {text!r} has brackets that do not match")
    yield text[start:]


def _expand_one(part: str, text: str) -> Iterator[str]:
    prefix, bracket, rest = part.partition("[")
    if not bracket:
        if not _HOST.fullmatch(part):
            raise ValueError(f"hostlist {text!r}: {part!r} is no host name")
        yield part
        return
    inside, bracket, suffix = rest.partition("]")
    if not bracket or (prefix and not _HOST.fullmatch(prefix)):
        raise ValueError(f"hostlist {text!r}: {part!r} is not readable")
    for item in inside.split(","):
        match = _RANGE.fullmatch(item)
        if not match:
            raise ValueError(f"hostlist {text!r}: {item!r} is no range")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last - first >= MAX_HOSTS:
            raise ValueError(f"hostlist {text!r}: {item!r} is no range of at most {MAX_HOSTS} hosts")
        for number in range(first, last + 1):
            host = f"{prefix}{number:0{len(match[1])}d}"
            yield from (host + tail for tail in (_expand_one(suffix, text) if suffix else ("",)))
