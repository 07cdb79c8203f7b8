"""python -m benchmarks.training_checkpoint [--preset small]: how long training stands still for a checkpoint.

The state of a model (weights and both moments) is copied as the trainer does it before the writing thread takes over;
beside it stands a plain copy (memcpy) of as many bytes, and the whole way to a synced, renamed, read back checkpoint
in the background.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.support import median, result
from benchmarks.training_bits import corpus
from benchmarks.training_support import TRAINER, measure

PROGRAM = """
import os, sys, time
from pathlib import Path
import mxnet as mx, numpy as np
from training import checkpoint
from training.collective import Ranks
from training.loop import Pretraining
from training.options import parse
folder, preset = Path(sys.argv[1]), sys.argv[2]
arguments = f"--data {folder}/tokens --tokenizer {folder}/tok --output {folder}/model --preset {preset}"
arguments += " --sequence 32 --global-batch 2 --steps 30"
settings = parse(arguments.split(), environment={}, cwd=folder)
run = Pretraining(settings, Ranks(os.environ), context=mx.cpu(), say=print)
run.resume()
run.step()
snapshot = run.snapshot()
arrays = [*snapshot.weights.values(), *snapshot.optimizer.values()]
size = sum(array.nbytes for array in arrays)
plain = np.ones(size // 4, np.float32)
for _ in range(7):
    begun = time.monotonic()
    run.snapshot()
    print("STALL", time.monotonic() - begun)
    begun = time.monotonic()
    plain.copy()
    print("MEMCPY", time.monotonic() - begun)
begun = time.monotonic()
path = checkpoint.write(folder / "checkpoints", snapshot)
checkpoint.verify(path)
print("WRITE", time.monotonic() - begun)
print("SIZE", size / 1e6)
"""


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--preset", default="small")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        corpus(Path(folder))
        output = measure([TRAINER, "-c", PROGRAM, folder, args.preset]).output

    def found(name: str) -> float:
        return median([float(line.split()[1]) for line in output.splitlines() if line.startswith(f"{name} ")])

    stall, copy = found("STALL"), found("MEMCPY")
    return result(
        "training_checkpoint",
        stall / copy,
        unit="x a memcpy of the state",
        goal="<= 3",
        holds=stall <= 3 * copy,
        peers={"memcpy_seconds": copy},
        runs=7,
        stall_seconds=round(stall, 4),
        background_seconds=round(found("WRITE"), 3),
        state_mb=round(found("SIZE")),
    )


if __name__ == "__main__":
    sys.exit(main())
