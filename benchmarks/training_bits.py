"""python -m benchmarks.training_bits [--repeats 20] [--ranks 4]: is a resumed run bit-identical at the same number of
ranks?

A run on several ranks that nothing disturbs, then as many repeats: each is killed (all ranks, SIGKILL) after a random
step and started again. Losses of all steps and the final weights must be the same to the last bit. What makes them so
is that gradients are reduced in fixed groups; for comparison the same is counted with Horovod's fusion left to timing
(--reduce-groups 0).
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.support import ROOT, result
from benchmarks.training_support import TRAINER, environment, measure

STEPS = 24


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def corpus(folder: Path) -> None:
    """A small text, its tokenizer and shards."""
    generator = random.Random(0)
    words = ["".join(chr(0xAC00 + generator.randrange(600)) for _ in range(3)) for _ in range(200)]
    (folder / "text.txt").write_text("\n".join(" ".join(generator.choices(words, k=9)) for _ in range(3000)))
    measure(
        [
            TRAINER,
            "-m",
            "training.tokenizer",
            "--input",
            folder / "text.txt",
            "--output",
            folder / "tok",
            "--vocabulary",
            "900",
        ]
    )
    measure(
        [
            TRAINER,
            "-m",
            "training.encode",
            "--input",
            folder / "text.txt",
            "--tokenizer",
            folder / "tok",
            "--output",
            folder / "tokens",
        ]
    )


def start(folder: Path, out: Path, *, ranks: int, groups: int) -> subprocess.Popen[str]:
    """One run on several ranks of this machine."""
    command = [
        TRAINER,
        "-m",
        "training.launch",
        "--local",
        ranks,
        "--port",
        free_port(),
        "--",
        TRAINER,
        "-m",
        "training.pretrain",
        "--data",
        folder / "tokens",
        "--tokenizer",
        folder / "tok",
        "--output",
        out / "model",
        "--metrics",
        out / "metrics",
        "--layers",
        2,
        "--units",
        48,
        "--heads",
        4,
        "--sequence",
        32,
        "--global-batch",
        8,
        "--steps",
        STEPS,
        "--warmup",
        2,
        "--checkpoint-every",
        6,
        "--log-every",
        1,
        "--reduce-groups",
        groups,
    ]
    return subprocess.Popen(
        [str(part) for part in command],
        env=environment(),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> None:
    """Wait for the end; raises with the output if it is a bad one."""
    output = process.communicate()[0]
    if process.returncode:
        raise RuntimeError(output[-2000:])


def outcome(out: Path) -> tuple[dict[int, float], bytes]:
    """Loss of each step (the last one where a step ran twice) and the final weights."""
    lines = [json.loads(line) for line in (out / "metrics" / "rank-00000.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["loss"] for line in lines if "event" not in line}
    return losses, (out / "model" / "model.safetensors").read_bytes()


def repeat(folder: Path, number: int, *, ranks: int, groups: int, after: int) -> tuple[dict[int, float], bytes]:
    """Kill a run after a step, start it again, and take what comes out."""
    out = folder / f"repeat{number}"
    process = start(folder, out, ranks=ranks, groups=groups)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(f"step {after}/"):
            break
    process.kill()
    process.stdout.close()
    process.wait()
    finish(start(folder, out, ranks=ranks, groups=groups))
    found = outcome(out)
    shutil.rmtree(out)
    return found


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    generator = random.Random(args.seed)
    same = {4: 0, 0: 0}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus(folder)
        for groups, repeats in ((4, args.repeats), (0, max(1, args.repeats // 5))):
            out = folder / f"reference{groups}"
            finish(start(folder, out, ranks=args.ranks, groups=groups))
            expected = outcome(out)
            for number in range(repeats):
                found = repeat(folder, number, ranks=args.ranks, groups=groups, after=generator.randrange(1, STEPS))
                same[groups] += found == expected
                print(f"groups {groups}: {same[groups]} of {number + 1} identical", file=sys.stderr, flush=True)
    return result(
        "training_bits",
        same[4] / args.repeats,
        unit="share of resumed runs that are bit-identical",
        goal="1.0 at 4 ranks",
        holds=same[4] == args.repeats and args.ranks >= 4,
        peers={"horovod_fusion_by_timing": same[0] / max(1, args.repeats // 5)},
        runs=args.repeats,
        ranks=args.ranks,
    )


if __name__ == "__main__":
    sys.exit(main())
