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
            account = pwd.getpwnam(user)
            who, group, groups = account.pw_uid, account.pw_gid, []
            environment |= {"HOME": account.pw_dir, "USER": account.pw_name}
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
    except KeyError as error:
        raise StepFailed(f"there is no user {user!r} on this machine") from error
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

    def folder(self, absolute: str, *, mode: int = 0o755, owner: str | None = None) -> None:
        """Make a folder (its parents too) and give it this mode and owner, also if it is there."""
        path = self.path(absolute)
        path.mkdir(parents=True, exist_ok=True)
        if owner:
            self.own(path, owner)
        path.chmod(mode)

    def own(self, what: Path | int, owner: str) -> None:
        """Give a file to a user and its group."""
        try:
            account = pwd.getpwnam(owner)
        except KeyError as error:
            raise StepFailed(f"there is no user {owner!r} on this machine: the image lacks its package") from error
        os.chown(what, account.pw_uid, account.pw_gid)

    def until(self, what: str, ready: Callable[[], bool], *, seconds: float, pause: float = 0.05) -> None:
        """Ask `ready` until it says yes; StepFailed after that many seconds."""
        end = self.clock.now() + seconds
        while not ready():
            if self.clock.now() >= end:
                raise StepFailed(f"{what}: not within {seconds:.0f} s")
            self.clock.sleep(pause)
