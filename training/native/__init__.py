"""Optional C++ for CPUs, built by ``python -m training.native.build``: MXNet's operators and the encoder's words.

:func:`load` makes the operators known to MXNet if they were built from this very source; without them, on GPUs and
with dropout in the attention, the built-in operators compute the same. :func:`words_library` is for training.encode,
which finds the same ids without it. ``DURE_NATIVE=0`` leaves both out.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path

OPERATORS = Path(__file__).with_name("operators.cc")
WORDS = Path(__file__).with_name("words.cc")


def library_path(source: Path) -> Path:
    """Where the library of this source and this Python environment lies, whether it was built or not."""
    recipe = source.read_bytes() + source.with_name("build.py").read_bytes()
    digest = hashlib.sha256(recipe).hexdigest()[:16]
    return Path(sys.prefix) / "lib" / "dure" / f"{source.stem}-{digest}.so"


_loaded = False


def load(environment: Mapping[str, str]) -> bool:
    """Whether the operators can be used; loads them into MXNet on the first call."""
    global _loaded
    if environment.get("DURE_NATIVE") == "0":
        return False
    path = library_path(OPERATORS)
    if not _loaded and path.exists():
        import mxnet as mx

        mx.library.load(str(path), verbose=False)
        _loaded = True
    return _loaded


def words_library(environment: Mapping[str, str]) -> Path | None:
    """The library for `training.corpus.words`, None if it is not there or not wanted."""
    path = library_path(WORDS)
    return path if environment.get("DURE_NATIVE") != "0" and path.exists() else None
