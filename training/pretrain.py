"""Pretrain a GPT-2 on an encoded corpus.

    python -m training.launch -- python -m training.pretrain \\
        --data TOKENS --tokenizer TOKENIZER --output MODEL --preset nano --steps 200

Starts alone or as one of several Horovod ranks. Goes on from the newest right checkpoint if there is one. After
SIGTERM it writes a checkpoint and exits with 75, which asks the cluster to run the job again. At its end --output is
a model folder for training.generate.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training.checkpoint import CheckpointWriter
from training.command import run, say
from training.errors import REQUEUE_EXIT_CODE
from training.heartbeat import Heartbeat
from training.metrics import MetricsFile, readable
from training.model import folder as model_folder
from training.options import parse
from training.settings import RunSettings
from training.tokenizer import describe

_ORDERS_TO_US = ("stop", "profile", "roll_back")  # fields of a step's result that are no figures


def quiet(_: str) -> None:
    """What ranks other than 0 say."""


@dataclass
class Totals:
    """Figures over the steps that this process has run."""

    records: int = 0
    seconds: float = 0.0
    first_loss: float | None = None
    last_loss: float | None = None

    @property
    def records_per_second(self) -> float:
        """Records of the whole job a second, warm-up of the first step left out."""
        return self.records / self.seconds if self.seconds else 0.0


class Run:
    """Drives a :class:`training.loop.Pretraining`: logs, evaluates, writes checkpoints and the final model."""

    def __init__(self, settings: RunSettings, *, environment: Mapping[str, str]) -> None:
        from training.collective import Ranks
        from training.device import choose
        from training.loop import Pretraining
        from training.profiling import Profiler

        self.settings = settings
        self.ranks = Ranks(os.environ)
        self.say = say if self.ranks.rank == 0 else quiet
        context = choose(self.ranks.local_rank)
        self.say(
            f"model of {settings.model.parameters:,} parameters, "
            f"{settings.model.flops_per_record / 1e12:.4f} TFLOP a record, "
            f"{self.ranks.size} rank(s) on {context} over {self.ranks.operations}, "
            f"global batch {settings.global_batch} x {settings.model.sequence} tokens"
        )
        self.training = Pretraining(settings, self.ranks, context=context, say=self.say)
        self.metrics = MetricsFile(settings.metrics, rank=self.ranks.rank, clock=time.time)
        self.heartbeat = Heartbeat(settings.heartbeat, rank=self.ranks.rank, clock=time.time)
        self.profiler = Profiler(settings.checkpoints, self.ranks, say=self.say)
        self.writer: CheckpointWriter | None = None
        self.totals = Totals()
        self._job = environment.get("DURE_JOB_ID") or environment.get("SLURM_JOB_ID")

    def execute(self) -> int:
        """Run to the last step; 0, or the requeue code after a SIGTERM."""
        settings, training = self.settings, self.training
        signal.signal(signal.SIGTERM, self._on_sigterm)
        if self.ranks.rank == 0:
            self.writer = CheckpointWriter(settings.checkpoints, keep=settings.keep, say=say)
        if training.resume():
            self.say(f"resumed at step {training.step_number}")
        stalled = 0.0
        while training.step_number < settings.steps:
            training.profile_requested = self.profiler.asked()
            if not training.wait_for_text(meanwhile=lambda: self.heartbeat.beat(training.step_number)):
                return self._stopped()
            result = training.step()
            if result.roll_back:
                if result.stop:
                    return self._stopped()
                self._roll_back()
                continue
            self._log(result, stalled)
            stalled = self._checkpoint(stop=result.stop)
            self.heartbeat.beat(training.step_number)
            if result.stop:
                return self._stopped()
            self.profiler.after_step(training.step_number, asked=result.profile)
            number = training.step_number
            if settings.evaluate_every and number % settings.evaluate_every == 0 and number < settings.steps:
                self._evaluate()
        self._finish()
        if self.writer is not None:
            self.writer.wait()
        self.heartbeat.beat(training.step_number, ended=True)
        return 0

    def _checkpoint(self, *, stop: bool) -> float:
        """Begin or complete what is due after this step; seconds that training stood still for it."""
        begin, durable = self.settings.checkpoint_rhythm()
        number, moment = self.training.step_number, time.monotonic()
        if self.writer is not None and not stop:
            if number == self.settings.steps or (begin and number % begin == 0):
                self.writer.save(self.training.snapshot())
            elif begin and number % begin == durable:
                self.writer.wait()
        return time.monotonic() - moment

    def _stopped(self) -> int:
        number = self.training.step_number
        if self.writer is not None:
            self.writer.save(self.training.snapshot())
            self.writer.wait()
        self.say(f"stopped by SIGTERM after step {number}; run again to go on")
        self.heartbeat.beat(number, ended=True)
        return REQUEUE_EXIT_CODE

    def _roll_back(self) -> None:
        number = self.training.step_number + 1
        if self.writer is not None:
            self.writer.wait()
        self.training.roll_back()
        self.metrics.write(event="rollback", spiked=number, to=self.training.step_number)

    def _on_sigterm(self, number: int, frame: Any) -> None:
        del number, frame
        self.training.stop_requested = True

    def _log(self, result: Any, stalled: float) -> None:
        settings, number = self.settings, self.training.step_number
        rate = settings.global_batch / result.step_seconds
        values = {key: value for key, value in asdict(result).items() if key not in _ORDERS_TO_US}
        values |= {
            "records_per_second": rate,
            "tokens_per_second": rate * settings.model.sequence,
            "tflops": rate * settings.model.flops_per_record / 1e12,
            "checkpoint_seconds": stalled,
        }
        if settings.peak_tflops:
            values["mfu"] = values["tflops"] / (settings.peak_tflops * self.ranks.size)
        self.metrics.write(step=number, epoch=self.training.stream.position.epoch, **values)
        if self.totals.first_loss is None:
            self.totals.first_loss = result.loss
        else:
            self.totals.records += settings.global_batch
            self.totals.seconds += result.step_seconds
        self.totals.last_loss = result.loss
        if number % settings.log_every == 0 or number in (1, settings.steps):
            self.say(readable(number, settings.steps, values))

    def _evaluate(self) -> Any:
        score = self.training.evaluate()
        if score is not None:
            self.say(f"step {self.training.step_number}: {score}")
            self.metrics.write(event="evaluation", step=self.training.step_number, **asdict(score))
        return score

    def _finish(self) -> None:
        """Evaluate and write the model folder."""
        score = self._evaluate()
        settings, totals = self.settings, self.totals
        about = {
            "steps": self.training.step_number,
            "ranks": self.ranks.size,
            "parameters": settings.model.parameters,
            "job": self._job,
            "tokens": self.training.step_number * settings.global_batch * settings.model.sequence,
            "loss": {"first": totals.first_loss, "last": totals.last_loss},
            "held_out_bits_per_byte": score.bits_per_byte if score else None,
            "unigram_bits_per_byte": score.unigram_bits_per_byte if score else None,
            "perplexity": score.perplexity if score else None,
            "records_per_second": totals.records_per_second,
            "settings": settings.fingerprint(),
        }
        if self.ranks.rank == 0:
            tokenizer = describe(settings.tokenizer)
            model_folder.write(
                settings.output,
                self.training.parameters.weights(),
                config=settings.model,
                tokenizer=tokenizer,
                about=about,
            )
        self.say(f"{totals.records_per_second:.1f} records/s on average; model written to {settings.output}")
        self.metrics.write(event="end", **about)
        self.metrics.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    settings = parse(sys.argv[1:] if argv is None else argv, environment=os.environ, cwd=Path.cwd())
    return Run(settings, environment=os.environ).execute()


if __name__ == "__main__":
    run(main)
