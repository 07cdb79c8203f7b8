"""The training loop: one object that owns the network, the optimizer and the position in the data.

A step: each rank computes the gradients of its part of the global batch, Horovod sums them, the clipped update follows.
Everything that decides the next step (weights, optimizer, loss scale, step, position, batches left out, seed) is in the
checkpoint; the learning rate follows from the step.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import mxnet as mx
import numpy as np

from training import checkpoint, native
from training.backward import Backward
from training.collective import Ranks
from training.dataset.agreed import AgreedCorpus
from training.dataset.order import derive
from training.dataset.records import Batch
from training.dataset.stream import BatchStream, Position
from training.errors import CheckpointError, CorpusError, DivergenceError, TrainingError
from training.evaluation import Evaluation
from training.launching.tuning import inexact_because
from training.model import folder as model_folder
from training.model.network import TokenLoss, build, decays, initial_weights, named_parameters
from training.optimizer import AdamW, Lamb, Schedule, squared_norm
from training.parameters import Parameters, as_ready
from training.precision import LossScale, refuse_where_impossible
from training.settings import RunSettings, differences


@dataclass
class StepResult:
    """Figures of one step; seconds of this rank, loss of all. ``skipped_steps`` counts from the run's beginning.
    ``roll_back`` asks for :meth:`Pretraining.roll_back`: the step was not taken."""

    loss: float
    gradient_norm: float
    learning_rate: float
    step_seconds: float
    data_seconds: float
    communication_seconds: float
    skipped: bool
    skipped_steps: int
    loss_scale: float
    stop: bool
    profile: bool
    roll_back: bool


@dataclass(frozen=True)
class Gradient:
    """What all ranks know of a batch after the reduction: mean loss, norm of the averaged gradient, whether it
    overflowed on any rank, what any rank asked for; and the seconds that this one waited."""

    loss: float
    norm: float
    overflowed: bool
    communication_seconds: float
    stop: bool
    profile: bool


_MOST_SKIPPED = 5
_STEPS_BEFORE_SPIKES = 50  # until then norms fall steeply by themselves
_LOOK_SECONDS = 0.5


class Pretraining:
    """A run on one rank. Make it, :meth:`resume` it, then :meth:`step` it; all ranks do the same at the same time."""

    def __init__(self, settings: RunSettings, ranks: Ranks, *, context: Any, say: Callable[[str], None]) -> None:
        refuse_where_impossible(settings.precision, context)
        self.settings, self.ranks, self.context, self._say = settings, ranks, context, say
        self.accumulation = settings.accumulation(ranks.size)
        self.step_number = 0
        self.stop_requested = self.profile_requested = False
        self.usual_norm = 0.0  # a running mean, part of the checkpoint: what counts as a spike must survive a resume
        self.skipped_in_a_row = self.skipped_steps = 0
        self._rolled_back_to: list[int] = []
        self.loss_scale = LossScale() if settings.precision == "fp16" else None
        self._corpus = AgreedCorpus(settings.data, ranks)
        self._corpus.check(vocabulary=settings.model.vocabulary)
        self.native = context.device_type == "cpu" and native.load(os.environ)
        network = build(
            settings.model,
            seed=settings.seed,
            context=context,
            native=self.native,
            half=self.loss_scale is not None,
        )
        self.parameters = Parameters(named_parameters(network), context=context)
        for name, parameter in self.parameters.named.items():
            parameter.wd_mult = 1.0 if decays(name) else 0.0
        self.losses = TokenLoss(network, prefix="loss_")
        self.losses.hybridize(static_alloc=True, static_shape=True)
        self._backward = Backward(self.losses, self.parameters, micro=settings.micro_batch, context=context)
        self._make_optimizer()
        if self.loss_scale is not None:
            self.parameters.set_weights(initial_weights(network, seed=settings.seed))  # not the rounded ones
        self.stream = BatchStream(
            settings.data,
            length=settings.model.sequence,
            global_batch=settings.global_batch,
            seed=settings.seed,
            rank=ranks.rank,
            size=ranks.size,
            look=self._corpus.sealed,
            order=settings.order,
            check=self._corpus.check_shards,
        )
        self.evaluate = Evaluation(
            settings.data,
            self.stream,
            length=settings.model.sequence,
            limit=settings.evaluate_tokens,
            batch=settings.micro_batch,
            ranks=ranks,
            losses=self._eval_losses,
        )

    def _make_optimizer(self) -> None:
        s = self.settings
        self.schedule = Schedule(peak=s.learning_rate, warmup=s.warmup, steps=s.steps, floor=s.floor, shape=s.schedule)
        # On CPUs the fused operators take two to three times as long as one by one (docs/training.md)
        fused = s.update == "fused" or (s.update == "auto" and self.context.device_type == "gpu")
        kind = {"adamw": AdamW, "lamb": Lamb}[s.optimizer]
        self.optimizer = kind(
            beta1=s.beta1,
            beta2=s.beta2,
            epsilon=s.epsilon,
            weight_decay=s.weight_decay,
            fused=fused,
            native=self.native and s.update == "auto",
        )
        # A fixed number of groups, each reduced as one: the sums do not depend on which gradients happen to be ready
        # together. Filled in the order of the backward pass: by name each would wait for one of the last gradients
        self.trainer = self.ranks.hvd.DistributedTrainer(
            as_ready(self.parameters.named), self.optimizer, num_groups=s.reduce_groups
        )
        self.parameters.attach(self.trainer)
        self.inexact = inexact_because(os.environ, groups=s.reduce_groups, ranks=self.ranks.size)

    def wait_for_text(self, *, meanwhile: Callable[[], None] = lambda: None) -> bool:
        """Until the next batch is encoded: at once, unless the run began during the encoding. Calls `meanwhile` now and
        then. False if asked to stop; CorpusError when nothing came for ``wait_for_text`` seconds. Collective."""
        since, known = time.monotonic(), self.stream.sealed
        while not self.stream.ready():
            if self.stream.sealed != known:
                since, known = time.monotonic(), self.stream.sealed
            waited = time.monotonic() - since
            late = self.ranks.rank == 0 and waited > self.settings.wait_for_text
            stops, lates = self.ranks.total([float(self.stop_requested), float(late)], name="wait")
            if stops:
                return False
            if lates:
                raise CorpusError(
                    f"{self.settings.data} got no new shard for {self.settings.wait_for_text:.0f} s and its encoding "
                    "has not ended: run training.encode again (it goes on), then this run (it goes on too)"
                )
            meanwhile()
            time.sleep(_LOOK_SECONDS)
        return True

    # -- state

    def snapshot(self) -> checkpoint.Snapshot:
        """A copy of everything that decides how the run goes on."""
        state = {
            "position": asdict(self.stream.position),
            "left_out": sorted(self.stream.left_out),
            "settings": self.settings.fingerprint(),
            "ranks": self.ranks.size,
            "usual_norm": self.usual_norm,
            "skipped_in_a_row": self.skipped_in_a_row,
            "skipped_steps": self.skipped_steps,
            "loss_scale": asdict(self.loss_scale) if self.loss_scale else None,
            "environment": self.environment(),
        }
        return checkpoint.Snapshot(self.step_number, self.parameters.weights(), self.parameters.moments(), state)

    def environment(self) -> dict[str, Any]:
        """What, beside the settings, decides the last bits of a run's numbers; and whether a resume keeps them."""
        return {
            "mxnet": mx.__version__,
            "numpy": np.__version__,
            "native": native.library_path(native.OPERATORS).name if self.native else None,
            "device": self.context.device_type,
            "fused": self.optimizer.fused,
            "operations": self.ranks.operations,
            "reduce_groups": self.settings.reduce_groups,
            "inexact_because": self.inexact,
        }

    def restore(self, snapshot: checkpoint.Snapshot) -> None:
        """Stand exactly where `snapshot` was taken; CheckpointError if it is of another run."""
        wrong = differences(self.settings.fingerprint(), snapshot.state["settings"])
        if wrong:
            raise CheckpointError(
                f"the checkpoint of step {snapshot.step} is of a run with other settings ({'; '.join(wrong)}); "
                "give the same settings, or another --checkpoints folder"
            )
        changed = differences(self.environment(), snapshot.state["environment"])
        if changed:
            self._say(f"the run goes on in another environment ({'; '.join(changed)}): last bits may differ")
        self.parameters.set_weights(snapshot.weights)
        self.parameters.set_moments(snapshot.optimizer)
        state = snapshot.state
        self.step_number = snapshot.step
        self.usual_norm = state["usual_norm"]
        self.skipped_in_a_row, self.skipped_steps = state["skipped_in_a_row"], state["skipped_steps"]
        self.loss_scale = LossScale(**state["loss_scale"]) if state["loss_scale"] else None
        self.stream.left_out = {(epoch, batch) for epoch, batch in state["left_out"]}
        self.stream.seek(Position(**state["position"]))

    def resume(self) -> bool:
        """Go on from the newest right checkpoint, or begin; True if one was found. Collective."""
        if self.inexact:
            self._say(f"a resumed run may differ from an undisturbed one in the last bits: {'; '.join(self.inexact)}")
        step = self._newest_checkpoint()
        if step is None:
            if self.settings.init_from is not None:
                config, arrays = model_folder.read(self.settings.init_from)
                self.parameters.set_weights(model_folder.from_hugging_face_arrays(arrays, config))
            self.stream.seek(None)
            return False
        self._load(step)
        return True

    def _newest_checkpoint(self) -> int | None:
        found = checkpoint.newest_valid(self.settings.checkpoints, say=self._say) if self.ranks.rank == 0 else None
        step: int | None = self.ranks.share(found, name="resume")
        return step

    def _load(self, step: int) -> None:
        problem, snapshot = "", None
        try:
            snapshot = checkpoint.load(checkpoint.path_of(self.settings.checkpoints, step))
        except TrainingError as error:
            problem = str(error)
        self.ranks.all_fine(problem, name="restore")
        assert snapshot is not None
        self.restore(snapshot)

    def roll_back(self) -> None:
        """Go back to the newest right checkpoint and leave out the batch that spiked. All checkpoints that were begun
        must be written. Collective.

        What follows is a function of the checkpoint and the batch, so a run that is killed and resumed comes to the
        same. Without a checkpoint the batch is skipped.
        """
        here, number = self.stream.position, self.step_number + 1
        step = self._newest_checkpoint()
        if step is None:
            self._say(f"step {number}: there is no checkpoint yet to roll back to, so the batch is skipped")
            self._skip()
            self.step_number = number
            self.stream.advance()
            return
        self._rolled_back_to.append(number)
        if len(self._rolled_back_to) > _MOST_SKIPPED:
            raise DivergenceError(
                f"rolled back {len(self._rolled_back_to)} times without getting past step {number}; lower "
                "--learning-rate, or look at the records that were named"
            )
        left_out = {*self.stream.left_out, (here.epoch, here.batch)}  # some may be newer than the checkpoint
        self._load(step)
        self.stream.leave_out(left_out)
        self._say(f"step {number}: rolled back to step {step}; batch {here.batch} of epoch {here.epoch} is left out")

    # -- steps

    def step(self) -> StepResult:
        """Train on the next global batch.

        A loss or gradient that is not finite, or a norm far above the recent ones, is computed once more from the same
        records. If it was transient (a flipped bit, a bad link) training goes on with the second result; if it is real,
        the batch is left out and its records are named. DivergenceError after too many of those in a row. In half
        precision a gradient that overflows costs its step and halves the loss scale.
        """
        begun = time.monotonic()
        batch = self.stream.read()
        read = time.monotonic()
        number = self.step_number + 1
        found = self._gradient(batch, number)
        scale = self.loss_scale
        overflowed = scale is not None and scale.can_fall and found.overflowed and bool(np.isfinite(found.loss))
        bad = not overflowed and self._is_bad(found)
        if bad:
            again = self._gradient(batch, number)
            bad = self._is_bad(again)
            self._report_bad(number, found, transient=not bad)
            found = again
        roll_back = bad and self.settings.on_spike == "rollback"
        rate = self.schedule.rate(number)
        if not roll_back:
            self._finish(number, rate, found, overflowed=overflowed, bad=bad)
        return StepResult(
            loss=found.loss,
            gradient_norm=found.norm,
            learning_rate=rate,
            step_seconds=time.monotonic() - begun,
            data_seconds=read - begun,
            communication_seconds=found.communication_seconds,
            skipped=bad or overflowed,
            skipped_steps=self.skipped_steps,
            loss_scale=scale.scale if scale else 1.0,
            stop=found.stop,
            profile=found.profile,
            roll_back=roll_back,
        )

    def _finish(self, number: int, rate: float, found: Gradient, *, overflowed: bool, bad: bool) -> None:
        """Update, or leave the batch out; and go on."""
        if bad:
            self._skip()
        elif overflowed:
            self.skipped_steps += 1
        else:
            self.skipped_in_a_row = 0
            if self._rolled_back_to and number > max(self._rolled_back_to):
                self._rolled_back_to = []
            self._update(number, rate, found.norm)
            self.usual_norm = 0.95 * self.usual_norm + 0.05 * found.norm if self.usual_norm else found.norm
        if self.loss_scale is not None:
            self.loss_scale = self.loss_scale.after(overflowed=overflowed)
        self.step_number = number
        self.stream.advance()

    def _skip(self) -> None:
        self.skipped_in_a_row += 1
        self.skipped_steps += 1
        if self.skipped_in_a_row > _MOST_SKIPPED:
            raise DivergenceError(
                f"{self.skipped_in_a_row} steps in a row had to be left out, the last one is {self.step_number + 1}; "
                "lower --learning-rate, or look at the records that were named"
            )

    def _gradient(self, batch: Batch, number: int) -> Gradient:
        """Loss and reduced gradients of one global batch; the same on all ranks. Changes nothing that is kept."""
        if self.settings.model.dropout:
            # Drawn anew each step from (seed, step, rank), so that a resumed run draws what the first one would have
            drawn = derive("dropout", self.settings.seed, number, self.ranks.rank, bits=32) >> 1
            mx.random.seed(drawn, ctx=self.context)
        loss = self._backward(batch, scale=self.loss_scale.scale if self.loss_scale else None)
        # Ready when the backward pass is; queued before the reduction
        probe = self.parameters.gradients()[0].reshape((-1,))[0:1].copy()
        self.trainer.allreduce_grads()
        probe.wait_to_read()
        computed = time.monotonic()
        norm = self._norm()
        waited = time.monotonic() - computed
        mine = [loss, float(not np.isfinite(norm)), float(self.stop_requested), float(self.profile_requested)]
        loss_sum, overflows, stops, profiles = self.ranks.total(mine, name="loss")
        return Gradient(loss_sum / self.ranks.size, norm, overflows > 0, waited, stops > 0, profiles > 0)

    def _is_bad(self, found: Gradient) -> bool:
        spike = self.settings.spike
        known = self.step_number >= _STEPS_BEFORE_SPIKES
        return (
            found.overflowed
            or not np.isfinite(found.loss)
            or bool(spike and known and found.norm > spike * self.usual_norm)
        )

    def _report_bad(self, number: int, found: Gradient, *, transient: bool) -> None:
        verdict = "transient, the replay is fine" if transient else "the same again, so this batch is left out"
        here = self.stream.position
        self._say(
            f"step {number}: loss {found.loss}, gradient norm {found.norm} (usually {self.usual_norm:.3g}): {verdict}; "
            f"records {self.stream.numbers().tolist()} of epoch {here.epoch}, generation {here.generation}"
        )

    def _divisor(self) -> float:
        """What the trainer's own scale leaves to divide gradients by: micro-batches, and the loss scale."""
        return self.accumulation * (self.loss_scale.scale if self.loss_scale else 1.0)

    def _norm(self) -> float:
        """Norm of the averaged gradient. After the reduction gradients are sums over ranks and micro-batches; the
        trainer's own scale (1 / ranks, or 1 where Horovod averages itself) and the accumulation turn them into the
        mean."""
        scale = self.trainer._scale / self._divisor()
        return float(np.sqrt(squared_norm(self.parameters.gradients(), native=self.native)) * scale)

    def _update(self, number: int, rate: float, norm: float) -> None:
        self.optimizer.set_learning_rate(rate)
        self.optimizer.step_number = number
        shrink = min(1.0, self.settings.clip / (norm + 1e-12))
        self.trainer.update(self._divisor() / shrink)  # gradients are multiplied by scale / this
        mx.nd.waitall()

    def _eval_losses(self, inputs: Any, targets: Any) -> Any:
        arrays = [mx.nd.array(np.ascontiguousarray(a.T), self.context, dtype="int32") for a in (inputs, targets)]
        return self.losses(*arrays).asnumpy().T
