"""Reads Horovod's timeline (HOROVOD_TIMELINE): when gradients were reduced, and how much of it the backward pass hid.

Pure. The file is a Chrome trace whose clock begins at the moment that its first event names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

Interval = tuple[float, float]
_REDUCTION = "GLOO_ALLREDUCE"


def parse(text: str) -> list[dict[str, Any]]:
    """All events; a trace that was cut off in its last event loses that one."""
    try:
        events: list[dict[str, Any]] = json.loads(text)
    except json.JSONDecodeError:
        whole = text[: text.rindex("}") + 1]
        while True:
            try:
                return list(json.loads(whole + "]"))
            except json.JSONDecodeError:
                whole = whole[: whole.rindex("},") + 1]
    return events


def reductions(events: Iterable[dict[str, Any]], *, without: Sequence[str] = ()) -> list[Interval]:
    """When reductions ran, in seconds since the epoch: from the begin to the end of each, overlapping ones joined.
    Tensors whose names end with one of `without` are left out.
    """
    started = 0.0
    names: dict[int, str] = {}
    open_: dict[int, list[tuple[str, float]]] = {}
    found: list[Interval] = []
    for event in events:
        kind, lane = event["ph"], event["pid"]
        if kind == "M":
            arguments = event.get("args", {})
            started = arguments.get("start_time_since_epoch_in_micros", started)
            if "name" in arguments:
                names[lane] = arguments["name"]
        elif kind == "B":
            open_.setdefault(lane, []).append((event["name"], event["ts"]))
        elif kind == "E" and open_.get(lane):
            name, begun = open_[lane].pop()
            if name == _REDUCTION and not str(names.get(lane, "")).endswith(tuple(without) or ("\0",)):
                found.append(((started + begun) / 1e6, (started + event["ts"]) / 1e6))
    return joined(found)


def joined(intervals: Iterable[Interval]) -> list[Interval]:
    """The same time as intervals that do not touch."""
    found: list[Interval] = []
    for begun, ended in sorted(intervals):
        if found and begun <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], ended))
        else:
            found.append((begun, ended))
    return found


def within(intervals: Iterable[Interval], begun: float, ended: float) -> float:
    """Seconds of `intervals` between two moments."""
    return sum(max(0.0, min(ended, last) - max(begun, first)) for first, last in intervals)


def hidden(intervals: Sequence[Interval], steps: Iterable[tuple[float, float, float]]) -> list[tuple[float, float]]:
    """For steps given as (begin, end of the backward pass, end): seconds of reduction, and those of them during the
    backward pass.
    """
    return [(within(intervals, begun, ended), within(intervals, begun, computed)) for begun, computed, ended in steps]
