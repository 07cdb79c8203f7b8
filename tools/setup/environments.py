"""The environments that never meet (`.venv`, `.envs/node`, `.envs/local-cloud`, `.envs/trainer`), and the CDK CLI.

Each is made from one lock with hashes and stamped with that lock's digest, so a changed lock makes it anew and an
unchanged one costs a file read. uv makes them (requirements/bootstrap.txt); it also brings a Python 3.11 where the
system has none.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tools.setup.console import SetupError, run, say

PYTHON = "3.11"  # MXNet 1.9.1 needs numpy < 1.24, which needs Python <= 3.11


@dataclass(frozen=True)
class Environment:
    """One virtual environment: its folder and its lock, both relative to the repository's root."""

    name: str
    folder: str
    lock: str
    compiled: bool = True  # byte code made now: machines mount it read-only and would compile at every start


ENVIRONMENTS = (
    Environment("toolkit", ".venv", "requirements/dev.txt", compiled=False),
    Environment("node programs", ".envs/node", "requirements/node.txt"),
    Environment("local cloud", ".envs/local-cloud", "requirements/local-cloud.txt"),
    Environment("trainer", ".envs/trainer", "requirements/trainer.txt"),
)


def digest(*parts: bytes) -> str:
    """A short digest of `parts`, for stamps and cache keys."""
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def stamp_of(root: Path, environment: Environment, python: str) -> str:
    """What the stamp of an up-to-date `environment` says."""
    return digest((root / environment.lock).read_bytes(), python.encode())


def is_current(root: Path, environment: Environment, stamp: str) -> bool:
    """Whether `environment` was made whole from the lock of today."""
    file = root / environment.folder / ".dure-stamp"
    return file.exists() and file.read_text() == stamp and (root / environment.folder / "bin/python").exists()


def mark(root: Path, environment: Environment, stamp: str) -> None:
    """Written last: a half-made environment has no stamp and is made anew."""
    (root / environment.folder / ".dure-stamp").write_text(stamp)


def make_uv(root: Path, logs: Path) -> Path:
    """The pinned uv, in an environment of its own; returns its path."""
    lock = root / "requirements/bootstrap.txt"
    folder = root / ".envs/uv"
    uv, stamp_file, stamp = folder / "bin/uv", folder / ".dure-stamp", digest(lock.read_bytes())
    if uv.exists() and stamp_file.exists() and stamp_file.read_text() == stamp:
        return uv
    shutil.rmtree(folder, ignore_errors=True)
    run(
        "uv",
        ["python3", "-m", "venv", str(folder)],
        log=logs / "uv-venv.log",
        hint="Debian package: python3-venv",
    )
    pip = [str(folder / "bin/python"), "-m", "pip", "install", "-q", "--require-hashes", "-r", str(lock)]
    run("uv from PyPI", pip, log=logs / "uv.log", hint="Is a package index reachable? Try: pip download uv")
    stamp_file.write_text(stamp)
    return uv


def find_python(uv: Path, logs: Path) -> Path:
    """A Python 3.11: the system's own where there is one, else one that uv finds, else one that uv brings."""
    system = Path(f"/usr/bin/python{PYTHON}")
    if system.exists():
        return system
    for attempt in range(2):
        found = subprocess.run([str(uv), "python", "find", PYTHON], capture_output=True, text=True, check=False)
        if found.returncode == 0:
            return Path(found.stdout.strip())
        if attempt == 0:
            run(
                f"Python {PYTHON} by uv",
                [str(uv), "python", "install", PYTHON],
                log=logs / "uv-python.log",
                hint=f"Or install Python {PYTHON} yourself (deadsnakes on Ubuntu) and run this again.",
            )
    raise SetupError(f"No Python {PYTHON} after `uv python install {PYTHON}`: {found.stderr.strip()}")


def make(
    root: Path,
    environment: Environment,
    *,
    uv: Path,
    python: Path,
    logs: Path,
    finish: Callable[[Path], None] | None = None,
    extra: str = "",
) -> bool:
    """Makes `environment` unless it is current; `finish` gets its python afterwards. Returns whether it did work."""
    stamp = stamp_of(root, environment, str(python) + extra)
    if is_current(root, environment, stamp):
        return False
    folder = root / environment.folder
    slug = environment.name.replace(" ", "-")
    run(
        f"{environment.name}: new environment",
        [str(uv), "venv", "-q", "--clear", "--python", str(python), str(folder)],
        log=logs / f"{slug}-venv.log",
    )
    inside = folder / "bin/python"
    run(
        f"{environment.name}: {environment.lock}",
        [
            str(uv),
            "pip",
            "install",
            "-q",
            "--python",
            str(inside),
            "--require-hashes",
            "-r",
            str(root / environment.lock),
        ],
        log=logs / f"{slug}.log",
        env={"UV_COMPILE_BYTECODE": "1" if environment.compiled else "0"},
        hint="Is a package index reachable? The lock pins every version by hash; a mirror must hold these files.",
    )
    if finish:
        finish(inside)
    mark(root, environment, stamp)
    return True


def install_toolkit(root: Path, uv: Path, logs: Path) -> Callable[[Path], None]:
    """The finishing step of `.venv`: the repository itself, editable, so that `dure` runs what lies here."""

    def finish(inside: Path) -> None:
        run(
            "toolkit: dure itself",
            [
                str(uv),
                "pip",
                "install",
                "-q",
                "--python",
                str(inside),
                "--no-deps",
                "--no-build-isolation",
                "-e",
                str(root),
            ],
            log=logs / "toolkit-dure.log",
        )
        # aws-cdk-lib is 300 MB of Python of which a run loads a part: that part is compiled as it is imported
        later = r"aws_cdk/|/sympy/|/mypy|/networkx/"
        packages = str(next((root / ".venv/lib").glob("python3*")) / "site-packages")
        run(
            "toolkit: byte code",
            [str(inside), "-m", "compileall", "-q", "-j0", "-x", later, packages],
            log=logs / "toolkit-bytecode.log",
        )

    return finish


def make_operators(root: Path, logs: Path) -> bool:
    """The trainer's C++ operators, optional: where they can't be built, MXNet's own compute the same, slower."""
    environment = ENVIRONMENTS[-1].folder
    sources = sorted((root / "training/native").glob("*"))
    made = (root / environment / ".dure-stamp").read_bytes()
    stamp = digest(made, *(f.read_bytes() for f in sources if f.suffix in (".py", ".cc")))
    stamp_file = root / environment / ".dure-operators"
    if stamp_file.exists() and stamp_file.read_text() == stamp:
        return False
    try:
        run(
            "trainer: C++ operators",
            [str(root / environment / "bin/python"), "-m", "training.native.build"],
            log=logs / "operators.log",
            cwd=root,
        )
    except SetupError as error:
        say(f"    {error}\n    going on without: training runs on MXNet's own operators")
    stamp_file.write_text(stamp)
    return True


def make_cdk(root: Path, logs: Path) -> bool:
    """The CDK CLI into `node_modules`, by the npm that the toolkit's environment brings."""
    lock = root / "package-lock.json"
    stamp_file, stamp = root / "node_modules/.dure-stamp", digest(lock.read_bytes())
    if stamp_file.exists() and stamp_file.read_text() == stamp and (root / "node_modules/.bin/cdk").exists():
        return False
    bin_folder = root / ".venv/bin"
    path = f"{bin_folder}:/usr/local/bin:/usr/bin:/bin"
    run(
        "CDK CLI",
        [str(bin_folder / "npm"), "ci", "--no-audit", "--no-fund"],
        log=logs / "cdk.log",
        cwd=root,
        env={"PATH": path},
        hint="Is the npm registry reachable? Try: .venv/bin/npm view aws-cdk version",
    )
    stamp_file.write_text(stamp)
    say("    CDK CLI and node: no system node is used")
    return True
