"""The command line of training.pretrain, and how its values become :class:`training.settings.RunSettings`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from training.corpus import manifest
from training.corpus.manifest import Header
from training.dataset.stream import ORDERS
from training.errors import ManifestError
from training.model.config import PRESETS, preset
from training.precision import PRECISIONS
from training.settings import ON_SPIKE, UPDATES, RunSettings

_LOOK_SECONDS = 0.5


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
    folders.add_argument("--heartbeat", type=Path, help="every rank keeps a small file here with its step and the time")
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
    batch.add_argument(
        "--order",
        choices=ORDERS,
        default="global",
        help="of records in the first epoch; streamed: shard after shard, so that a run may begin while the corpus is "
        "encoded for the first time",
    )
    batch.add_argument(
        "--wait-for-text",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="with --order streamed: end with an error when no new shard has come for so long",
    )
    optimizer = p.add_argument_group("optimizer")
    optimizer.add_argument("--optimizer", choices=("adamw", "lamb"), default="adamw")
    optimizer.add_argument(
        "--precision", choices=PRECISIONS, default="fp32", help="fp16: with fp32 master weights, on GPUs"
    )
    optimizer.add_argument(
        "--update",
        choices=UPDATES,
        default="auto",
        help="fused: one operator for many tensors; single: one by one; auto: the faster one, fused on GPUs",
    )
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
    optimizer.add_argument(
        "--on-spike",
        choices=ON_SPIKE,
        default="skip",
        help="what to do when the replay shows the same: skip the batch, or rollback to the newest checkpoint and "
        "leave it out",
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


def wait_for_corpus(folder: Path, *, seconds: float, sleep: Callable[[float], None]) -> Header:
    """The corpus' header, as soon as its first shard is sealed; ManifestError when that takes too long."""
    for _ in range(int(seconds / _LOOK_SECONDS)):
        try:
            return manifest.read(folder).header
        except ManifestError:
            sleep(_LOOK_SECONDS)
    return manifest.read(folder).header


def parse(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    cwd: Path,
    sleep: Callable[[float], None] = time.sleep,
) -> RunSettings:
    """Settings from arguments; the vocabulary is the corpus'. SettingsError or ManifestError if they cannot be."""
    args = parser().parse_args(argv)
    seconds = args.wait_for_text if args.order == "streamed" else 0.0
    model = preset(
        args.preset,
        layers=args.layers,
        units=args.units,
        heads=args.heads,
        sequence=args.sequence,
        dropout=args.dropout,
        vocabulary=wait_for_corpus(args.data, seconds=seconds, sleep=sleep).vocabulary,
    )
    metrics = args.metrics or (Path(environment["DURE_METRICS_DIR"]) if environment.get("DURE_METRICS_DIR") else None)
    ranks = int(environment.get("HOROVOD_SIZE") or environment.get("OMPI_COMM_WORLD_SIZE") or "1")
    values = {field.name: getattr(args, field.name) for field in fields(RunSettings) if hasattr(args, field.name)}
    values |= {
        "output": cwd / args.output,
        "checkpoints": args.checkpoints or (cwd / args.output).with_name(args.output.name + ".checkpoints"),
        "metrics": metrics,
        "model": model,
        "micro_batch": args.micro_batch or max(1, args.global_batch // ranks),
    }
    return RunSettings(**values)
