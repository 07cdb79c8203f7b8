"""python -m benchmarks.training_crash [--kills 1000]: what is lost when a run is killed at a random moment, again and
again.

Tiny runs are killed with SIGKILL at random moments, up to five times in a row, and then left to end. After every kill
the newest valid checkpoint is compared with the last step that the run had reported (lost work), and in every third a
checkpoint file of a random kind is truncated or gets one bit flipped before the resume (the damage must be noticed;
it may cost one more interval). The final weights must be those of a run that nothing disturbed, to the last bit. Then
each file of the corpus is damaged in turn: no run may start.

Runs are forked from a process that has MXNet loaded already; each has its own engine and Horovod.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from benchmarks.support import result
from benchmarks.training_support import TRAINER, environment

STEPS, INTERVAL = 40, 5
KINDS = ("weights.safetensors", "optimizer.safetensors", "state.json", "checksums.json")


def fork(work: Callable[[], int], *, output: Path) -> int:
    """Run `work` in a child whose output goes to a file; returns its process id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        with output.open("ab") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        code = work()
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        code = getattr(error, "exit_code", 1)
    finally:
        os._exit(code)


def wait(pid: int) -> int:
    """Exit code of a child, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class Crash:
    """All trials in one folder."""

    def __init__(self, folder: Path, *, seed: int) -> None:
        self.folder, self.random = folder, random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.worst_loss = 0
        self.problems: list[str] = []

    def prepare(self) -> None:
        """Text, tokenizer, corpus, and the run that nothing disturbs."""
        from training import encode, tokenizer

        generator = random.Random(0)
        words = ["".join(chr(0xAC00 + generator.randrange(600)) for _ in range(3)) for _ in range(200)]
        text = self.folder / "text.txt"
        text.write_text("\n".join(" ".join(generator.choices(words, k=9)) for _ in range(3000)))
        with contextlib.redirect_stdout(io.StringIO()):
            tokenizer.main(
                ["--input", str(text), "--output", str(self.folder / "tok"), "--vocabulary", "900", "--threads", "1"]
            )
            arguments = [
                "--input",
                str(text),
                "--tokenizer",
                str(self.folder / "tok"),
                "--output",
                str(self.folder / "tokens"),
            ]
            encode.main([*arguments, "--held-out", "0.02", "--shard-tokens", "20000", "--workers", "1"])
        begun = time.monotonic()
        code = wait(self.start(self.folder / "reference"))
        self.seconds = time.monotonic() - begun
        if code:
            raise RuntimeError((self.folder / "reference.log").read_text())
        self.expected = (self.folder / "reference" / "model" / "model.safetensors").read_bytes()

    def start(self, out: Path, *, data: Path | None = None) -> int:
        """Fork one run."""
        arguments = {
            "data": data or self.folder / "tokens",
            "tokenizer": self.folder / "tok",
            "output": out / "model",
            "metrics": out / "metrics",
            "layers": 1,
            "units": 16,
            "heads": 2,
            "sequence": 16,
            "global-batch": 4,
            "steps": STEPS,
            "warmup": 2,
            "checkpoint-every": INTERVAL,
            "evaluate-tokens": 200,
        }
        flat = [str(part) for key, value in arguments.items() for part in (f"--{key}", value)]

        def work() -> int:
            from training import pretrain

            return pretrain.main(flat)

        out.mkdir(exist_ok=True)
        return fork(work, output=out.with_suffix(".log"))

    def trial(self, number: int, kills: int) -> int:
        """Kill one run up to `kills` times, let it end, compare; returns how many kills hit."""
        from training import checkpoint

        out, hits = self.folder / f"trial{number}", 0
        store = out / "model.checkpoints"
        damaged: set[int] = set()  # by us: they stay until a run writes that step again
        for _ in range(kills):
            pid = self.start(out)
            time.sleep(self.random.uniform(0.1, 1.0) * self.seconds)
            os.kill(pid, signal.SIGKILL)
            if wait(pid) != -signal.SIGKILL:
                self.seconds *= 0.9  # it ended before: the machine has become faster than it was for the reference
                break
            self.seconds *= 1.02
            hits += 1
            newest = checkpoint.newest_valid(store, say=lambda text: None) or 0
            lost = last_step(out / "metrics" / "rank-00000.jsonl") - newest
            self.worst_loss = max(self.worst_loss, lost)
            if any(step > newest and step not in damaged for step in checkpoint.steps(store)):
                self.problem(f"trial {number}: a kill left an invalid checkpoint in place")
            if self.random.random() < 1 / 3 and newest:
                self.damage(checkpoint.path_of(store, newest) / self.random.choice(KINDS))
                damaged.add(newest)
            self.forget_later_steps(out, checkpoint.newest_valid(store, say=lambda text: None) or 0)
        code = wait(self.start(out))
        log = out.with_suffix(".log").read_text()
        if code:
            self.problem(f"trial {number} ended with {code}: {log[-300:]}")
        elif (out / "model" / "model.safetensors").read_bytes() != self.expected:
            self.problem(f"trial {number} ended with other weights")
        self.counts["damage noticed"] += log.count("is not usable")
        shutil.rmtree(out)
        out.with_suffix(".log").unlink()
        return hits

    def problem(self, text: str) -> None:
        """Remember and say at once what must not happen."""
        self.problems.append(text)
        print(text, file=sys.stderr, flush=True)

    def forget_later_steps(self, out: Path, step: int) -> None:
        """Steps after the checkpoint will be run again: what counts as lost next time begins there."""
        path = out / "metrics" / "rank-00000.jsonl"
        if path.exists():
            lines = [line for line in path.read_text().splitlines() if json.loads(line).get("step", 0) <= step]
            path.write_text("".join(line + "\n" for line in lines))

    def damage(self, path: Path) -> None:
        """Truncate the file, or flip one of its bits."""
        data = bytearray(path.read_bytes())
        at = self.random.randrange(len(data))
        if self.random.random() < 0.5:
            data = data[:at]
        else:
            data[at] ^= 1 << self.random.randrange(8)
        path.write_bytes(data)
        self.counts[f"damaged {path.name}"] += 1

    def damaged_corpus(self) -> None:
        """Damage each file of the corpus in turn: no run may begin on it."""
        for path in sorted((self.folder / "tokens").iterdir()):
            if path.suffix not in (".bin", ".idx", ".jsonl") or path.name == "quarantine.jsonl":
                continue
            for truncate in (True, False):
                copy = self.folder / "damaged"
                shutil.copytree(self.folder / "tokens", copy)
                data = bytearray(path.read_bytes())
                at = self.random.randrange(max(1, len(data) - 100))
                data = data[:at] if truncate else data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
                (copy / path.name).write_bytes(data)
                out = self.folder / "refused"
                if wait(self.start(out, data=copy)) != 1:
                    self.problem(f"a run began on a damaged {path.name}")
                self.counts["damaged corpus files refused"] += 1
                shutil.rmtree(copy)
                shutil.rmtree(out)


def last_step(path: Path) -> int:
    """The last step that a run has reported."""
    lines = path.read_text().splitlines() if path.exists() else []
    return max((json.loads(line).get("step", 0) for line in lines), default=0)


def main() -> int:
    """Entry point: goes on in the trainer's environment."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if Path(sys.prefix) != TRAINER.parents[1]:
        os.execve(TRAINER, [str(TRAINER), "-m", "benchmarks.training_crash", *sys.argv[1:]], environment())
    # Loaded once, before the forks
    import horovod.mxnet  # noqa: F401

    import training.device
    import training.loop
    import training.pretrain  # noqa: F401

    with tempfile.TemporaryDirectory() as folder:
        crash = Crash(Path(folder), seed=args.seed)
        crash.prepare()
        hits = trials = 0
        while hits < args.kills and len(crash.problems) < 5:
            hits += crash.trial(trials, min(5, args.kills - hits))
            trials += 1
            if trials % 10 == 0:
                print(
                    f"{hits} kills in {trials} trials, at most {crash.worst_loss} steps lost, "
                    f"{len(crash.problems)} problems",
                    file=sys.stderr,
                )
        crash.damaged_corpus()
    return result(
        "training_crash",
        crash.worst_loss,
        unit=f"steps lost at most, of an interval of {INTERVAL}",
        goal=f"<= {INTERVAL}, every end bit-identical, all damage noticed",
        holds=crash.worst_loss <= INTERVAL and not crash.problems,
        peers={},
        runs=hits,
        trials=trials,
        counts=dict(crash.counts),
        problems=len(crash.problems),
    )


if __name__ == "__main__":
    sys.exit(main())
