"""python3 -m tools.setup [--tests]: sets up what is missing and says what it does; under a second when done before."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import platform
import shutil
import sys
import time
from pathlib import Path

from tools.setup import environments as envs
from tools.setup import horovod, packages
from tools.setup.console import SetupError, run, say

ROOT = Path(__file__).resolve().parents[2]
DISK_NEEDED = 3 * 2**30  # bytes: the environments take about 1.3 GB, the build and the wheels the rest


def check_machine() -> None:
    """Errors: SetupError where setup cannot succeed, before it begins."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise SetupError(
            f"This is {platform.system()} on {platform.machine()}; "
            "the local cloud and MXNet's wheels need Linux on x86_64."
        )
    free = shutil.disk_usage(ROOT).free
    if not (ROOT / ".venv").exists() and free < DISK_NEEDED:
        raise SetupError(
            f"{free / 2**30:.1f} GiB are free where this repository lies; setup needs {DISK_NEEDED / 2**30:.0f} GiB. "
            "Free some, or clone it onto a larger disk."
        )


def set_up(*, tests: bool) -> None:
    """All steps, in order; each costs nothing when done before."""
    logs = ROOT / "out/setup"
    check_machine()
    names = packages.wanted(tests=tests)
    if lacking := packages.missing(names):
        packages.install(lacking, reasons=names, logs=logs)
    uv = envs.make_uv(ROOT, logs)
    python = envs.find_python(uv, logs)
    toolkit, node, cloud, trainer = envs.ENVIRONMENTS
    envs.make(ROOT, toolkit, uv=uv, python=python, logs=logs, finish=envs.install_toolkit(ROOT, uv, logs))
    envs.make(ROOT, node, uv=uv, python=python, logs=logs)
    envs.make(ROOT, cloud, uv=uv, python=python, logs=logs)
    key = horovod.cache_key(ROOT, python)

    def add_horovod(inside: Path) -> None:
        wheel = horovod.ensure_wheel(ROOT, inside=inside, key=key, logs=logs)
        install = [str(uv), "pip", "install", "-q", "--python", str(inside), "--no-deps", str(wheel)]
        run("trainer: Horovod", install, log=logs / "horovod-install.log")

    envs.make(ROOT, trainer, uv=uv, python=python, logs=logs, finish=add_horovod, extra=key)
    envs.make_operators(ROOT, logs)
    envs.make_cdk(ROOT, logs)


def main() -> int:
    """Exit codes: 0 all is there; 1 a step failed; 130 interrupted."""
    parser = argparse.ArgumentParser(prog="python3 -m tools.setup", description=__doc__)
    parser.add_argument("--tests", action="store_true", help="also what only the tests need")
    options = parser.parse_args()
    started = time.monotonic()
    (ROOT / ".dure").mkdir(exist_ok=True)
    with (ROOT / ".dure/setup.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two makes at once: the second waits, then finds all done
            set_up(tests=options.tests)
        except SetupError as error:
            print(f"setup: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("setup: interrupted; run it again, it goes on where it stopped", file=sys.stderr)
            return 130
    seconds = time.monotonic() - started
    (ROOT / "out/setup").mkdir(parents=True, exist_ok=True)
    (ROOT / "out/setup/last.json").write_text(json.dumps({"seconds": round(seconds, 2)}) + "\n")
    say(f"setup: all there ({seconds:.1f} s)")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    sys.exit(main())
