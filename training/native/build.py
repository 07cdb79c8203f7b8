"""Build the optional CPU operators for the MXNet of this Python environment.

    python -m training.native.build

Needs g++ 9 or newer; takes about ten seconds, and none when it is done already. Side effect: one file in the
environment's lib/dure.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from training.command import run, say
from training.errors import TrainingError
from training.files import temporary_beside
from training.native import SOURCE, library_path


def compiler_command(mxnet: Path, target: Path, *, avx2: bool) -> list[str]:
    """The call of g++: against MXNet's own headers and the OpenBLAS that it has loaded."""
    # Portable among machines with AVX2 (an image is built once for all of a cluster's types), not tuned to this one
    architecture = ["-march=x86-64-v3"] if avx2 else []
    return [
        "g++",
        "-O3",
        "-std=c++17",
        "-shared",
        "-fPIC",
        "-fopenmp",
        "-fno-math-errno",
        "-fno-trapping-math",
        *architecture,
        f"-I{mxnet / 'include'}",
        str(SOURCE),
        *[str(path) for path in sorted(mxnet.glob("**/lib_api.cc"))],
        "-o",
        str(target),
        f"-L{mxnet}",
        "-l:libopenblas.so.0",
        f"-Wl,-rpath,{mxnet}",
        # Horovod's library is loaded for all to see and has symbols of the same names, from another compilation
        "-Wl,-Bsymbolic",
    ]


def mxnet_folder() -> Path:
    """Where the MXNet of this environment lies; TrainingError if it has none."""
    spec = find_spec("mxnet")
    if spec is None or spec.origin is None:
        raise TrainingError(f"{sys.prefix} has no mxnet: run this with the trainer's Python")
    return Path(spec.origin).parent


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    del argv
    target = library_path()
    if target.exists():
        say(f"{target} is there already")
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(target)
    avx2 = "avx2" in Path("/proc/cpuinfo").read_text(errors="replace").split()
    command = compiler_command(mxnet_folder(), temporary, avx2=avx2)
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise TrainingError(
            f"cannot run g++: {error.strerror}; install it, or do without: training works, slower on CPUs"
        ) from error
    if done.returncode:
        temporary.unlink(missing_ok=True)
        raise TrainingError(f"g++ failed; training works without, slower on CPUs:\n{done.stderr[-3000:]}")
    temporary.replace(target)
    say(f"built {target}")
    return 0


if __name__ == "__main__":
    run(main)
