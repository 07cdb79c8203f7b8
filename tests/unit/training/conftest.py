"""What the trainer's tests share: a small Korean-looking text, its tokenizer and corpus, and a way to start ranks."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

# Set before any test loads OpenBLAS: one thread, and waiting threads that sleep
os.environ.update({"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"})

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # mxnet 1.9.1 uses names that numpy will drop
    import mxnet  # noqa: F401

ROOT = Path(__file__).parents[3]
SYLLABLES = [chr(code) for code in range(0xAC00, 0xD7A4, 173)]


def korean_lines(count: int, *, seed: int) -> list[str]:
    """Lines of made-up words with a skewed distribution: something a model can learn."""
    generator = random.Random(seed)
    words = ["".join(generator.choices(SYLLABLES, k=generator.randint(1, 4))) for _ in range(300)]
    weights = [1 / (rank + 1) for rank in range(len(words))]
    return [" ".join(generator.choices(words, weights, k=generator.randint(3, 12))) + "." for _ in range(count)]


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two text files, about 200 KB."""
    folder = tmp_path_factory.mktemp("text")
    for name, seed in (("a.txt", 1), ("b.txt", 1)):
        lines = korean_lines(2500, seed=seed)
        (folder / name).write_text("\n".join(lines if name == "a.txt" else reversed(lines)) + "\n")
    return folder


@pytest.fixture(scope="session")
def tokenizer_folder(text_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of 512 pieces with byte fallback."""
    from training import tokenizer

    folder = tmp_path_factory.mktemp("tokenizer") / "tok"
    tokenizer.main(
        [
            "--input",
            str(text_folder),
            "--output",
            str(folder),
            "--vocabulary",
            "512",
            "--byte-fallback",
            "--threads",
            "1",
        ]
    )
    return folder


@pytest.fixture(scope="session")
def corpus_folder(text_folder: Path, tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The text encoded, a twentieth held out."""
    from training import encode

    folder = tmp_path_factory.mktemp("corpus") / "tokens"
    encode.main(
        [
            "--input",
            str(text_folder),
            "--tokenizer",
            str(tokenizer_folder),
            "--output",
            str(folder),
            "--held-out",
            "0.05",
            "--workers",
            "1",
        ]
    )
    return folder


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


Launch = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="session")
def launch() -> Launch:
    """Start `ranks` ranks of training.pretrain with these arguments; the caller waits for the process."""

    def start(ranks: int, arguments: Sequence[str]) -> subprocess.Popen[str]:
        program = [sys.executable, "-m", "training.pretrain", *arguments]
        if ranks > 1:
            launcher = [
                sys.executable,
                "-m",
                "training.launch",
                "--local",
                str(ranks),
                "--port",
                str(free_port()),
                "--",
            ]
            program = launcher + program
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(program, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    return start


def pretrain_arguments(corpus: Path, tokenizer: Path, output: Path, **changes: Any) -> list[str]:
    """Arguments of a run of a second or two."""
    values: dict[str, object] = {
        "data": corpus,
        "tokenizer": tokenizer,
        "output": output / "model",
        "metrics": output / "metrics",
        "layers": 1,
        "units": 32,
        "heads": 2,
        "sequence": 32,
        "global_batch": 8,
        "steps": 12,
        "warmup": 2,
        "checkpoint_every": 5,
        "log_every": 1,
        "evaluate_tokens": 2000,
        **changes,
    }
    return [part for key, value in values.items() for part in (f"--{key.replace('_', '-')}", str(value))]
