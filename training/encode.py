"""Encode text into shards of token ids.

    python -m training.encode --input TEXT... --tokenizer DIR --output DIR [--held-out 0.01]

Reads .txt and .jsonl files, plain, .gz or .zst, on all cores; writes immutable shards in Megatron's .bin/.idx format
and an append-only manifest. Run it again after new files have come: only they are encoded, as a new generation. Run
it again after a kill: it goes on.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from training import native
from training.command import run, say
from training.corpus import sources
from training.corpus.encoder import Encoder, EncodeSettings, Totals
from training.corpus.manifest import Header
from training.corpus.shards import token_type
from training.errors import SettingsError
from training.tokenizer import describe

_REPORT_SECONDS = 2.0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog="python -m training.encode", description="Encode text into shards of token ids.")
    sources.add_options(p)
    p.add_argument("--tokenizer", type=Path, required=True, help="folder made by training.tokenizer")
    p.add_argument("--output", type=Path, required=True, help="folder of the corpus; an existing one is extended")
    p.add_argument(
        "--documents",
        choices=("line", "blank"),
        default="line",
        help="what ends a document: a line, or a blank line",
    )
    p.add_argument("--held-out", type=float, default=0.0, help="share of documents kept for evaluation, such as 0.01")
    p.add_argument(
        "--deduplicate", action="store_true", help="leave out exact duplicates (8 bytes of memory a document)"
    )
    p.add_argument("--shard-tokens", type=int, default=1 << 25, help="tokens in a shard, about")
    p.add_argument("--licence", default="", help="noted in the manifest with every shard of this run")
    p.add_argument("--workers", type=int, default=0, help="processes (default: one a core of this task)")
    p.add_argument(
        "--watch",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="go on looking for new files this often, until stopped",
    )
    return p


def progress_reporter(*, clock: Callable[[], float]) -> Callable[[Totals, float], None]:
    """A callback that prints a line every two seconds, with the time that is left."""
    begun, last = clock(), clock()

    def report(totals: Totals, share: float) -> None:
        nonlocal last
        now = clock()
        if now - last < _REPORT_SECONDS:
            return
        last = now
        speed = totals.read_bytes / 1e6 / (now - begun)
        left = f", {(now - begun) * (1 - share) / share:.0f} s left" if share else ""
        say(f"encoded {totals.read_bytes / 1e6:.1f} MB ({share:.0%}) {totals.tokens:,} tokens, {speed:.1f} MB/s{left}")

    return report


def summary(totals: Totals, *, seconds: float) -> str:
    """The last line of a run."""
    if not totals.files and not totals.shards:
        return "nothing new to encode"
    bad = ", ".join(f"{count} documents {reason}" for reason, count in sorted(totals.rejected.items()))
    return (
        f"encoded {totals.files} files, {totals.documents:,} documents ({totals.held_out_documents:,} held "
        f"out), {totals.tokens:,} tokens, "
        f"{totals.text_bytes / max(1, totals.tokens):.2f} bytes a token, into {totals.shards} shards in "
        f"{seconds:.1f} s "
        f"({totals.read_bytes / 1e6 / max(seconds, 1e-9):.1f} MB/s); {totals.empty} empty"
        + (f", {totals.duplicates} duplicates left out" if totals.duplicates else "")
        + (f"; quarantined: {bad}" if bad else "")
    )


def settings_from(args: argparse.Namespace) -> EncodeSettings:
    """Check the arguments."""
    problems = []
    if not 0 <= args.held_out < 1:
        problems.append(f"--held-out is {args.held_out}, must be at least 0 and below 1")
    if args.shard_tokens < 1024:
        problems.append(f"--shard-tokens is {args.shard_tokens}, must be at least 1024")
    if args.workers < 0:
        problems.append(f"--workers is {args.workers}, must be positive")
    if problems:
        raise SettingsError("; ".join(problems))
    return EncodeSettings(
        inputs=tuple(args.input),
        output=args.output,
        tokenizer=args.tokenizer / "tokenizer.model",
        workers=args.workers or len(os.sched_getaffinity(0)),
        documents=args.documents,
        json_field=args.json_field,
        held_out=args.held_out,
        deduplicate=args.deduplicate,
        shard_tokens=args.shard_tokens,
        licence=args.licence,
        words=native.words_library(os.environ),
    )


def encode_once(settings: EncodeSettings, *, clock: Callable[[], float]) -> Totals:
    """Encode what is new and print what was done."""
    tokenizer = describe(settings.tokenizer.parent)
    header = Header(
        tokenizer_sha256=tokenizer.sha256,
        vocabulary=tokenizer.vocabulary,
        token_bytes=token_type(tokenizer.vocabulary).itemsize,
        end_id=tokenizer.end_id,
        documents=settings.documents,
        json_field=settings.json_field,
        held_out=settings.held_out,
        deduplicated=settings.deduplicate,
    )
    begun = clock()
    totals = Encoder(settings, header=header, report=progress_reporter(clock=clock)).run()
    say(summary(totals, seconds=clock() - begun))
    return totals


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    args = parser().parse_args(argv)
    settings = settings_from(args)
    encode_once(settings, clock=time.monotonic)
    while args.watch:
        time.sleep(args.watch)
        encode_once(settings, clock=time.monotonic)
    return 0


if __name__ == "__main__":
    run(main)
