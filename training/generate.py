"""Continue a text with a model folder.

python -m training.generate --model DIR --prompt "파일을 저장하려면" [--length 40] [--temperature 0.8] [--json]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from training.command import run, say
from training.language import LanguageModel, Sampling


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog="python -m training.generate", description="Continue a text.")
    p.add_argument("--model", type=Path, required=True, help="model folder")
    p.add_argument("--prompt", default="", help="the beginning (default: none)")
    p.add_argument("--length", type=int, default=48, help="most tokens to add")
    p.add_argument("--temperature", type=float, default=0.8, help="0 takes the likeliest token each time")
    p.add_argument("--top-k", type=int, default=40, help="0: all")
    p.add_argument("--top-p", type=float, default=0.95)
    p.add_argument("--count", type=int, default=1, help="how many continuations")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--json", action="store_true", help="one JSON object a line")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    args = parser().parse_args(argv)
    sampling = Sampling(temperature=args.temperature, top_k=args.top_k, top_p=args.top_p)
    model = LanguageModel(args.model)
    generator = np.random.default_rng(args.seed)
    for _ in range(args.count):
        text = model.generate(args.prompt, length=args.length, sampling=sampling, generator=generator)
        say(json.dumps({"prompt": args.prompt, "text": text}, ensure_ascii=False) if args.json else text)
    return 0


if __name__ == "__main__":
    run(main)
