"""What botocore's service models say of values: enums, lengths, patterns, ranges. Pure.

botocore's own validator looks at required, unknown and mistyped members and at lower bounds; the rest is left to the
service, which is us. Patterns are Java's: `java_pattern` says them in Python's words.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sized
from typing import Any

_PROPERTY = re.compile(r"\\p\{(\w+)\}")
_NUMBERS = frozenset({"integer", "long", "float", "double"})
_SIZED = frozenset({"string", "list", "map", "blob"})


def violations(value: Any, shape: Any, path: str = "") -> list[str]:
    """What of a value its botocore shape does not allow, one line each, with its path ("Filters[0].Name")."""
    return list(_violations(value, shape, path))


def _violations(value: Any, shape: Any, path: str) -> Iterator[str]:
    kind = shape.type_name
    if kind == "structure" and isinstance(value, Mapping):
        for name, member in shape.members.items():
            if name in value:
                yield from _violations(value[name], member, f"{path}.{name}" if path else name)
        return
    if kind == "list" and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _violations(item, shape.member, f"{path}[{index}]")
    elif kind == "map" and isinstance(value, Mapping):
        for key, item in value.items():
            yield from _violations(key, shape.key, f"{path} (key {key!r})")
            yield from _violations(item, shape.value, f"{path}[{key!r}]")
    yield from _of_one(value, shape, path)


def _of_one(value: Any, shape: Any, path: str) -> Iterator[str]:
    kind, rules = shape.type_name, shape.metadata
    if kind == "string" and isinstance(value, str):
        if (allowed := rules.get("enum")) and value not in allowed:
            yield f"{path} is {value!r}, allowed: {', '.join(allowed)}"
            return
        if (pattern := rules.get("pattern")) and not java_pattern(pattern).fullmatch(value):
            yield f"{path} is {value!r}, which does not match {pattern}"
    low, high = rules.get("min"), rules.get("max")
    if low is None and high is None:
        return
    if kind in _NUMBERS and isinstance(value, int | float):
        if (low is not None and value < float(low)) or (high is not None and value > float(high)):
            yield f"{path} is {value}, allowed: {_bounds(low, high)}"
    elif kind in _SIZED and isinstance(value, Sized):
        size = len(value)
        if (low is not None and size < int(low)) or (high is not None and size > int(high)):
            what = {"string": "characters", "blob": "bytes"}.get(kind, "members")
            yield f"{path} has {size} {what}, allowed: {_bounds(low, high)}"


def _bounds(low: Any, high: Any) -> str:
    if high is None:
        return f"at least {low}"
    return f"{low if low is not None else 'any number'} to {high}"


@functools.cache
def java_pattern(text: str) -> re.Pattern[str]:
    """A pattern of a service model, which is Java's, as Python's. Raises re.error for one that can't be said so."""
    flags, inner = ("(?i)", text.replace("(?i)", "", 1)) if "(?i)" in text else ("", text)
    inner = inner.replace(r"\w-", r"\w\-")  # Java takes the hyphen after a class for itself, Python for a range
    return re.compile(flags + _PROPERTY.sub(lambda found: category(found[1]), inner), re.DOTALL)


@functools.cache
def category(name: str) -> str:
    """The characters of a general category of Unicode ("L", "Zs"), as the inside of a character class."""
    ranges: list[list[int]] = []
    for point in range(0x10000):
        if unicodedata.category(chr(point)).startswith(name):
            if ranges and ranges[-1][1] == point - 1:
                ranges[-1][1] = point
            else:
                ranges.append([point, point])
    text = "".join(f"\\u{low:04x}-\\u{high:04x}" for low, high in ranges)
    # beyond the basic plane there are letters and symbols, too many to look up one by one
    return text + ("\\U00010000-\\U0010ffff" if name[0] in "LS" else "")
