"""Optional CPU operators in C++, built for one MXNet by ``python -m training.native.build``.

:func:`load` makes them known to MXNet if they were built from this very source; without them, on GPUs and with
dropout in the attention, the built-in operators compute the same. ``DURE_NATIVE=0`` leaves them out.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path

SOURCE = Path(__file__).with_name("operators.cc")


def library_path() -> Path:
    """Where the library of this source and this Python environment lies, whether it was built or not."""
    recipe = SOURCE.read_bytes() + SOURCE.with_name("build.py").read_bytes()
    digest = hashlib.sha256(recipe).hexdigest()[:16]
    return Path(sys.prefix) / "lib" / "dure" / f"operators-{digest}.so"


_loaded = False


def load(environment: Mapping[str, str]) -> bool:
    """Whether the operators can be used; loads them into MXNet on the first call."""
    global _loaded
    if environment.get("DURE_NATIVE") == "0":
        return False
    path = library_path()
    if not _loaded and path.exists():
        import mxnet as mx

        mx.library.load(str(path), verbose=False)
        _loaded = True
    return _loaded
