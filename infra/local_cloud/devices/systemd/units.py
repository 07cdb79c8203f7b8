"""Unit files: found where systemd finds them, read as it reads them, and what of them this service manager acts on.

Pure but for reading files. Source of the rules: systemd.unit(5), systemd.service(5), systemd.exec(5),
systemd.syntax(7).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SEARCH_PATH = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/lib/systemd/system",
    "/usr/lib/systemd/system",
)
TYPES = ("simple", "exec", "forking", "oneshot", "notify")
RESTARTS = ("no", "always", "on-success", "on-failure", "on-abnormal", "on-abort")
DIRECTORY_BASES = {
    "Runtime": "/run",
    "State": "/var/lib",
    "Cache": "/var/cache",
    "Logs": "/var/log",
    "Configuration": "/etc",
}

Sections = dict[str, dict[str, list[str]]]

_SECONDS = {
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "seconds": 1.0,
    "m": 60.0,
    "min": 60.0,
    "minute": 60.0,
    "minutes": 60.0,
    "h": 3600.0,
    "hr": 3600.0,
    "hour": 3600.0,
    "hours": 3600.0,
    "d": 86400.0,
    "day": 86400.0,
    "days": 86400.0,
    "": 1.0,
}
_BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class UnitError(Exception):
    """A unit file that is missing or that can't be obeyed; the message is fit for the user of systemctl."""


class UnitNotFound(UnitError):
    """No file of that name lies on the search path."""


@dataclass(frozen=True)
class ExecLine:
    """One command of a unit: its words, and whether `-` before it says that its failure does not matter."""

    words: tuple[str, ...]
    ignore_failure: bool = False
    as_root: bool = False


@dataclass(frozen=True)
class Directory:
    """A folder that a unit wants to exist, with the unit's user as its owner."""

    kind: str
    path: str
    mode: int


@dataclass(frozen=True)
class Unit:
    """A service as this manager understands it; `lists` and `value` reach every other directive."""

    name: str
    path: str
    sections: Mapping[str, Mapping[str, Sequence[str]]]

    def lists(self, section: str, key: str) -> list[str]:
        """All assignments to a key, in order."""
        return list(self.sections.get(section, {}).get(key, ()))

    def value(self, key: str, default: str = "", *, section: str = "Service") -> str:
        """The last assignment to a key."""
        return (self.lists(section, key) or [default])[-1]

    def words(self, section: str, key: str) -> list[str]:
        """All words of all assignments to a key."""
        return [word for line in self.lists(section, key) for word in line.split()]

    @property
    def description(self) -> str:
        """Description=, or the name."""
        return self.value("Description", self.name, section="Unit")

    @property
    def kind(self) -> str:
        """Type=, with systemd's defaults."""
        return self.value("Type") or ("simple" if self.lists("Service", "ExecStart") else "oneshot")

    def flag(self, key: str, *, section: str = "Service", default: bool = False) -> bool:
        """A boolean directive."""
        text = self.value(key, section=section).lower()
        return text in ("1", "yes", "y", "true", "t", "on") if text else default

    def seconds(self, key: str, default: float, *, section: str = "Service") -> float:
        """A time span, infinity as float("inf")."""
        text = self.value(key, section=section)
        return span(text) if text else default

    def commands(self, key: str) -> list[ExecLine]:
        """The commands of ExecStart= and its like."""
        return [exec_line(text, self) for text in self.lists("Service", key)]

    def directories(self) -> list[Directory]:
        """Runtime, state, cache, logs and configuration folders."""
        found = []
        for kind, base in DIRECTORY_BASES.items():
            mode = int(self.value(f"{kind}DirectoryMode", "0755"), 8)
            found += [
                Directory(kind, f"{base}/{specifiers(name, self)}", mode)
                for name in self.words("Service", f"{kind}Directory")
            ]
        return found

    def limits(self) -> dict[str, str]:
        """LimitNOFILE=... as prlimit(1) wants it: {"nofile": "1024:4096"}."""
        found = {}
        for key in self.sections.get("Service", {}):
            if match := re.fullmatch(r"Limit([A-Z]+)", key):
                parts = [limit_value(part) for part in self.value(key).split(":")]
                found[match[1].lower()] = ":".join(parts if len(parts) == 2 else parts * 2)
        return found


def parse(text: str, *, where: str = "unit file", into: Sections | None = None) -> Sections:
    """Sections and keys of a unit file, added to `into`; an empty assignment forgets the earlier ones of that key."""
    sections: Sections = {} if into is None else into
    current: dict[str, list[str]] | None = None
    for number, line in _logical_lines(text):
        if match := re.fullmatch(r"\[([^\[\]]+)\]", line):
            current = sections.setdefault(match[1], {})
            continue
        key, equals, value = line.partition("=")
        if not equals or current is None:
            raise UnitError(f"{where}:{number}: neither a section nor an assignment: {line!r}")
        values = current.setdefault(key.strip(), [])
        if value.strip():
            values.append(value.strip())
        else:
            values.clear()
    return sections


def _logical_lines(text: str) -> list[tuple[int, str]]:
    lines: list[tuple[int, str]] = []
    pending, start = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if line.startswith(("#", ";")) or (not line and not pending):
            continue
        start = start if pending else number
        if line.endswith("\\"):
            pending += line[:-1] + " "
            continue
        lines.append((start, (pending + line).strip()))
        pending = ""
    if pending:
        lines.append((start, pending.strip()))
    return lines


def full_name(name: str) -> str:
    """`munge` is `munge.service`."""
    return name if "." in name.rsplit("@", 1)[-1] else f"{name}.service"


def load(name: str, *, root: Path = Path("/"), search: Sequence[str] = SEARCH_PATH) -> Unit:
    """Read a unit with its drop-ins. Raises `UnitNotFound`, or `UnitError` for one that can't be obeyed."""
    path = _find(name, root, search)
    if path is None:
        raise UnitNotFound(f"Unit {name} could not be found.")
    if path.resolve() == Path("/dev/null"):
        raise UnitError(f"Unit {name} is masked.")
    sections: Sections = {}
    for file in [path, *_drop_ins(name, root, search)]:
        parse(file.read_text(), where=str(file), into=sections)
    unit = Unit(name, str(path), sections)
    check(unit)
    return unit


def _find(name: str, root: Path, search: Sequence[str]) -> Path | None:
    names = [name]
    if match := re.fullmatch(r"(.+@).+(\.\w+)", name):
        names.append(match[1] + match[2])
    for candidate in names:
        for folder in search:
            path = root / folder.lstrip("/") / candidate
            if path.is_file() or path.is_symlink():
                return path
    return None


def _drop_ins(name: str, root: Path, search: Sequence[str]) -> list[Path]:
    found: dict[str, Path] = {}
    for folder in reversed(search):
        for path in sorted((root / folder.lstrip("/") / f"{name}.d").glob("*.conf")):
            found[path.name] = path
    return [found[key] for key in sorted(found)]


def check(unit: Unit) -> None:
    """Refuse what can't be obeyed, rather than run it differently."""
    if unit.kind not in TYPES:
        raise UnitError(f"{unit.path}: Type={unit.kind} is not known here; there are {', '.join(TYPES)}.")
    restart = unit.value("Restart", "no")
    if restart not in RESTARTS:
        raise UnitError(f"{unit.path}: Restart={restart} is not known here; there are {', '.join(RESTARTS)}.")
    starts = unit.lists("Service", "ExecStart")
    if not starts:
        raise UnitError(f"{unit.path}: Service has no ExecStart=.")
    if len(starts) > 1 and unit.kind != "oneshot":
        raise UnitError(f"{unit.path}: more than one ExecStart=, which only Type=oneshot allows.")


def specifiers(text: str, unit: Unit) -> str:
    """Replace %n, %i and the like."""
    prefix, _, rest = unit.name.rpartition(".")[0].partition("@")
    values = {
        "n": unit.name,
        "N": unit.name.rpartition(".")[0],
        "p": prefix,
        "i": rest,
        "t": "/run",
        "S": "/var/lib",
        "C": "/var/cache",
        "L": "/var/log",
        "E": "/etc",
        "%": "%",
        "u": unit.value("User", "root"),
    }

    def replace(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise UnitError(f"{unit.path}: the specifier %{match[1]} is not known here.")
        return values[match[1]]

    return re.sub(r"%(.)", replace, text)


def exec_line(text: str, unit: Unit) -> ExecLine:
    """Read one command line; variables are left for `expand`."""
    match = re.match(r"[-@:+!|]*", text)
    prefix = match[0] if match else ""
    if "@" in prefix or ":" in prefix:
        raise UnitError(f"{unit.path}: the prefix {prefix!r} of a command is not known here.")
    try:
        words = shlex.split(text[len(prefix) :].strip())
    except ValueError as error:
        raise UnitError(f"{unit.path}: {text!r}: {error}") from error
    if not words:
        raise UnitError(f"{unit.path}: an empty command line.")
    return ExecLine(tuple(specifiers(word, unit) for word in words), "-" in prefix, "+" in prefix or "!" in prefix)


def expand(words: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Replace ${NAME} inside words and split a word that is $NAME; $$ is a dollar."""
    result: list[str] = []
    for word in words:
        if match := re.fullmatch(r"\$([A-Za-z_]\w*)", word):
            result += environment.get(match[1], "").split()
        else:
            result.append(
                re.sub(r"\$\$|\$\{([A-Za-z_]\w*)\}", lambda m: "$" if m[0] == "$$" else environment.get(m[1], ""), word)
            )
    return result


def environment_words(text: str) -> dict[str, str]:
    """The assignments of one Environment= line."""
    return {key: value for key, equals, value in (word.partition("=") for word in shlex.split(text)) if equals}


def environment_file(text: str) -> dict[str, str]:
    """The assignments of an EnvironmentFile=."""
    found = {}
    for _, line in _logical_lines(text):
        key, equals, value = line.removeprefix("export ").partition("=")
        if equals:
            value = value.strip()
            quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'"
            found[key.strip()] = value[1:-1] if quoted else value
    return found


def span(text: str) -> float:
    """A time span such as `5`, `1min 30s`, `500ms` or `infinity`, in seconds."""
    if text.strip() == "infinity":
        return float("inf")
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text)
    if not parts or re.sub(r"(\d+(?:\.\d+)?)\s*([a-z]*)", "", text).strip() or any(u not in _SECONDS for _, u in parts):
        raise UnitError(f"{text!r} is no time span.")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def limit_value(text: str) -> str:
    """One side of a resource limit, as prlimit(1) takes it."""
    if text.strip() == "infinity":
        return "unlimited"
    match = re.fullmatch(r"(\d+)([KMGT]?)", text.strip())
    if match is None:
        raise UnitError(f"{text!r} is no resource limit.")
    return str(int(match[1]) * _BYTES[match[2]])
