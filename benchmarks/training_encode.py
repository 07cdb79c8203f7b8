"""python -m benchmarks.training_encode [--text FILE] [--megatron DIR] [--large-mb 2000]: text to token ids, against
the peers.

Three programs encode the same documents in turn, with the same SentencePiece model (32,000 pieces, BPE, byte
fallback): `training.encode` with two processes, one SentencePiece process line by line, and Megatron-LM's
tools/preprocess_data.py with two workers. A fiftieth of the lines is given as decomposed jamo and another fiftieth in
full-width letters. Ids are compared document by document. At last each runs once more with its memory watched, and
ours over a text of --large-mb, which shows that memory does not grow.

--text: one document a line, .txt or .zst (default: generated). --megatron: a checkout of NVIDIA/Megatron-LM (default:
$DURE_MEGATRON).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.support import median, result
from benchmarks.training_support import TRAINER, Measured, alternate, environment, measure, peers

PREPARE = """
import sys, json, unicodedata
import zstandard
source, text, packed, lines = sys.argv[1:]
wide = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
opener = zstandard.open if source.endswith(".zst") else open
with opener(source, "rt", encoding="utf-8") as stream, \\
     open(text, "w") as out, open(lines, "w") as objects:
    number = 0
    for line in stream:
        line = line.strip()
        if not line or "\\0" in line:
            continue
        number += 1
        if number % 50 == 0:
            line = unicodedata.normalize("NFD", line)
        elif number % 50 == 1:
            line = line.translate(wide)
        out.write(line + "\\n")
        objects.write(json.dumps({"text": line}, ensure_ascii=False) + "\\n")
with open(text, "rb") as stream, open(packed, "wb") as out:
    zstandard.ZstdCompressor().copy_stream(stream, out)
"""

REFERENCE = """
import sys, array
import sentencepiece
processor = sentencepiece.SentencePieceProcessor(model_file=sys.argv[1])
with open(sys.argv[2]) as stream, open(sys.argv[3], "wb") as out:
    for line in stream:
        ids = processor.encode(line.rstrip("\\n"))
        ids.append(1)
        array.array("H", ids).tofile(out)
"""

# Megatron's tools ask for Python 3.12's typing.override; everything else runs on 3.11
MEGATRON = """
import sys, typing, runpy
typing.override = getattr(typing, "override", lambda function: function)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

COMPARE = """
import sys
import numpy as np
from pathlib import Path
from training.corpus import manifest, shards
folder = Path(sys.argv[1])
infos = manifest.read(folder).of_generation(1, split="train")
ours = np.concatenate([shards.open_tokens(folder, info) for info in infos])
theirs = np.fromfile(sys.argv[2], "<u2")
split = [[tuple(part) for part in np.split(ids, np.flatnonzero(ids == 1) + 1)] for ids in (ours, theirs)]
print("documents", len(split[0]) - 1, len(split[1]) - 1)
print("differ", sum(a != b for a, b in zip(*split)) + abs(len(split[0]) - len(split[1])))
"""


def generated(path: Path, megabytes: float) -> None:
    """Lines of made-up Korean words with a skewed distribution."""
    generator = random.Random(1)
    words = [
        "".join(chr(0xAC00 + generator.randrange(2000)) for _ in range(generator.randint(1, 5))) for _ in range(50_000)
    ]
    weights = [1 / (rank + 1) for rank in range(len(words))]
    with path.open("w") as stream:
        written = 0
        while written < megabytes * 1e6:
            picked = iter(generator.choices(words, weights, k=100_000))
            block = "".join(" ".join(next(picked) for _ in range(10)) + ".\n" for _ in range(10_000))
            written += len(block.encode())
            stream.write(block)


class Encoding:
    """The prepared text and the commands of the candidates."""

    def __init__(self, folder: Path, text: Path | None, megatron: Path | None) -> None:
        self.folder, self.megatron = folder, megatron
        measure([TRAINER, "-m", "training.native.build"])
        self.text, self.packed, self.lines = folder / "text.txt", folder / "text.txt.zst", folder / "text.jsonl"
        if text is None:
            text = folder / "source.txt"
            generated(text, 50)
        measure([TRAINER, "-c", PREPARE, text, self.text, self.packed, self.lines])
        measure(
            [
                TRAINER,
                "-m",
                "training.tokenizer",
                "--input",
                self.text,
                "--output",
                folder / "tok",
                "--vocabulary",
                "32000",
                "--byte-fallback",
            ]
        )
        self.model = folder / "tok" / "tokenizer.model"
        self.megabytes = self.text.stat().st_size / 1e6

    def ours(self, packed: Path | None = None, *, memory: bool = False) -> Measured:
        """training.encode with two processes, from the compressed text, into a new folder."""
        shutil.rmtree(self.folder / "tokens", ignore_errors=True)
        return measure(
            [
                TRAINER,
                "-m",
                "training.encode",
                "--input",
                packed or self.packed,
                "--tokenizer",
                self.folder / "tok",
                "--output",
                self.folder / "tokens",
                "--workers",
                "2",
            ],
            memory=memory,
        )

    def sentencepiece(self, *, memory: bool = False) -> Measured:
        """SentencePiece alone, line by line."""
        command: list[str | Path] = [TRAINER, "-c", REFERENCE, self.model, self.text, self.folder / "reference.bin"]
        return measure(command, memory=memory)

    def megatrons(self, *, memory: bool = False) -> Measured:
        """Megatron-LM's own program."""
        assert self.megatron is not None
        return measure(
            [
                peers(),
                "-c",
                MEGATRON,
                self.megatron / "tools" / "preprocess_data.py",
                "--input",
                self.lines,
                "--output-prefix",
                self.folder / "megatron",
                "--tokenizer-type",
                "SentencePieceTokenizer",
                "--tokenizer-model",
                self.model,
                "--workers",
                "2",
                "--append-eod",
                "--log-interval",
                "100000",
            ],
            env=environment(PYTHONPATH=f"{self.megatron}:{self.megatron / 'tools'}", HF_HUB_OFFLINE="1"),
            memory=memory,
        )

    def differing(self) -> int:
        """Documents whose ids are not SentencePiece's."""
        output = measure([TRAINER, "-c", COMPARE, self.folder / "tokens", self.folder / "reference.bin"]).output
        return int(output.split("differ")[1])

    def large(self, megabytes: float) -> Measured:
        """Our program on the same text repeated to `megabytes`."""
        path = self.folder / "large.txt.zst"
        with path.open("wb") as stream:  # frames one after the other are one stream
            for _ in range(max(1, round(megabytes / self.megabytes))):
                stream.write(self.packed.read_bytes())
        return self.ours(path, memory=True)


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--text", type=Path)
    parser.add_argument("--megatron", type=Path, default=os.environ.get("DURE_MEGATRON"))
    parser.add_argument("--large-mb", type=float, default=2000)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Encoding(Path(name), args.text, Path(args.megatron) if args.megatron else None)
        candidates: dict[str, Any] = {"ours": work.ours, "sentencepiece": work.sentencepiece}
        if work.megatron is not None:
            candidates["megatron"] = work.megatrons
        found = alternate(args.runs, **candidates)
        differing = work.differing()
        memory = {name: candidate(memory=True).memory_mb for name, candidate in candidates.items()}
        large = work.large(args.large_mb)
    speed = {key: work.megabytes / median([m.wall for m in runs]) for key, runs in found.items()}
    frugal = {key: work.megabytes / median([m.cpu for m in runs]) for key, runs in found.items()}
    share = speed["ours"] / (2 * speed["sentencepiece"])
    over_megatron = speed["ours"] / speed["megatron"] if "megatron" in speed else 0.0
    print(json.dumps({"MB per CPU-second": frugal, "wall MB/s": speed}), file=sys.stderr)
    holds = share >= 0.95 and over_megatron >= 3.5 and not differing and memory["ours"] < 150 and large.memory_mb < 150
    return result(
        "training_encode",
        speed["ours"],
        unit="MB/s with 2 processes",
        goal=">= 0.95 x 2 x SentencePiece, >= 3.5 x Megatron-LM, 0 documents differ, memory < 150 MB and flat",
        holds=holds,
        peers={key: value for key, value in speed.items() if key != "ours"},
        runs=args.runs,
        of_two_sentencepieces=round(share, 3),
        over_megatron=round(over_megatron, 2),
        documents_that_differ=differing,
        memory_mb={name: round(value) for name, value in memory.items()},
        memory_of_large_mb=round(large.memory_mb),
        large_mb=args.large_mb,
        cpu_mb_per_second={k: round(v, 2) for k, v in frugal.items()},
    )


if __name__ == "__main__":
    sys.exit(main())
