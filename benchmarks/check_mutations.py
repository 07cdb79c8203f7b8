"""`python -m benchmarks.check_mutations [--count 10000] [--seed 1]`: wrong cluster files, and what is said of them.

Mutates the ready cluster files: keys renamed, removed, doubled, values exchanged for hostile or impossible ones, lines
cut and swapped, bytes flipped. For each: no exception but the one that lists problems; each problem with file,
line, rule, what was found and what is allowed; an unknown or exchanged key is named by its problem. The goal is
that all hold; `value` counts the files that hold.

Its peer is a bare pydantic model over yaml.safe_load, the usual way, on the same files: how many of them it answers
without a traceback of its own (a YAML bomb or deep nesting counts as one).
Side effects: none but its own memory and CPU time.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import yaml
from pydantic import ValidationError

from benchmarks.support import ROOT, result
from infra.config.loader import check_document
from infra.config.problems import Problem
from infra.config.schema import ClusterFile
from infra.config.source import parse

HOSTILE: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    10**400,
    1.5,
    float("nan"),
    float("inf"),
    "",
    " ",
    "x" * 5000,
    "$(id)",
    "../../etc/passwd",
    "\x00\x1b[31m",
    "아버지",
    "0.0.0.0/0",
    "p3dn.24xlarge ",
    [],
    [[]],
    {},
    {"a": {"b": {}}},
    ["x"] * 50,
    "2020-13-45",
)
NESTED = "[" * 3000
BOMB = "\n".join(f"k{i}: &k{i} [{', '.join([f'*k{i - 1}'] * 9) if i else 'x'}]" for i in range(9))

# A mutated text, and the key that some problem must name ("" where any problem will do, None where none need be)
Mutation = tuple[bytes, str | None]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything in a value but the value itself."""
    found: list[tuple[Any, ...]] = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += [(*path, key), *places(item, (*path, key))]
    return found


def holder(value: Any, path: tuple[Any, ...]) -> Any:
    """What holds the last part of a path."""
    for part in path[:-1]:
        value = value[part]
    return value


def written(value: Any) -> bytes:
    return yaml.safe_dump(value, allow_unicode=True, sort_keys=False).encode("utf-8", "surrogatepass")


def renamed(value: Any, chance: random.Random) -> Mutation:
    """A key with a letter more: it must be named as unknown."""
    paths = [path for path in places(value) if isinstance(path[-1], str) and "tags" not in path[:-1]]
    path = chance.choice(paths)
    mapping = holder(value, path)
    new = path[-1] + chance.choice("sx_")
    mapping[new] = mapping.pop(path[-1])
    return written(value), new


def exchanged(value: Any, chance: random.Random) -> Mutation:
    """A value of another kind. It may happen to be allowed, so no problem need be."""
    path = chance.choice(places(value))
    holder(value, path)[path[-1]] = chance.choice(HOSTILE)
    return written(value), None


def impossible(value: Any, chance: random.Random) -> Mutation:
    """A value that can't be right, wherever it stands: its key must be named."""
    path = chance.choice([path for path in places(value) if path[-1] != "tags" and "tags" not in path[:-1]])
    holder(value, path)[path[-1]] = {"no": ["such", {"thing": 1}]}
    return written(value), next(str(part) for part in reversed(path) if isinstance(part, str))


def removed(value: Any, chance: random.Random) -> Mutation:
    path = chance.choice(places(value))
    del holder(value, path)[path[-1]]
    return written(value), None


def repeated(value: Any, chance: random.Random) -> Mutation:
    """A whole list many times over, or a mapping within itself."""
    path = chance.choice([path for path in places(value) if isinstance(path[-1], str)])
    holder(value, path)[path[-1]] = [value] * chance.randrange(1, 40)
    return written(value), path[-1]


def lines_moved(value: Any, chance: random.Random) -> Mutation:
    lines = written(value).split(b"\n")
    first, second = (chance.randrange(len(lines)) for _ in range(2))
    kind = chance.randrange(3)
    if kind == 0:
        lines[first], lines[second] = lines[second], lines[first]
    elif kind == 1:
        lines.insert(first, lines[second])
    else:
        lines = lines[:first]
    return b"\n".join(lines), None


def bytes_flipped(value: Any, chance: random.Random) -> Mutation:
    content = bytearray(written(value))
    for _ in range(chance.randrange(1, 6)):
        content[chance.randrange(len(content))] = chance.randrange(256)
    return bytes(content), None


def hostile_yaml(value: Any, chance: random.Random) -> Mutation:
    """What only an attacker writes, at the end of a good file: some problem must be."""
    ends = (f"extra: {NESTED}", BOMB, "extra: &a [*a]", "extra: !!python/object/apply:os.system [id]", "? [a]\n: b")
    return written(value) + chance.choice(ends).encode(), ""


MUTATIONS: tuple[Callable[[Any, random.Random], Mutation], ...] = (
    renamed,
    exchanged,
    impossible,
    removed,
    repeated,
    lines_moved,
    bytes_flipped,
    hostile_yaml,
)


def fault(content: bytes, must_name: str | None) -> str | None:
    """What is wrong with what we say of a file; None when all holds."""
    try:
        checked = check_document(parse(content, file="x.yaml"))
    except Exception as error:  # the measured claim is that there is none
        return f"{type(error).__name__}: {error}"
    lines = content.count(b"\n") + 1
    for problem in checked.problems:
        if not well_said(problem, lines):
            return f"badly said: {problem}"
    if (checked.cluster is None) != bool(checked.problems):
        return "refused without a problem, or taken with one"
    if must_name is not None and not any(must_name in problem.key for problem in checked.problems):
        return f"no problem names {must_name!r}: {[str(problem) for problem in checked.problems][:3]}"
    return None


def well_said(problem: Problem, lines: int) -> bool:
    said = problem.file and problem.found and problem.allowed and problem.rule
    return bool(said) and 1 <= problem.line <= lines + 1 and str(problem).isprintable()


def peer_answers(content: bytes) -> bool:
    """Whether the usual way (safe_load, then a model) ends in its own kind of error."""
    if content.endswith(BOMB.encode()):
        return False  # it would build 9^8 values: seen once, not repeated
    if content.endswith(NESTED.encode()):
        return False  # a second of its time, then a RecursionError: seen once, not repeated
    try:
        ClusterFile.model_validate(yaml.safe_load(content))
    except (yaml.YAMLError, ValidationError):
        return True
    except Exception:
        return False
    return True


def main() -> int:
    """Measure, and print the result as one JSON line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--count", type=int, default=10_000)
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    chance = random.Random(given.seed)
    sources = [path.read_bytes() for path in sorted((ROOT / "clusters").glob("*.yaml"))]
    good, peer, refused, faults = 0, 0, 0, Counter[str]()
    for number in range(given.count):
        mutation = MUTATIONS[number % len(MUTATIONS)]
        content, must_name = mutation(yaml.safe_load(chance.choice(sources)), chance)
        wrong = fault(content, must_name)
        if wrong is None:
            good += 1
        else:
            faults[mutation.__name__] += 1
            if faults.total() <= 10:
                print(f"{mutation.__name__}: {wrong[:300]}", file=sys.stderr)
        peer += peer_answers(content)
        refused += must_name is not None
    return result(
        "check_mutations",
        good,
        unit="files answered rightly",
        goal=given.count,
        holds=good == given.count,
        peers={"yaml.safe_load + pydantic, without a traceback": peer},
        runs=1,
        seed=given.seed,
        files_that_must_name_a_key=refused,
    )


if __name__ == "__main__":
    sys.exit(main())
