"""How probable sentences are to a model.

    python -m training.score --model DIR "아버지가 방에 들어가신다" "아버지 가방에 들어가신다" [--json]

Without sentences it reads lines from standard input.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from training.command import run, say
from training.language import LanguageModel


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog="python -m training.score", description="Print the log-probability of sentences.")
    p.add_argument("--model", type=Path, required=True, help="model folder")
    p.add_argument("sentences", nargs="*", help="default: the lines of standard input")
    p.add_argument("--json", action="store_true", help="one JSON object a line")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    args = parser().parse_args(argv)
    model = LanguageModel(args.model)
    for text in args.sentences or (line.rstrip("\n") for line in sys.stdin):
        score = model.score(text)
        if args.json:
            values = {
                "text": text,
                "log_probability": score.log_probability,
                "tokens": score.tokens,
                "bits_per_byte": score.bits_per_byte,
            }
            say(json.dumps(values, ensure_ascii=False))
        else:
            say(
                f"log p = {score.log_probability:9.3f}  {score.tokens:4d} tokens  "
                f"{score.bits_per_byte:6.3f} bits/byte  {text}"
            )
    return 0


if __name__ == "__main__":
    run(main)
