"""python -m benchmarks.training_loader [--tokens 100000000] [--megatron DIR]: shuffled 1,024-token windows from a
shard, per CPU-second.

Our reader takes records in the order of its permutation, as training does; beside it stand a plain copy of the same
bytes (memcpy) and Megatron-LM's IndexedDataset reading the very same files in the same order. Files are in the page
cache.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.support import median, result
from benchmarks.training_support import TRAINER, environment, measure, peers

OURS = """
import sys, time
from pathlib import Path
import numpy as np
from training.corpus.shards import ShardWriter
from training.dataset.order import Permutation
from training.dataset.records import Records
folder, tokens = Path(sys.argv[1]), int(sys.argv[2])
writer = ShardWriter(folder, split="train", kind=np.dtype("<u2"))
generator = np.random.default_rng(0)
for _ in range(tokens // 1_000_000):
    ids = generator.integers(0, 50_000, 1_000_000, dtype=np.uint16)
    writer.add(ids.tobytes(), np.full(1000, 1000, np.int32), text_bytes=1)
info = writer.close(0)
records = Records(folder, [info], length=1024, seed=1, epoch=0)
order = Permutation(records.count, seed=1, epoch=0, generation=1)
np.save(folder / "order.npy", order(np.arange(records.count, dtype=np.uint64)))
source = np.fromfile(folder / f"{info.name}.bin", "<u2")
target = np.empty_like(source)
for name in ("memcpy", "ours") * 4:
    begun = time.process_time()
    if name == "memcpy":
        np.copyto(target, source)
        done = len(source)
    else:
        for first in range(0, records.count - 63, 64):
            if first % 4096 == 0:  # as the batch stream does
                numbers = order(np.arange(first, min(first + 4096, records.count), dtype=np.uint64))
            batch = records.read(numbers[first % 4096 : first % 4096 + 64])
        done = (records.count - 63) // 64 * 64 * 1024
    print("RATE", name, done / (time.process_time() - begun))
print("FILE", folder / info.name)
"""

MEGATRON = """
import sys, time, typing
typing.override = getattr(typing, "override", lambda function: function)
import numpy as np
from pathlib import Path
from megatron.core.datasets.indexed_dataset import IndexedDataset
prefix = sys.argv[1]
data = IndexedDataset(prefix)
order = np.load(Path(prefix).parent / "order.npy")
for _ in range(2):
    begun, done = time.process_time(), 0
    for number in order[:20_000].tolist():
        first = number * 1024
        document, offset = divmod(first, 1000)  # documents of 1,000 tokens
        parts, left = [], 1025
        while left and document < len(data):
            part = data.get(document, offset=offset, length=min(left, 1000 - offset))
            parts.append(part)
            left -= len(part)
            document, offset = document + 1, 0
        window = np.concatenate(parts).astype(np.int32)
        done += 1024
    print("RATE", "megatron", done / (time.process_time() - begun))
"""


def rates(output: str, name: str) -> float:
    """Median rate that a program printed for `name`, in tokens per CPU-second."""
    return median([float(line.split()[2]) for line in output.splitlines() if line.startswith(f"RATE {name} ")])


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokens", type=int, default=100_000_000)
    parser.add_argument("--megatron", type=Path, default=os.environ.get("DURE_MEGATRON"))
    args = parser.parse_args()
    others: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        output = measure([TRAINER, "-c", OURS, folder, str(args.tokens)]).output
        others["memcpy"] = rates(output, "memcpy") / 1e6
        if args.megatron:
            prefix = next(line for line in output.splitlines() if line.startswith("FILE ")).split(" ", 1)[1]
            env = environment(PYTHONPATH=str(args.megatron), HF_HUB_OFFLINE="1")
            others["megatron"] = rates(measure([peers(), "-c", MEGATRON, prefix], env=env).output, "megatron") / 1e6
    ours = rates(output, "ours") / 1e6
    holds = ours >= 0.2 * others["memcpy"] and "megatron" in others and ours >= 10 * others["megatron"]
    return result(
        "training_loader",
        ours,
        unit="million tokens per CPU-second",
        goal=">= 0.2 x memcpy, >= 10 x Megatron's IndexedDataset",
        holds=holds,
        peers=others,
        runs=4,
    )


if __name__ == "__main__":
    sys.exit(main())
