"""python -m benchmarks.training_twin --text FILE [--steps 130]: a model of real text beside its twin in PyTorch.

FILE is Korean text, a document a line (.txt, also .gz or .zst). The trainer makes a tokenizer and shards of it, and
`training.pretrain` trains a GPT-2 for a fixed number of steps on one core. At the same time, on the other core, a
PyTorch program of nanoGPT's kind (the network of benchmarks.training_step: scaled_dot_product_attention, fused AdamW)
gets the same initial weights, batches, schedule and clipping. Both are scored in bits per byte of the same held-out
text. Without --text (or DURE_TEXT) it takes the text that the demo takes (tools.corpus).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.support import ROOT, result
from benchmarks.training_arms import build_operators, results
from benchmarks.training_step import TORCH_GPT
from benchmarks.training_support import TRAINER, environment, measure, peers

SIZE = {"layers": 4, "units": 256, "heads": 4, "sequence": 128, "batch": 16, "seed": 1, "evaluate_tokens": 40_000}
VOCABULARY = 4000
RATE, WARMUP, FLOOR = 2e-3, 20, 0.1

TWIN = (
    TORCH_GPT
    + """
import math
from pathlib import Path
folder, rates = Path(sys.argv[3]), json.loads(sys.argv[4])
torch.set_num_threads(1)
groups = [
    {"params": [p for p in weights.values() if (p.ndim > 1) == decay], "weight_decay": 0.1 * decay}
    for decay in (True, False)
]
optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95), eps=1e-8, fused=True)
found, begun = [], time.perf_counter()
for rate, batch_of_ids in zip(rates, np.load(folder / "batches.npy"), strict=True):
    tokens = torch.tensor(batch_of_ids.astype(np.int64))
    logits = logits_of(tokens[:, :-1])
    loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), tokens[:, 1:].reshape(-1))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    found.append(loss.item())
    torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
seconds = time.perf_counter() - begun
inputs, targets = (np.load(folder / f"{name}.npy").astype(np.int64) for name in ("inputs", "targets"))
nats = 0.0
with torch.no_grad():
    for first in range(0, len(inputs), batch):
        rows = np.arange(first, first + batch).clip(max=len(inputs) - 1)
        wanted = torch.tensor(np.where((np.arange(first, first + batch) < len(inputs))[:, None], targets[rows], -1))
        logits = logits_of(torch.tensor(inputs[rows]))
        nats += F.cross_entropy(
            logits.reshape(-1, logits.shape[-1]), wanted.reshape(-1), ignore_index=-1, reduction="sum"
        ).item()
print("RESULT", json.dumps({"losses": found, "nats": nats, "seconds": seconds}))
"""
)


@dataclass(frozen=True)
class Trained:
    """What came of one of the two: bits per byte, CPU seconds of its program, seconds of its steps, losses."""

    bits: float
    cpu: float
    seconds: float
    losses: list[float]


def rate(step: int, steps: int) -> float:
    """The learning rate of a step (the first is 1), as the trainer's schedule has it: linear warm-up, then a cosine."""
    if step <= WARMUP:
        return RATE * step / WARMUP
    share = (step - WARMUP) / (steps - WARMUP)
    return RATE * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * share)))


def corpus(text: Path, folder: Path) -> None:
    """Tokenizer and tokens of the text."""
    tokenizer: list[str | Path] = [
        "--output",
        folder / "tokenizer",
        "--vocabulary",
        str(VOCABULARY),
        "--sample-mb",
        "10",
    ]
    measure([TRAINER, "-m", "training.tokenizer", "--input", text, *tokenizer], env=environment())
    tokens: list[str | Path] = [
        "--tokenizer",
        folder / "tokenizer",
        "--output",
        folder / "tokens",
        "--held-out",
        "0.01",
    ]
    measure([TRAINER, "-m", "training.encode", "--input", text, *tokens], env=environment())


def ours(folder: Path, *, steps: int) -> list[str]:
    """The command of training.pretrain."""
    options: dict[str, object] = {
        "data": folder / "tokens",
        "tokenizer": folder / "tokenizer",
        "output": folder / "model",
        "metrics": folder / "metrics",
        **{name: SIZE[name] for name in ("layers", "units", "heads", "sequence", "seed")},
        "global-batch": SIZE["batch"],
        "evaluate-tokens": SIZE["evaluate_tokens"],
        "steps": steps,
        "learning-rate": RATE,
        "warmup": WARMUP,
        "floor": FLOOR,
        "checkpoint-every": 0,
    }
    pairs = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    return [str(TRAINER), "-m", "training.pretrain", *pairs]


def together(commands: Sequence[Sequence[str]], env: Mapping[str, str]) -> list[tuple[str, float]]:
    """Run commands at the same time, each on a core of its own; output and CPU seconds of each."""
    started = []
    for core, command in enumerate(commands):
        pinned = ["taskset", "-c", str(core), *command]
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(pinned, env=dict(env), stdout=output, stderr=subprocess.STDOUT, text=True)
            started.append((process, os.dup(output.fileno())))
    found = []
    for process, descriptor in started:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        with os.fdopen(descriptor, "r+") as output:
            output.seek(0)
            said = output.read()
        if process.returncode:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}:\n{said[-3000:]}")
        found.append((said, used.ru_utime + used.ru_stime))
    return found


def train(folder: Path, *, steps: int) -> tuple[Trained, Trained, dict[str, Any]]:
    """Ours and the twin, and what is known of the held-out text."""
    size = json.dumps({**SIZE, "steps": steps})
    (folder / "twin").mkdir()
    prepare: list[str | Path] = [
        TRAINER,
        "-m",
        "benchmarks.arms.twin_batches",
        folder / "tokens",
        folder / "twin",
        size,
    ]
    about = results(measure(prepare, env=environment()).output)[0]
    rates = json.dumps([rate(step, steps) for step in range(1, steps + 1)])
    weights = folder / "twin" / "weights.safetensors"
    twin = [str(peers()), "-c", TWIN, size, str(weights), str(folder / "twin"), rates]
    env = environment(OPENBLAS_CORETYPE="Haswell")
    (_, our_cpu), (said, twin_cpu) = together([ours(folder, steps=steps), twin], env)
    lines = [json.loads(line) for line in (folder / "metrics" / "rank-00000.jsonl").read_text().splitlines()]
    end = next(line for line in lines if line.get("event") == "end")
    each = [line for line in lines if "event" not in line]
    mine = Trained(
        end["held_out_bits_per_byte"],
        our_cpu,
        sum(line["step_seconds"] for line in each),
        [line["loss"] for line in each],
    )
    theirs = results(said)[0]
    bits = theirs["nats"] / math.log(2) / about["bytes"]
    return mine, Trained(bits, twin_cpu, theirs["seconds"], theirs["losses"]), about


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--text", type=Path, default=os.environ.get("DURE_TEXT"))
    parser.add_argument("--steps", type=int, default=130)
    args = parser.parse_args()
    build_operators()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        text = Path(args.text).resolve() if args.text else Path(name) / "text.txt"
        if not args.text:
            measure([sys.executable, "-m", "tools.corpus", "--out", text], env=environment(), cwd=ROOT)
        corpus(text, Path(name))
        mine, twin, about = train(Path(name), steps=args.steps)
    apart = max(abs(a - b) for a, b in zip(mine.losses, twin.losses, strict=True))
    holds = mine.bits <= twin.bits * 1.01 and mine.cpu <= twin.cpu * 1.05 and mine.bits < about["unigram"]
    return result(
        "training_twin",
        mine.bits,
        unit="bits per byte of held-out text",
        goal="<= 1.01 x the PyTorch twin's at <= 1.05 x its CPU seconds, below a unigram model's",
        holds=holds,
        peers={"pytorch_twin": twin.bits, "unigram": about["unigram"]},
        runs=1,
        tokens_trained=args.steps * SIZE["batch"] * SIZE["sequence"],
        tokens_scored=about["tokens"],
        parameters=about["parameters"],
        cpu_seconds={"ours": round(mine.cpu, 1), "pytorch_twin": round(twin.cpu, 1)},
        seconds_of_steps={"ours": round(mine.seconds, 1), "pytorch_twin": round(twin.seconds, 1)},
        losses_apart_at_most=round(apart, 4),
        wall_seconds=round(time.monotonic() - begun),
    )


if __name__ == "__main__":
    sys.exit(main())
