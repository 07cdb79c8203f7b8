"""The training loop: one object that owns the network, the optimizer and the position in the data.

A step: each rank computes the gradients of its part of the global batch, Horovod sums them, the clipped AdamW update
follows. Everything that decides the next step (weights, optimizer, step, position, seed) is in the checkpoint; the
learning rate follows from the step.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import mxnet as mx
import numpy as np

from training import checkpoint, native
from training.collective import Ranks
from training.corpus import manifest, shards
from training.dataset.order import derive
from training.dataset.stream import BatchStream, Position
from training.errors import CheckpointError, DivergenceError, ModelError, TrainingError
from training.evaluation import HeldOut, Score, evaluate, held_out
from training.model import folder as model_folder
from training.model.network import TokenLoss, build, decays, named_parameters
from training.optimizer import AdamW, Lamb, Schedule, squared_norm
from training.safetensors import Arrays
from training.settings import RunSettings, differences


@dataclass
class StepResult:
    """Figures of one step; seconds of this rank, loss of all."""

    loss: float
    gradient_norm: float
    learning_rate: float
    step_seconds: float
    data_seconds: float
    communication_seconds: float
    skipped: bool
    stop: bool


@dataclass(frozen=True)
class Gradient:
    """What all ranks know of a batch after the reduction: mean loss, norm of the averaged gradient, seconds waited."""

    loss: float
    norm: float
    communication_seconds: float
    stop: bool


_MOST_SKIPPED = 5
_STEPS_BEFORE_SPIKES = 50  # until then norms fall steeply by themselves


class Pretraining:
    """A run on one rank. Make it, :meth:`resume` it, then :meth:`step` it; all ranks do the same at the same time."""

    def __init__(self, settings: RunSettings, ranks: Ranks, *, context: Any, say: Callable[[str], None]) -> None:
        self.settings, self.ranks, self.context, self._say = settings, ranks, context, say
        self.accumulation = settings.accumulation(ranks.size)
        self.step_number = 0
        self.stop_requested = False
        self.usual_norm = 0.0  # a running mean, part of the checkpoint: what counts as a spike must survive a resume
        self.skipped_in_a_row = 0
        self._check_corpus()
        self.native = context.device_type == "cpu" and native.load(os.environ)
        network = build(settings.model, seed=settings.seed, context=context, native=self.native)
        self.parameters: dict[str, Any] = named_parameters(network)
        for name, parameter in self.parameters.items():
            parameter.wd_mult = 1.0 if decays(name) else 0.0
        self.losses = TokenLoss(network, prefix="loss_")
        self.losses.hybridize(static_alloc=True, static_shape=True)
        self._make_optimizer()
        self.stream = BatchStream(
            settings.data,
            length=settings.model.sequence,
            global_batch=settings.global_batch,
            seed=settings.seed,
            rank=ranks.rank,
            size=ranks.size,
            newest=self._newest_generation,
        )
        self._held_out: HeldOut | None = None
        self._held_out_generation = -1

    def _make_optimizer(self) -> None:
        s = self.settings
        self.schedule = Schedule(peak=s.learning_rate, warmup=s.warmup, steps=s.steps, floor=s.floor, shape=s.schedule)
        kind = {"adamw": AdamW, "lamb": Lamb}[s.optimizer]
        self.optimizer = kind(
            beta1=s.beta1,
            beta2=s.beta2,
            epsilon=s.epsilon,
            weight_decay=s.weight_decay,
            fused=self.context.device_type == "gpu",
            native=self.native,
        )
        # A fixed number of groups, each reduced as one: the sums do not depend on which gradients happen to be ready
        # together
        self.trainer = self.ranks.hvd.DistributedTrainer(self.parameters, self.optimizer, num_groups=s.reduce_groups)
        self._order = [self.parameters_by_id[id(p)] for p in self.trainer._params]

    @property
    def parameters_by_id(self) -> dict[int, str]:
        """Names of the parameters, for the trainer's own order of them."""
        return {id(parameter): name for name, parameter in self.parameters.items()}

    def _newest_generation(self) -> int:
        return int(self.ranks.share(len(manifest.read(self.settings.data).generations), name="generation"))

    def _check_corpus(self) -> None:
        """Every rank hashes its part of the shards; all stop if one is damaged."""
        problem = ""
        try:
            corpus = manifest.read(self.settings.data)
            if corpus.header.vocabulary != self.settings.model.vocabulary:
                raise ModelError(
                    f"the corpus has a vocabulary of {corpus.header.vocabulary}, the model one of "
                    f"{self.settings.model.vocabulary}"
                )
            for shard in corpus.shards[self.ranks.rank :: self.ranks.size]:
                shards.verify(self.settings.data, shard)
        except TrainingError as error:
            problem = str(error)
        self.ranks.all_fine(problem, name="corpus")

    # -- state

    def weights(self) -> Arrays:
        """Copies of the weights by name."""
        return {name: parameter.data(self.context).asnumpy() for name, parameter in self.parameters.items()}

    def set_weights(self, weights: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Replace the weights; ModelError unless names and shapes are this model's."""
        for name, parameter in self.parameters.items():
            if name not in weights or weights[name].shape != parameter.shape:
                raise ModelError(
                    f"the weights given do not fit this model: {name} must have the shape {parameter.shape}"
                )
            parameter.set_data(mx.nd.array(weights[name], ctx=self.context))

    def snapshot(self) -> checkpoint.Snapshot:
        """A copy of everything that decides how the run goes on."""
        states = self.trainer._updaters[0].states
        moments: Arrays = {}
        for index, name in enumerate(self._order):
            for kind, array in zip(("mean", "variance"), states[index], strict=True):
                moments[f"{name}/{kind}"] = array.asnumpy()
        state = {
            "position": asdict(self.stream.position),
            "settings": self.settings.fingerprint(),
            "ranks": self.ranks.size,
            "usual_norm": self.usual_norm,
            "skipped_in_a_row": self.skipped_in_a_row,
            "environment": {"mxnet": mx.__version__, "numpy": np.__version__, "native": self.native},
        }
        return checkpoint.Snapshot(self.step_number, self.weights(), moments, state)

    def restore(self, snapshot: checkpoint.Snapshot) -> None:
        """Stand exactly where `snapshot` was taken; CheckpointError if it is of another run."""
        wrong = differences(self.settings.fingerprint(), snapshot.state["settings"])
        if wrong:
            raise CheckpointError(
                f"the checkpoint of step {snapshot.step} is of a run with other settings ({'; '.join(wrong)}); "
                "give the same settings, or another --checkpoints folder"
            )
        self.set_weights(snapshot.weights)
        updater = self.trainer._updaters[0]
        for index, name in enumerate(self._order):
            pair = [snapshot.optimizer[f"{name}/{kind}"] for kind in ("mean", "variance")]
            updater.states[index] = tuple(mx.nd.array(array, ctx=self.context) for array in pair)
            updater.states_synced[index] = True
        self.step_number = snapshot.step
        self.usual_norm = snapshot.state["usual_norm"]
        self.skipped_in_a_row = snapshot.state["skipped_in_a_row"]
        self.stream.seek(Position(**snapshot.state["position"]))

    def resume(self) -> bool:
        """Go on from the newest right checkpoint, or begin; True if one was found. Collective."""
        found = checkpoint.newest_valid(self.settings.checkpoints, say=self._say) if self.ranks.rank == 0 else None
        step = self.ranks.share(found, name="resume")
        if step is None:
            if self.settings.init_from is not None:
                config, arrays = model_folder.read(self.settings.init_from)
                self.set_weights(model_folder.from_hugging_face_arrays(arrays, config))
            self.stream.seek(None)
            return False
        problem = ""
        try:
            self.restore(checkpoint.load(checkpoint.path_of(self.settings.checkpoints, step)))
        except TrainingError as error:
            problem = str(error)
        self.ranks.all_fine(problem, name="restore")
        return True

    # -- steps

    def step(self) -> StepResult:
        """Train on the next global batch.

        A loss or gradient that is not finite, or a norm far above the recent ones, is computed once more from the same
        records. If it was transient (a flipped bit, a bad link) training goes on with the second result; if it is real,
        the batch is left out and its records are named. DivergenceError after too many of those in a row.
        """
        begun = time.monotonic()
        batch = self.stream.read()
        read = time.monotonic()
        number = self.step_number + 1
        found = self._gradient(batch, number)
        if self._is_bad(found):
            again = self._gradient(batch, number)
            transient = not self._is_bad(again)
            self._report_bad(number, found, transient=transient)
            found = again
            self.skipped_in_a_row = 0 if transient else self.skipped_in_a_row + 1
        else:
            self.skipped_in_a_row = 0
        rate = self.schedule.rate(number)
        if not self.skipped_in_a_row:
            self._update(number, rate, found.norm)
            self.usual_norm = found.norm if number == 1 else 0.95 * self.usual_norm + 0.05 * found.norm
        elif self.skipped_in_a_row > _MOST_SKIPPED:
            raise DivergenceError(
                f"{self.skipped_in_a_row} steps in a row had to be left out, the last one is {number}; "
                "lower --learning-rate, or look at the records that were named"
            )
        self.step_number = number
        self.stream.advance()
        return StepResult(
            loss=found.loss,
            gradient_norm=found.norm,
            learning_rate=rate,
            step_seconds=time.monotonic() - begun,
            data_seconds=read - begun,
            communication_seconds=found.communication_seconds,
            skipped=bool(self.skipped_in_a_row),
            stop=found.stop,
        )

    def _gradient(self, batch: np.ndarray[Any, np.dtype[np.int32]], number: int) -> Gradient:
        """Loss and reduced gradients of one global batch; the same on all ranks. Changes nothing that is kept."""
        if self.settings.model.dropout:
            # Drawn anew each step from (seed, step, rank), so that a resumed run draws what the first one would have
            drawn = derive("dropout", self.settings.seed, number, self.ranks.rank, bits=32) >> 1
            mx.random.seed(drawn, ctx=self.context)
        loss = self._backward(batch)
        # Ready when the backward pass is; queued before the reduction
        probe = self._gradients()[0].reshape((-1,))[0:1].copy()
        self.trainer.allreduce_grads()
        probe.wait_to_read()
        computed = time.monotonic()
        norm = self._norm()
        waited = time.monotonic() - computed
        loss_sum, stops = self.ranks.total([loss, float(self.stop_requested)], name="loss")
        return Gradient(loss_sum / self.ranks.size, norm, waited, stops > 0)

    def _is_bad(self, found: Gradient) -> bool:
        spike = self.settings.spike
        known = self.step_number >= _STEPS_BEFORE_SPIKES
        return not (np.isfinite(found.norm) and np.isfinite(found.loss)) or bool(
            spike and known and found.norm > spike * self.usual_norm
        )

    def _report_bad(self, number: int, found: Gradient, *, transient: bool) -> None:
        verdict = "transient, the replay is fine" if transient else "the same again, so this batch is left out"
        here = self.stream.position
        self._say(
            f"step {number}: loss {found.loss}, gradient norm {found.norm} (usually {self.usual_norm:.3g}): {verdict}; "
            f"records {self.stream.numbers().tolist()} of epoch {here.epoch}, generation {here.generation}"
        )

    def _gradients(self) -> list[Any]:
        return [parameter.grad(self.context) for parameter in self.parameters.values()]

    def _backward(self, batch: np.ndarray[Any, np.dtype[np.int32]]) -> float:
        """Gradients of this rank's records into the parameters; returns their mean loss."""
        micro = self.settings.micro_batch
        losses = []
        sums: list[Any] = []
        for first in range(0, len(batch), micro):
            inputs, targets = self._to_device(batch[first : first + micro])
            with mx.autograd.record():
                loss = self.losses(inputs, targets).mean()
            loss.backward()
            losses.append(loss)
            if self.accumulation > 1:
                # Added here and not by MXNet's grad_req "add": operators of an extension library always overwrite
                gradients = self._gradients()
                sums = [s + g for s, g in zip(sums, gradients, strict=True)] if sums else [g.copy() for g in gradients]
        for gradient, total in zip(self._gradients(), sums, strict=False):
            total.copyto(gradient)
        return sum(float(loss.asscalar()) for loss in losses) / len(losses)

    def _to_device(self, records: np.ndarray[Any, np.dtype[np.int32]]) -> tuple[Any, Any]:
        turned = np.ascontiguousarray(records.T)  # (tokens, windows): cheaper here than transposing activations
        inputs, targets = (mx.nd.array(part, self.context, dtype="int32") for part in (turned[:-1], turned[1:]))
        return inputs, targets

    def _norm(self) -> float:
        """Norm of the averaged gradient. After the reduction gradients are sums over ranks and micro-batches; the
        trainer's own scale (1 / ranks, or 1 where Horovod averages itself) and the accumulation turn them into the
        mean."""
        scale = self.trainer._scale / self.accumulation
        return float(np.sqrt(squared_norm(self._gradients())) * scale)

    def _update(self, number: int, rate: float, norm: float) -> None:
        self.optimizer.set_learning_rate(rate)
        self.optimizer.step_number = number
        shrink = min(1.0, self.settings.clip / (norm + 1e-12))
        self.trainer.update(self.accumulation / shrink)  # gradients are multiplied by scale / this
        mx.nd.waitall()

    # -- evaluation

    def evaluate(self) -> Score | None:
        """Score the held-out text of the present generation; None if the corpus has none. Collective."""
        generation = self.stream.position.generation
        if generation != self._held_out_generation:
            corpus = manifest.read(self.settings.data)
            self._held_out = held_out(
                self.settings.data,
                corpus,
                generation=generation,
                length=self.settings.model.sequence,
                limit=self.settings.evaluate_tokens,
            )
            self._held_out_generation = generation
        if self._held_out is None:
            return None
        return evaluate(
            self._held_out,
            batch=self.settings.micro_batch,
            rank=self.ranks.rank,
            size=self.ranks.size,
            losses=self._eval_losses,
            total=lambda values: self.ranks.total(values, name="evaluation"),
        )

    def _eval_losses(self, inputs: Any, targets: Any) -> Any:
        arrays = [mx.nd.array(np.ascontiguousarray(a.T), self.context, dtype="int32") for a in (inputs, targets)]
        return self.losses(*arrays).asnumpy().T
