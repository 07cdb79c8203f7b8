"""The command line of training.pretrain, and how its values become :class:`training.settings.RunSettings`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from training.corpus import manifest
from training.model.config import PRESETS, preset
from training.settings import RunSettings


def parser() -> argparse.ArgumentParser:
    """All options with their defaults."""
    p = argparse.ArgumentParser(
        prog="python -m training.pretrain", description="Pretrain a GPT-2 on an encoded corpus."
    )
    folders = p.add_argument_group("folders")
    folders.add_argument("--data", type=Path, required=True, help="corpus made by training.encode")
    folders.add_argument("--tokenizer", type=Path, required=True, help="folder made by training.tokenizer")
    folders.add_argument("--output", type=Path, required=True, help="model folder to write at the end")
    folders.add_argument("--checkpoints", type=Path, help="default: --output with .checkpoints behind")
    folders.add_argument(
        "--metrics",
        type=Path,
        help="JSON lines of every rank go here (default: $DURE_METRICS_DIR, else none)",
    )
    folders.add_argument("--init-from", type=Path, help="model folder whose weights to begin with")
    model = p.add_argument_group("model")
    model.add_argument("--preset", choices=tuple(PRESETS), default="nano")
    for name in ("layers", "units", "heads", "sequence"):
        model.add_argument(f"--{name}", type=int, help="instead of the preset's")
    model.add_argument("--dropout", type=float, help="instead of the preset's")
    batch = p.add_argument_group("batch and length")
    batch.add_argument("--global-batch", type=int, default=16, help="records of a step, all ranks together")
    batch.add_argument("--micro-batch", type=int, help="records a rank computes at once (default: its whole part)")
    batch.add_argument("--steps", type=int, default=200)
    optimizer = p.add_argument_group("optimizer")
    optimizer.add_argument("--optimizer", choices=("adamw", "lamb"), default="adamw")
    optimizer.add_argument("--learning-rate", type=float, default=3e-3)
    optimizer.add_argument("--warmup", type=int, default=20, help="steps of linear warm-up")
    optimizer.add_argument("--schedule", choices=("cosine", "linear"), default="cosine")
    optimizer.add_argument("--floor", type=float, default=0.1, help="last learning rate as a share of the peak")
    optimizer.add_argument("--weight-decay", type=float, default=0.1)
    optimizer.add_argument("--beta1", type=float, default=0.9)
    optimizer.add_argument("--beta2", type=float, default=0.95)
    optimizer.add_argument("--epsilon", type=float, default=1e-8)
    optimizer.add_argument("--clip", type=float, default=1.0, help="largest norm of the averaged gradient")
    optimizer.add_argument(
        "--spike",
        type=float,
        default=0.0,
        help="replay a step whose gradient norm is so many times the usual; 0: never",
    )
    optimizer.add_argument("--seed", type=int, default=1)
    rhythm = p.add_argument_group("rhythm, in steps")
    rhythm.add_argument("--evaluate-every", type=int, default=0, help="0: only at the end")
    rhythm.add_argument("--evaluate-tokens", type=int, help="at most so many held-out tokens (default: all)")
    rhythm.add_argument(
        "--checkpoint-every", type=int, default=100, help="most steps that a crash may cost; 0: only at the end"
    )
    rhythm.add_argument("--keep", type=int, default=2, help="checkpoints to keep")
    rhythm.add_argument("--log-every", type=int, default=10)
    speed = p.add_argument_group("speed")
    speed.add_argument(
        "--reduce-groups",
        type=int,
        default=4,
        help="gradients are reduced in so many fixed groups; 0: as they come",
    )
    speed.add_argument("--peak-tflops", type=float, help="of one rank's device, to report model FLOPs utilisation")
    return p


def parse(argv: Sequence[str], *, environment: Mapping[str, str], cwd: Path) -> RunSettings:
    """Settings from arguments; the vocabulary is the corpus'. SettingsError or ManifestError if they cannot be."""
    args = parser().parse_args(argv)
    model = preset(
        args.preset,
        layers=args.layers,
        units=args.units,
        heads=args.heads,
        sequence=args.sequence,
        dropout=args.dropout,
        vocabulary=manifest.read(args.data).header.vocabulary,
    )
    metrics = args.metrics or (Path(environment["DURE_METRICS_DIR"]) if environment.get("DURE_METRICS_DIR") else None)
    ranks = int(environment.get("HOROVOD_SIZE", "1"))
    return RunSettings(
        data=args.data,
        tokenizer=args.tokenizer,
        output=cwd / args.output,
        checkpoints=args.checkpoints or (cwd / args.output).with_name(args.output.name + ".checkpoints"),
        metrics=metrics,
        init_from=args.init_from,
        model=model,
        global_batch=args.global_batch,
        micro_batch=args.micro_batch or max(1, args.global_batch // ranks),
        steps=args.steps,
        optimizer=args.optimizer,
        learning_rate=args.learning_rate,
        warmup=args.warmup,
        schedule=args.schedule,
        floor=args.floor,
        weight_decay=args.weight_decay,
        beta1=args.beta1,
        beta2=args.beta2,
        epsilon=args.epsilon,
        clip=args.clip,
        spike=args.spike,
        seed=args.seed,
        evaluate_every=args.evaluate_every,
        evaluate_tokens=args.evaluate_tokens,
        checkpoint_every=args.checkpoint_every,
        keep=args.keep,
        log_every=args.log_every,
        reduce_groups=args.reduce_groups,
        peak_tflops=args.peak_tflops,
    )
