"""What is wrong with a cluster file, said so that it can be mended.

Exceptions:

    ValueError
      └─ ClusterFileError      the file cannot be used; `problems` holds every finding
"""

from __future__ import annotations

from dataclasses import dataclass

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, order=True)
class Problem:
    """One finding: where it is, what stands there, what is allowed, and what to do.

    `line` counts from 1; `key` is the path within the file (`queues[0].max`, empty for the file as a whole); `rule`
    is the id that docs/rules.md explains.
    """

    file: str
    line: int
    key: str
    found: str
    allowed: str
    rule: str
    fix: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " + (f"{self.key}: " if self.key else "")
        fix = f"; {self.fix}" if self.fix else ""
        return f"{where}found {self.found}; allowed: {self.allowed}{fix} [{self.rule}]"


class ClusterFileError(ValueError):
    """A cluster file cannot be used; `problems` lists everything that is wrong with it, in the file's order."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        count = len(self.problems)
        head = f"{count} problem{'' if count == 1 else 's'} in the cluster file:"
        super().__init__("\n".join([head, *(f"  {problem}" for problem in self.problems)]))


def key_of(path: KeyPath) -> str:
    """A path as people read it: ("queues", 0, "max") is queues[0].max."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def shown(value: object) -> str:
    """A value as a message shows it: short, printable, on one line."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = ascii(value) if not value.isprintable() else f'"{value}"'
        return text if len(text) <= 60 else text[:57] + "..."
    if isinstance(value, dict):
        return f"a mapping of {len(value)} keys"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, int):
        # Very large numbers cannot be turned into decimal text at once (and nobody would read it)
        return str(value) if value.bit_length() < 200 else "a number of more than 60 digits"
    return f"{type(value).__name__} {value}"[:60]
