"""Horovod for MXNet, compiled once: its wheel is kept in the user's cache, keyed by Python, MXNet, Horovod and MPI.

No published wheel of Horovod holds MXNet support, so it is built from its source release (requirements/horovod.txt,
by hash) against the trainer's own MXNet, with Gloo and Open MPI. About 2.5 CPU-minutes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tools.setup.console import SetupError, run
from tools.setup.environments import digest

BUILD = {
    "HOROVOD_WITH_MXNET": "1",
    "HOROVOD_WITHOUT_TENSORFLOW": "1",
    "HOROVOD_WITHOUT_PYTORCH": "1",
    "HOROVOD_WITH_GLOO": "1",
    "HOROVOD_WITH_MPI": "1",
}


def cache_folder() -> Path:
    """Where compiled wheels outlive a checkout: $XDG_CACHE_HOME/dure/wheels."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path(os.environ.get("HOME") or "/var/tmp") / ".cache")
    return Path(base) / "dure" / "wheels"


def cache_key(root: Path, python: Path) -> str:
    """Changes when Python's minor, MXNet, Horovod or the MPI library changes; such a wheel is never mixed up."""
    version = subprocess.run([str(python), "-V"], capture_output=True, text=True, check=True).stdout.split()[1]
    minor = ".".join(version.split(".")[:2])
    trainer = (root / "requirements/trainer.txt").read_text()
    mxnet = re.search(r"^mxnet==(\S+)", trainer, re.MULTILINE)
    horovod = (root / "requirements/horovod.txt").read_bytes()
    mpi = subprocess.run(["mpirun", "--version"], capture_output=True, text=True, check=False).stdout.splitlines()[:1]
    return digest(minor.encode(), (mxnet.group(1) if mxnet else "?").encode(), horovod, "".join(mpi).encode())


def ensure_wheel(root: Path, *, inside: Path, key: str, logs: Path) -> Path:
    """The wheel of `key`, built by the trainer's python `inside` if the cache lacks it.

    Errors: SetupError when the compiler fails. The wheel appears whole or not at all.
    """
    folder = cache_folder() / key
    if found := sorted(folder.glob("horovod-*.whl")):
        return found[0]
    folder.parent.mkdir(parents=True, exist_ok=True)
    jobs = os.cpu_count() or 1
    environment = {**BUILD, "MAKEFLAGS": f"-j{jobs}", "PATH": f"{inside.parent}:{os.environ['PATH']}"}
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="building-") as scratch:
        pip = [str(root / ".envs/uv/bin/python"), "-m", "pip", "--python", str(inside)]
        run(
            "Horovod: compiling (2-3 minutes, once)",
            [
                *pip,
                "wheel",
                "-q",
                "--no-deps",
                "--no-build-isolation",
                "--no-binary",
                "horovod",
                "--require-hashes",
                "-r",
                str(root / "requirements/horovod.txt"),
                "-w",
                scratch,
            ],
            log=logs / "horovod.log",
            env=environment,
            hint="It needs g++, cmake below 4 and libopenmpi-dev.",
        )
        wheels = list(Path(scratch).glob("horovod-*.whl"))
        if not wheels:
            raise SetupError(f"Horovod's build ended well but left no wheel; see {logs / 'horovod.log'}")
        ready = Path(scratch) / "ready"
        ready.mkdir()
        shutil.move(str(wheels[0]), ready / wheels[0].name)
        shutil.rmtree(folder, ignore_errors=True)
        ready.rename(folder)
    return next(folder.glob("horovod-*.whl"))
