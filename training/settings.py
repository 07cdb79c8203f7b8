"""Everything that one pretraining run is told, checked once."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training.errors import SettingsError
from training.model.config import ModelConfig

UPDATES = ("auto", "fused", "single")
ON_SPIKE = ("skip", "rollback")


@dataclass(frozen=True)
class RunSettings:
    """A run. Paths are folders; counts are in steps, records or tokens as named. ``micro_batch`` is records a rank
    computes at once, ``wait_for_text`` seconds.
    """

    data: Path
    tokenizer: Path
    output: Path
    checkpoints: Path
    metrics: Path | None
    heartbeat: Path | None
    init_from: Path | None
    model: ModelConfig
    global_batch: int
    micro_batch: int
    steps: int
    order: str
    wait_for_text: float
    precision: str
    optimizer: str
    update: str
    learning_rate: float
    warmup: int
    schedule: str
    floor: float
    weight_decay: float
    beta1: float
    beta2: float
    epsilon: float
    clip: float
    spike: float
    on_spike: str
    seed: int
    evaluate_every: int
    evaluate_tokens: int | None
    checkpoint_every: int
    keep: int
    log_every: int
    reduce_groups: int
    peak_tflops: float | None

    def __post_init__(self) -> None:
        problems = [
            f"--{name.replace('_', '-')} is {getattr(self, name)}, must be positive"
            for name in (
                "global_batch",
                "micro_batch",
                "steps",
                "learning_rate",
                "epsilon",
                "clip",
                "keep",
                "log_every",
            )
            if getattr(self, name) <= 0
        ]
        if self.warmup >= self.steps:
            problems.append(f"--warmup is {self.warmup}, must be below --steps {self.steps}")
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1):
            problems.append(f"--beta1 and --beta2 are {self.beta1} and {self.beta2}, must be at least 0 and below 1")
        if problems:
            raise SettingsError("; ".join(problems))

    def accumulation(self, ranks: int) -> int:
        """Micro-batches a rank computes for one step; SettingsError that names every factor if it does not come out
        even.
        """
        if self.global_batch % (self.micro_batch * ranks):
            raise SettingsError(
                f"--global-batch {self.global_batch} is not a multiple of --micro-batch {self.micro_batch} "
                f"x {ranks} ranks"
            )
        return self.global_batch // (self.micro_batch * ranks)

    def checkpoint_rhythm(self) -> tuple[int, int]:
        """(steps between the beginnings of two checkpoints, steps after which one must be durable).

        Together they are ``checkpoint_every``: so many steps, and no more, can a crash cost. (0, 0) for none on the
        way.
        """
        durable = max(1, self.checkpoint_every // 10) if self.checkpoint_every else 0
        return max(1, self.checkpoint_every - durable) if self.checkpoint_every else 0, durable

    def fingerprint(self) -> dict[str, Any]:
        """What a resumed run must share with the one that wrote the checkpoint. The number of ranks is not in it, nor
        the micro-batch.
        """
        names = (
            "global_batch",
            "steps",
            "order",
            "precision",
            "optimizer",
            "learning_rate",
            "warmup",
            "schedule",
            "floor",
            "weight_decay",
            "beta1",
            "beta2",
            "epsilon",
            "clip",
            "spike",
            "on_spike",
            "seed",
        )
        return {"model": asdict(self.model), **{name: getattr(self, name) for name in names}}


def differences(mine: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Readable differences between two fingerprints."""
    return [f"{key}: {theirs.get(key)!r} there, {mine[key]!r} here" for key in mine if theirs.get(key) != mine[key]]
