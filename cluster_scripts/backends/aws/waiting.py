"""Waiting with growing pauses, the clock passed in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """now: seconds that only grow; sleep: waits that many seconds."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


SYSTEM_CLOCK = Clock()


def pauses(clock: Clock, *, first: float, factor: float, longest: float, total: float) -> Iterator[float]:
    """Yield at once and then after each pause, until `total` seconds have gone by; yields the seconds gone.

    The pauses grow from `first` by `factor` up to `longest`, all in seconds.
    """
    start, pause = clock.now(), first
    while True:
        gone = clock.now() - start
        yield gone
        left = total - (clock.now() - start)
        if left <= 0:
            return
        clock.sleep(min(pause, left))
        pause = min(pause * factor, longest)
