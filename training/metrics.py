"""Figures of a run: JSON lines, one file a rank, and the readable line on the terminal.

Line: {"time": unix seconds, "rank", "step", "epoch", "loss" (natural log, mean over the global batch),
"learning_rate", "gradient_norm", "records_per_second", "tokens_per_second" (of the whole job), "tflops" (of the whole
job), "mfu" (tflops / (ranks x --peak-tflops), where that is given), "step_seconds", "data_seconds",
"communication_seconds" (exposed: waiting for the reduction after the backward pass), "checkpoint_seconds" (the stall),
"loss_scale" (1 in fp32), "skipped", "skipped_steps" (since the run began)} or {"event": ...}.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO


class MetricsFile:
    """Appends whole lines to ``rank-RRRRR.jsonl`` in a folder; with no folder it does nothing."""

    def __init__(self, folder: Path | None, *, rank: int, clock: Callable[[], float]) -> None:
        self._clock, self._rank = clock, rank
        self._stream: TextIO | None = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            # Line-buffered: a reader sees whole lines, and a killed rank loses none
            self._stream = (folder / f"rank-{rank:05d}.jsonl").open("a", buffering=1)

    def write(self, **values: Any) -> None:
        """Append one line, with time and rank."""
        if self._stream is not None:
            self._stream.write(json.dumps({"time": round(self._clock(), 3), "rank": self._rank, **values}) + "\n")

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()


def readable(step: int, steps: int, values: dict[str, float]) -> str:
    """The line of a step for people."""
    return (
        f"step {step}/{steps} loss {values['loss']:.4f} rate {values['learning_rate']:.2e} norm "
        f"{values['gradient_norm']:.2f} "
        f"{values['records_per_second']:.1f} records/s {values['tokens_per_second']:,.0f} tokens/s "
        f"{values['step_seconds'] * 1000:.0f} ms (reduce {values['communication_seconds'] * 1000:.0f}, "
        f"data {values['data_seconds'] * 1000:.0f})"
    )
