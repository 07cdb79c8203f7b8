"""Make a model folder out of a checkpoint, or a starting point for training out of a transformers GPT-2.

    python -m training.export --checkpoints DIR --tokenizer DIR --output MODEL [--step N]
    python -m training.export --from-transformers DIR --tokenizer DIR --output MODEL

The folder loads in transformers (GPT2LMHeadModel.from_pretrained) and in training.generate, .score and .pretrain
--init-from.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from training import checkpoint, safetensors
from training.command import run, say
from training.errors import CheckpointError, ModelError, SettingsError
from training.model import folder as model_folder
from training.model.config import ModelConfig, from_hugging_face
from training.tokenizer import describe


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog="python -m training.export", description="Write a model folder.")
    origin = p.add_mutually_exclusive_group(required=True)
    origin.add_argument("--checkpoints", type=Path, help="folder of a run's checkpoints")
    origin.add_argument(
        "--from-transformers", type=Path, help="folder with config.json and model.safetensors of a GPT-2"
    )
    p.add_argument("--step", type=int, help="checkpoint of this step (default: the newest that is right)")
    p.add_argument("--tokenizer", type=Path, required=True, help="folder made by training.tokenizer")
    p.add_argument("--output", type=Path, required=True, help="model folder to write")
    return p


def from_checkpoint(folder: Path, step: int | None) -> tuple[safetensors.Arrays, ModelConfig, dict[str, object]]:
    """Weights, configuration and origin of a checkpoint."""
    chosen = step if step is not None else checkpoint.newest_valid(folder, say=say)
    if chosen is None:
        raise CheckpointError(f"{folder} holds no checkpoint that can be read")
    snapshot = checkpoint.load(checkpoint.path_of(folder, chosen))
    return (
        snapshot.weights,
        ModelConfig(**snapshot.state["settings"]["model"]),
        {"checkpoint": str(folder), "steps": chosen},
    )


def from_transformers(folder: Path) -> tuple[safetensors.Arrays, ModelConfig, dict[str, object]]:
    """Weights and configuration of a GPT-2 saved by transformers."""
    try:
        config = from_hugging_face(json.loads((folder / "config.json").read_text()))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} is no folder of a GPT-2: {error}") from error
    arrays, _ = safetensors.load(folder / "model.safetensors")
    return model_folder.from_hugging_face_arrays(arrays, config), config, {"imported": str(folder)}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    args = parser().parse_args(argv)
    tokenizer = describe(args.tokenizer)
    weights, config, about = (
        from_checkpoint(args.checkpoints, args.step) if args.checkpoints else from_transformers(args.from_transformers)
    )
    if tokenizer.vocabulary != config.vocabulary:
        raise SettingsError(
            f"the tokenizer has {tokenizer.vocabulary} pieces, the model {config.vocabulary}: they do not "
            "belong together"
        )
    model_folder.write(args.output, weights, config=config, tokenizer=tokenizer, about=about)
    say(f"wrote {args.output}: {config.parameters:,} parameters")
    return 0


if __name__ == "__main__":
    run(main)
