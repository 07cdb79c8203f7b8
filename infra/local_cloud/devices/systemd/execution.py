"""How a service's processes are run: as whom, where, with which environment, folders, limits and output."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

from infra.local_cloud.machines.inside.children import Children, Identity

from . import units
from .units import Directory, ExecLine, Unit, UnitError

LOG_FOLDER = Path("/var/log/units")
"""Where the output of services goes, a file a unit; `journalctl -u` reads it."""
_CLEAN_SIGNALS = {128 + number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)}
_ABNORMAL_SIGNALS = {
    128 + number
    for number in (
        signal.SIGQUIT,
        signal.SIGILL,
        signal.SIGABRT,
        signal.SIGFPE,
        signal.SIGKILL,
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGSYS,
        signal.SIGTRAP,
    )
}


def spawn(children: Children, unit: Unit, line: ExecLine, *, environment: Mapping[str, str]) -> int:
    """Start one command of a unit and return its pid. Raises `UnitError` or OSError."""
    who = None if line.as_root else identity(unit)
    env = {**environment, **user_environment(unit), **directory_environment(unit), **own_environment(unit)}
    argv = with_limits(unit, resolve(units.expand(line.words, env), env), who)
    output = open_output(unit, unit.value("StandardOutput", "journal"))
    errors = output if not unit.lists("Service", "StandardError") else open_output(unit, unit.value("StandardError"))
    try:
        return children.spawn(
            argv,
            env=env,
            stdout=output,
            stderr=errors,
            identity=who if not unit.limits() else None,
            cwd=working_directory(unit),
            umask=int(unit.value("UMask", "0022"), 8),
        )
    finally:
        for file in {output, errors}:
            os.close(file)


def identity(unit: Unit) -> Identity | None:
    """Whom User= and Group= mean; None for root."""
    user, group = unit.value("User"), unit.value("Group")
    if not user and not group:
        return None
    try:
        entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user or "root")
        gid = entry.pw_gid if not group else int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise UnitError(
            f"{unit.path}: User={user} Group={group}: {error.args[0]}; make it before the service starts"
        ) from error
    more = [grp.getgrnam(name).gr_gid for name in unit.words("Service", "SupplementaryGroups")]
    return Identity(entry.pw_uid, gid, tuple({*os.getgrouplist(entry.pw_name, gid), *more}))


def user_environment(unit: Unit) -> dict[str, str]:
    """What systemd sets when User= is given."""
    user = unit.value("User")
    if not user:
        return {}
    entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    return {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name, "SHELL": entry.pw_shell}


def own_environment(unit: Unit) -> dict[str, str]:
    """Environment=, then EnvironmentFile=, which wins."""
    found: dict[str, str] = {}
    for text in unit.lists("Service", "Environment"):
        found.update(units.environment_words(units.specifiers(text, unit)))
    for text in unit.lists("Service", "EnvironmentFile"):
        path = Path(units.specifiers(text.removeprefix("-"), unit))
        if path.exists():
            found.update(units.environment_file(path.read_text()))
        elif not text.startswith("-"):
            raise UnitError(f"{unit.path}: EnvironmentFile={text} does not exist")
    return found


def directory_environment(unit: Unit) -> dict[str, str]:
    """RUNTIME_DIRECTORY and its like."""
    found: dict[str, list[str]] = {}
    for folder in unit.directories():
        found.setdefault(f"{folder.kind.upper()}_DIRECTORY", []).append(folder.path)
    return {key: ":".join(paths) for key, paths in found.items()}


def make_directories(unit: Unit) -> None:
    """Make the unit's folders, owned by its user (configuration folders by root)."""
    who = identity(unit)
    for folder in unit.directories():
        Path(folder.path).mkdir(parents=True, exist_ok=True)
        Path(folder.path).chmod(folder.mode)
        if who is not None and folder.kind != "Configuration":
            _give(folder, who)


def _give(folder: Directory, who: Identity) -> None:
    known = Path(folder.path).stat()
    if (known.st_uid, known.st_gid) != (who.uid, who.gid):
        for path in [Path(folder.path), *Path(folder.path).rglob("*")]:
            os.lchown(path, who.uid, who.gid)


def working_directory(unit: Unit) -> str:
    """WorkingDirectory=, or /."""
    text = units.specifiers(unit.value("WorkingDirectory", "/"), unit)
    if text.startswith("-"):
        return text[1:] if Path(text[1:]).is_dir() else "/"
    return user_environment(unit).get("HOME", "/root") if text == "~" else text


def resolve(argv: list[str], env: Mapping[str, str]) -> list[str]:
    """The command with its program's path."""
    program = argv[0] if argv[0].startswith("/") else shutil.which(argv[0], path=env.get("PATH"))
    if program is None or not Path(program).exists():
        raise UnitError(f"{argv[0]}: no such program (status=203/EXEC)")
    return [program, *argv[1:]]


def with_limits(unit: Unit, argv: list[str], who: Identity | None) -> list[str]:
    """Put prlimit(1) before a command whose unit has limits; it must set them before the user changes."""
    limits = unit.limits()
    if not limits:
        return argv
    options = [f"--{name}={value}" for name, value in sorted(limits.items())]
    change = (
        []
        if who is None
        else ["setpriv", f"--reuid={who.uid}", f"--regid={who.gid}", f"--groups={','.join(map(str, who.groups))}", "--"]
    )
    # A limit that this machine may not raise (in a user namespace) is worth a warning in the unit's log, not a failure.
    script = 'while [ "$1" != . ]; do prlimit --pid $$ "$1" || :; shift; done; shift; exec "$@"'
    return ["sh", "-c", script, "limits", *options, ".", *change, *argv]


def open_output(unit: Unit, target: str) -> int:
    """Open what StandardOutput= or StandardError= names."""
    kind, _, path = target.partition(":")
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_APPEND
    if kind == "null":
        return os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
    if kind in ("append", "file", "truncate"):
        return os.open(units.specifiers(path, unit), flags | (os.O_TRUNC if kind == "truncate" else 0), 0o644)
    LOG_FOLDER.mkdir(parents=True, exist_ok=True)
    return os.open(LOG_FOLDER / f"{unit.name}.log", flags, 0o640)


def counts_as_success(unit: Unit, code: int) -> bool:
    """Whether an exit code is a clean one: 0, a polite signal, or one of SuccessExitStatus=."""
    return code == 0 or code in _CLEAN_SIGNALS or code in statuses(unit, "SuccessExitStatus")


def statuses(unit: Unit, key: str) -> set[int]:
    """Exit codes and signals of a directive, signals as 128+N."""
    return {int(word) if word.isdigit() else 128 + signal.Signals[word].value for word in unit.words("Service", key)}


def restarts(unit: Unit, code: int) -> bool:
    """Whether Restart= asks for a new start after this exit code."""
    if code in statuses(unit, "RestartPreventExitStatus"):
        return False
    clean = counts_as_success(unit, code)
    return {
        "no": False,
        "always": True,
        "on-success": clean,
        "on-failure": not clean,
        "on-abnormal": not clean and code > 128,
        "on-abort": code in _ABNORMAL_SIGNALS,
    }[unit.value("Restart", "no")]


def parent_of(pid: int) -> int:
    """The parent of a process, 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0
