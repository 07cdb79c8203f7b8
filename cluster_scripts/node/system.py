"""The machine that we run on: programs, files, users. The only place that touches them, so that tests can stand in for
it.

`root` is where the machine's files begin: `/` on a machine, a temporary folder in tests.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cluster_scripts.jobs.errors import StepFailed

#: All that our programs, Slurm's commands and the jobs behind them inherit.
ENVIRONMENT: Mapping[str, str] = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
}


def account(user: str) -> pwd.struct_passwd:
    """A user of this machine. StepFailed if there is none."""
    try:
        return pwd.getpwnam(user)
    except KeyError as error:
        raise StepFailed(f"there is no user {user!r} on this machine: the image lacks its package") from error


@dataclass(frozen=True)
class Result:
    """How a program ended. A negative code is the signal that ended it."""

    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Clock:
    """now: seconds since 1970; sleep: waits that many seconds."""

    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep


def run(argv: Sequence[str], *, input: str = "", user: str | None = None, timeout: float = 60) -> Result:
    """Run a program with ENVIRONMENT only, in `/`, as `user` (needs root). StepFailed when it can't start or takes
    too long."""
    environment = dict(ENVIRONMENT)
    who: int | None = None
    group: int | None = None
    groups: list[int] | None = None
    try:
        if user is not None:
            entry = account(user)
            who, group, groups = entry.pw_uid, entry.pw_gid, []
            environment |= {"HOME": entry.pw_dir, "USER": entry.pw_name}
        done = subprocess.run(
            list(argv),
            input=input,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            cwd="/",
            env=environment,
            user=who,
            group=group,
            extra_groups=groups,
        )
    except subprocess.TimeoutExpired as error:
        raise StepFailed(f"`{' '.join(argv)}` did not end within {timeout:.0f} s") from error
    except OSError as error:
        raise StepFailed(f"`{' '.join(argv)}` can't be started: {error}") from error
    return Result(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class System:
    """Programs, files and the clock of the machine."""

    root: Path = Path("/")
    runner: Callable[..., Result] = run
    clock: Clock = field(default_factory=Clock)

    def path(self, absolute: str) -> Path:
        """Where an absolute path of the machine lies."""
        return self.root / absolute.lstrip("/")

    def run(self, argv: Sequence[str], *, input: str = "", user: str | None = None, timeout: float = 60) -> Result:
        """See `run`: any exit code is an answer."""
        return self.runner(argv, input=input, user=user, timeout=timeout)

    def check(self, argv: Sequence[str], *, input: str = "", user: str | None = None, timeout: float = 60) -> str:
        """The output of a program that has to end with 0; StepFailed, with what it said, if it does not."""
        result = self.run(argv, input=input, user=user, timeout=timeout)
        if result.code:
            said = (result.stderr.strip() or result.stdout.strip() or "nothing")[-1000:]
            raise StepFailed(f"`{' '.join(argv)}` ended with {result.code} and said: {said}")
        return result.stdout

    def write(self, absolute: str, content: str | bytes, *, mode: int = 0o644, owner: str | None = None) -> None:
        """Write a file, whole or not at all: never readable by more than `mode` allows, not even for a moment."""
        path = self.path(absolute)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                if owner:
                    self.own(file.fileno(), owner)
                os.fchmod(file.fileno(), mode)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def folder(self, absolute: str, *, mode: int = 0o755, owner: str = "", group: str = "") -> None:
        """Make a folder (its parents too) and give it this mode, owner and group (the owner's own, if none is given).

        One that is there gets them too; a link in its place is refused, as it would give away what it points to.
        """
        path = self.path(absolute)
        path.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError as error:
            raise StepFailed(f"{absolute} is no folder: {error}") from error
        try:
            if owner:
                self.own(descriptor, owner, group=group)
            os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)

    def own(self, descriptor: int, owner: str, *, group: str = "") -> None:
        """Give an open file to a user, and to a group (the user's own, if none is given)."""
        os.fchown(descriptor, account(owner).pw_uid, account(group or owner).pw_gid)

    def until(self, what: str, ready: Callable[[], bool], *, seconds: float, pause: float = 0.05) -> None:
        """Ask `ready` until it says yes; StepFailed after that many seconds."""
        end = self.clock.now() + seconds
        while not ready():
            if self.clock.now() >= end:
                raise StepFailed(f"{what}: not within {seconds:.0f} s")
            self.clock.sleep(pause)
