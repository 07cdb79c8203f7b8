"""Train a SentencePiece BPE tokenizer on text files.

    python -m training.tokenizer --input TEXT... --output DIR --vocabulary 50000

Reads the same files as training.encode, keeps a sample of bounded size (every line of the corpus is equally likely,
the choice is a function of the text and the seed alone), and writes DIR/tokenizer.model and DIR/tokenizer.json (how
it was made). Ids 0 to 3 are <s>, </s>, <pad>, <unk>.
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import io
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.command import run, say
from training.corpus import sources
from training.errors import SettingsError, TokenizerError
from training.files import sha256_of, whole_folder, write_bytes, write_json

SPECIAL: dict[str, Any] = {"bos_piece": "<s>", "eos_piece": "</s>", "pad_piece": "<pad>", "unk_piece": "<unk>"}
SPECIAL_IDS: dict[str, Any] = {"bos_id": 0, "eos_id": 1, "pad_id": 2, "unk_id": 3}


@dataclass(frozen=True)
class Tokenizer:
    """What others need to know of a tokenizer folder without loading SentencePiece."""

    path: Path
    sha256: str
    vocabulary: int
    begin_id: int
    end_id: int
    pad_id: int


@dataclass(frozen=True)
class TokenizerSettings:
    """How to train. ``coverage`` is the share of characters that get a piece of their own; with byte fallback the
    rest become bytes.
    """

    vocabulary: int
    coverage: float = 0.9995
    byte_fallback: bool = False
    normalization: str = "nmt_nfkc"
    sample_bytes: int = 100 << 20
    longest_line: int = 16384
    seed: int = 1
    threads: int = 1


def describe(folder: Path) -> Tokenizer:
    """Read DIR/tokenizer.json and check that the model beside it is the one described; TokenizerError if not."""
    path = folder / "tokenizer.model"
    try:
        about = json.loads((folder / "tokenizer.json").read_text())
        found = sha256_of(path)
    except (OSError, ValueError) as error:
        raise TokenizerError(
            f"{folder} is no tokenizer folder ({error}); make one with python -m training.tokenizer"
        ) from error
    if found != about["sha256"]:
        raise TokenizerError(
            f"{path} is damaged or was replaced: sha256 {found[:16]}..., tokenizer.json says {about['sha256'][:16]}..."
        )
    return Tokenizer(
        path,
        found,
        int(about["vocabulary"]),
        SPECIAL_IDS["bos_id"],
        SPECIAL_IDS["eos_id"],
        SPECIAL_IDS["pad_id"],
    )


def lines_of(paths: Iterable[Path], *, json_field: str) -> Iterator[str]:
    """Every clean line of the sources, in order."""
    for path in paths:
        field = json_field if sources.is_jsonl(path) else None
        with sources.open_text(path) as (stream, _):
            for chunk in sources.chunks(stream, start=0, separator=b"\n"):
                for text in sources.documents(chunk, separator=b"\n", json_field=field).texts:
                    yield from text.splitlines() if field else (text,)


@dataclass
class Sample:
    """The lines kept, and what they were taken from."""

    lines: list[str]
    kept_bytes: int
    seen_bytes: int
    seen_lines: int


def sample_lines(lines: Iterable[str], *, limit: int, seed: int) -> Sample:
    """Keep the lines with the smallest keyed hashes as long as they fit `limit` bytes: one pass, bounded memory.

    The hash takes the line's number too: each occurrence of a repeated line has its own chance, so frequencies stay
    the corpus'.
    """
    key = seed.to_bytes(8, "little")
    heap: list[tuple[int, int, str]] = []
    kept = seen = count = 0
    for count, line in enumerate(lines, 1):
        size = len(line.encode())
        seen += size
        mark = hashlib.blake2b(line.encode() + count.to_bytes(8, "little"), digest_size=8, key=key).digest()
        heapq.heappush(heap, (-int.from_bytes(mark, "little"), count, line))
        kept += size
        while kept > limit:
            kept -= len(heapq.heappop(heap)[2].encode())
    return Sample([line for _, _, line in sorted(heap, key=lambda item: item[1])], kept, seen, count)


def train(lines: Sequence[str], settings: TokenizerSettings) -> bytes:
    """The serialized SentencePiece model; TokenizerError with SentencePiece's own words."""
    import sentencepiece

    if not lines:
        raise TokenizerError("there is no text to train a tokenizer on: every line was empty or not UTF-8")
    model = io.BytesIO()
    options: dict[str, Any] = {
        "vocab_size": settings.vocabulary,
        "character_coverage": settings.coverage,
        "byte_fallback": settings.byte_fallback,
        "normalization_rule_name": settings.normalization,
        "max_sentence_length": settings.longest_line,
        "num_threads": settings.threads,
    }
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type="bpe",
            minloglevel=2,
            **options,
            **SPECIAL,
            **SPECIAL_IDS,
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise TokenizerError(
            f"SentencePiece could not make {settings.vocabulary} pieces from {len(lines)} lines: {error}; "
            "use a smaller --vocabulary or more text"
        ) from error
    return model.getvalue()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog="python -m training.tokenizer", description="Train a SentencePiece BPE tokenizer.")
    sources.add_options(p)
    p.add_argument("--output", type=Path, required=True, help="folder to write; replaced whole if it exists")
    p.add_argument("--vocabulary", type=int, default=50_000, help="number of pieces")
    p.add_argument(
        "--coverage",
        type=float,
        default=0.9995,
        help="share of characters with a piece of their own; 1 for all",
    )
    p.add_argument("--byte-fallback", action="store_true", help="spell unknown characters in bytes instead of <unk>")
    p.add_argument(
        "--normalization",
        choices=("nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf", "identity"),
        default="nmt_nfkc",
    )
    p.add_argument("--sample-mb", type=float, default=100.0, help="most text to learn from, in megabytes")
    p.add_argument("--seed", type=int, default=1, help="seed of the sample")
    p.add_argument("--threads", type=int, default=0, help="default: one a core of this task")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    args = parser().parse_args(argv)
    if args.vocabulary < 16 or not 0.9 <= args.coverage <= 1 or args.sample_mb <= 0:
        raise SettingsError("--vocabulary must be at least 16, --coverage from 0.9 to 1, --sample-mb positive")
    settings = TokenizerSettings(
        vocabulary=args.vocabulary,
        coverage=args.coverage,
        byte_fallback=args.byte_fallback,
        normalization=args.normalization,
        sample_bytes=int(args.sample_mb * 1e6),
        seed=args.seed,
        threads=args.threads or len(os.sched_getaffinity(0)),
    )
    begun = time.monotonic()
    paths = sources.discover(args.input)
    sample = sample_lines(lines_of(paths, json_field=args.json_field), limit=settings.sample_bytes, seed=settings.seed)
    say(
        f"learning {settings.vocabulary:,} pieces from {sample.kept_bytes / 1e6:.1f} MB of "
        f"{sample.seen_bytes / 1e6:.1f} MB in {len(paths)} files"
    )
    model = train(sample.lines, settings)
    write_tokenizer(args.output, model, settings=settings, sample=sample, paths=paths)
    say(f"wrote {args.output / 'tokenizer.model'} ({len(model):,} bytes) in {time.monotonic() - begun:.1f} s")
    return 0


def write_tokenizer(
    folder: Path, model: bytes, *, settings: TokenizerSettings, sample: Sample, paths: Sequence[Path]
) -> None:
    """Write the folder, whole or not at all."""
    import sentencepiece

    about = {
        "sha256": hashlib.sha256(model).hexdigest(),
        "vocabulary": settings.vocabulary,
        "model_type": "bpe",
        "coverage": settings.coverage,
        "byte_fallback": settings.byte_fallback,
        "normalization": settings.normalization,
        "special": {**SPECIAL, **SPECIAL_IDS},
        "sample": {"seed": settings.seed, "bytes": sample.kept_bytes, "lines": len(sample.lines)},
        "corpus": {"bytes": sample.seen_bytes, "lines": sample.seen_lines, "files": [str(path) for path in paths]},
        "sentencepiece": sentencepiece.__version__,
    }
    with whole_folder(folder) as temporary:
        write_bytes(temporary / "tokenizer.model", model)
        write_json(temporary / "tokenizer.json", about)


if __name__ == "__main__":
    run(main)
