"""poweroff, halt, reboot and shutdown: each ends the machine; after a reboot its owner starts it again."""

from __future__ import annotations

import re
import sys
import time

from . import channel


def delay_of(words: list[str], *, now: float) -> float | None:
    """Seconds until `shutdown WORDS` acts: `now`, `+MINUTES` or `HH:MM`; -1 for `-c`; None when a word makes no
    sense.
    """
    if "-c" in words:
        return -1.0
    moments = [word for word in words if not word.startswith("-")]
    moment = moments[0] if moments else "+1"
    if moment == "now":
        return 0.0
    if match := re.fullmatch(r"\+(\d+)", moment):
        return 60.0 * int(match[1])
    if match := re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", moment):
        clock = time.localtime(now)
        wanted = int(match[1]) * 3600 + int(match[2]) * 60
        return float((wanted - clock.tm_hour * 3600 - clock.tm_min * 60 - clock.tm_sec) % 86400)
    return None


def reboots(verb: str, words: list[str]) -> bool:
    """Whether the machine is to come up again. Source: reboot(8), shutdown(8): the last option of a kind counts."""
    asked = verb == "reboot"
    for word in words:
        if word in ("-r", "--reboot"):
            asked = True
        elif word in ("-p", "--poweroff", "-P", "-h", "-H", "--halt"):
            asked = False
    return asked


def main(arguments: list[str]) -> int:
    """`power poweroff|halt|reboot|shutdown [words]`."""
    verb, words = arguments[0], arguments[1:]
    delay = delay_of(words, now=time.time()) if verb == "shutdown" else 0.0
    if delay is None:
        print(f"Failed to parse time specification: {' '.join(words)}", file=sys.stderr)
        return 1
    try:
        answer, _ = channel.ask({"kind": "power", "verb": verb, "delay": delay, "reboot": reboots(verb, words)})
    except OSError as error:
        print(f"{verb}: pid 1 can't be reached: {error}", file=sys.stderr)
        return 1
    sys.stderr.write(answer.get("stderr", ""))
    return int(answer["code"])
