"""Build the optional C++ libraries for this Python environment: MXNet's operators, the encoder's store of words.

    python -m training.native.build

Needs g++ 9 or newer; takes about twelve seconds, and none when it is done already. Side effect: two files in the
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
from training.native import OPERATORS, WORDS, library_path


def compiler_command(source: Path, target: Path, *, avx2: bool) -> list[str]:
    """The call of g++ for one source that needs nothing but itself."""
    # Portable among machines with AVX2 (an image is built once for all of a cluster's types), not tuned to this one
    architecture = ["-march=x86-64-v3"] if avx2 else []
    return ["g++", "-O3", "-std=c++17", "-shared", "-fPIC", *architecture, str(source), "-o", str(target)]


def operators_command(mxnet: Path, target: Path, *, avx2: bool) -> list[str]:
    """The call of g++ for the operators: against MXNet's own headers and the OpenBLAS that it has loaded."""
    return [
        *compiler_command(OPERATORS, target, avx2=avx2),
        "-fopenmp",
        "-fno-math-errno",
        "-fno-trapping-math",
        f"-I{mxnet / 'include'}",
        *[str(path) for path in sorted(mxnet.glob("**/lib_api.cc"))],
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


def build(source: Path) -> None:
    """Compile one source unless its library is there; TrainingError with the compiler's words."""
    target = library_path(source)
    if target.exists():
        say(f"{target} is there already")
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(target)
    avx2 = "avx2" in Path("/proc/cpuinfo").read_text(errors="replace").split()
    if source == OPERATORS:
        command = operators_command(mxnet_folder(), temporary, avx2=avx2)
    else:
        command = compiler_command(source, temporary, avx2=avx2)
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise TrainingError(
            f"cannot run g++: {error.strerror}; install it, or do without: all works, slower on CPUs"
        ) from error
    if done.returncode:
        temporary.unlink(missing_ok=True)
        raise TrainingError(f"g++ failed; all works without, slower on CPUs:\n{done.stderr[-3000:]}")
    temporary.replace(target)
    say(f"built {target}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    del argv
    for source in (WORDS, OPERATORS):
        build(source)
    return 0


if __name__ == "__main__":
    run(main)
