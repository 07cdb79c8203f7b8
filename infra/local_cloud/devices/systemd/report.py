"""systemctl's words: its command line, and what it prints of a service."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .execution import LOG_FOLDER
from .service import Service
from .units import UnitError

_IGNORED = {
    "--no-pager",
    "--system",
    "--full",
    "-l",
    "--all",
    "-a",
    "--no-legend",
    "--plain",
    "--no-ask-password",
    "--force",
    "-f",
    "--no-reload",
}


@dataclass(frozen=True)
class Request:
    """A systemctl command line, understood."""

    verb: str
    names: tuple[str, ...]
    quiet: bool = False
    now: bool = False
    no_block: bool = False
    value_only: bool = False
    properties: tuple[str, ...] = ()
    lines: int = 10

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> Request:
        """Raises `UnitError` for an option that would be ignored at the user's cost."""
        words: list[str] = []
        flags: set[str] = set()
        properties: list[str] = []
        lines, rest = 10, list(arguments)
        while rest:
            word = rest.pop(0)
            option, equals, value = word.partition("=")
            if option in ("-p", "--property"):
                properties += (value if equals else rest.pop(0) if rest else "").split(",")
            elif option in ("-n", "--lines"):
                lines = int(value if equals else rest.pop(0) if rest else "10")
            elif word.startswith("-p") and not word.startswith("--"):
                properties += word[2:].split(",")
            elif word in ("-q", "--quiet", "--now", "--no-block", "--value"):
                flags.add(word)
            elif word.startswith("-") and word not in _IGNORED:
                raise UnitError(f"the option {word} is not known to this machine's systemctl")
            elif not word.startswith("-"):
                words.append(word)
        return cls(
            verb=words[0] if words else "list-units",
            names=tuple(words[1:]),
            quiet=bool(flags & {"-q", "--quiet"}),
            now="--now" in flags,
            no_block="--no-block" in flags,
            value_only="--value" in flags,
            properties=tuple(properties),
            lines=lines,
        )


def properties(service: Service, *, enabled: str) -> dict[str, str]:
    """What `systemctl show` prints."""
    code = service.exit_code
    return {
        "Type": service.unit.kind,
        "Restart": service.unit.value("Restart", "no"),
        "Result": service.result,
        "NRestarts": str(service.restarts),
        "MainPID": str(service.main_pid),
        "ExecMainPID": str(service.main_pid),
        "ExecMainCode": "2" if code > 128 else "1" if code else "0",
        "ExecMainStatus": str(code - 128 if code > 128 else code),
        "StatusText": service.status_text,
        "Id": service.unit.name,
        "Names": service.unit.name,
        "Description": service.unit.description,
        "LoadState": "loaded",
        "ActiveState": service.active,
        "SubState": service.sub,
        "FragmentPath": service.unit.path,
        "UnitFileState": enabled,
    }


def missing(name: str) -> dict[str, str]:
    """What `systemctl show` prints of a unit that does not exist."""
    return {
        "Id": name,
        "Names": name,
        "Description": name,
        "LoadState": "not-found",
        "ActiveState": "inactive",
        "SubState": "dead",
        "Result": "success",
        "MainPID": "0",
        "UnitFileState": "",
    }


def show(values: Mapping[str, str], request: Request) -> str:
    """The properties that were asked for, all by default."""
    wanted = [key for key in request.properties if key in values] if request.properties else list(values)
    return "".join(f"{values[key]}\n" if request.value_only else f"{key}={values[key]}\n" for key in wanted)


def status(service: Service, *, enabled: str, lines: int) -> str:
    """What `systemctl status` prints, the last lines of the unit's output included."""
    mark = {"active": "●", "failed": "×"}.get(service.active, "○")
    why = f" (Result: {service.result})" if service.active == "failed" else f" ({service.sub})"
    since = time.strftime("%a %Y-%m-%d %H:%M:%S UTC", time.gmtime(service.since))
    text = [
        f"{mark} {service.unit.name} - {service.unit.description}",
        f"     Loaded: loaded ({service.unit.path}; {enabled})",
        f"     Active: {service.active}{why} since {since}",
    ]
    if service.main_pid:
        text.append(f"   Main PID: {service.main_pid}")
    elif service.exit_code:
        text.append(f"    Process: ended with {service.exit_code}")
    if service.status_text:
        text.append(f'     Status: "{service.status_text}"')
    log = LOG_FOLDER / f"{service.unit.name}.log"
    if lines and log.exists():
        text += ["", *tail(log, lines)]
    return "\n".join(text) + "\n"


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a file."""
    return path.read_text(errors="replace").splitlines()[-lines:]


def table(services: Sequence[Service]) -> str:
    """What `systemctl list-units` prints."""
    rows = [("UNIT", "LOAD", "ACTIVE", "SUB", "DESCRIPTION")]
    rows += [(s.unit.name, "loaded", s.active, s.sub, s.unit.description) for s in services]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "".join(
        " ".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)).rstrip() + "\n"
        for row in rows
    )
