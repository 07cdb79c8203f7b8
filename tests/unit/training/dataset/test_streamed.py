"""The streamed order: a run that began during the encoding reads the batches of one that began after it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.unit.training.conftest import ROOT, korean_lines, pretrain_arguments
from training import encode
from training.corpus import manifest
from training.dataset.order import Streamed
from training.dataset.stream import BatchStream, Position, Sealed
from training.errors import ManifestError, SettingsError
from training.options import wait_for_corpus

LENGTH, BATCH = 32, 8


def test_more_shards_move_no_record() -> None:
    counts = [5, 1, 130, 7]
    whole = Streamed(counts, seed=3, epoch=0, generation=1)(np.arange(143, dtype=np.uint64))
    assert sorted(whole.tolist()) == list(range(143))
    first = 0
    for shards, count in enumerate(counts, 1):
        part = Streamed(counts[:shards], seed=3, epoch=0, generation=1)(np.arange(first + count, dtype=np.uint64))
        assert part.tolist() == whole[: first + count].tolist()
        assert sorted(part[first:].tolist()) == list(range(first, first + count))
        first += count
    other = Streamed(counts, seed=4, epoch=0, generation=1)(np.arange(143, dtype=np.uint64))
    assert whole.tolist() != other.tolist()


@pytest.fixture(scope="module")
def many(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of many shards in one generation, some of them held out."""
    folder = tmp_path_factory.mktemp("many")
    write_texts(folder / "text", files=12)
    encode.main(encode_arguments(folder / "tokens", folder / "text", tokenizer_folder))
    return folder / "tokens"


def write_texts(folder: Path, *, files: int) -> None:
    """Files of about 30 KB: a shard is closed between files or chunks of them."""
    folder.mkdir()
    for number in range(files):
        (folder / f"{number:03d}.txt").write_text("\n".join(korean_lines(500, seed=number)) + "\n")


def encode_arguments(output: Path, text: Path, tokenizer: Path) -> list[str]:
    arguments = {"input": text, "tokenizer": tokenizer, "output": output, "held-out": 0.05, "shard-tokens": 4096}
    return [str(part) for key, value in arguments.items() for part in (f"--{key}", value)] + ["--workers", "1"]


class Growing:
    """A copy of a corpus whose manifest is let grow seal by seal, as an encoder's does."""

    def __init__(self, whole: Path, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(whole, folder)
        self._lines = (whole / manifest.NAME).read_bytes().splitlines(keepends=True)
        self._ends = [n + 1 for n, line in enumerate(self._lines) if json.loads(line)["kind"] == "seal"]
        self.grow(1)

    @property
    def seals(self) -> int:
        return len(self._ends)

    def grow(self, seals: int) -> None:
        (self.folder / manifest.NAME).write_bytes(b"".join(self._lines[: self._ends[seals - 1]]))


def stream(folder: Path, *, rank: int = 0, size: int = 1, position: Position | None = None) -> BatchStream:
    def look() -> Sealed:
        corpus = manifest.read(folder)
        return Sealed(len(corpus.shards), len(corpus.generations))

    made = BatchStream(
        folder, length=LENGTH, global_batch=BATCH, seed=3, rank=rank, size=size, look=look, order="streamed"
    )
    made.seek(position)
    return made


def test_batches_are_those_of_a_finished_corpus(many: Path, tmp_path: Path) -> None:
    growing = Growing(many, tmp_path / "tokens")
    assert growing.seals > 4
    after, during = stream(many), stream(growing.folder)
    count = after.batches_per_epoch + 5  # over the end of the epoch, where the order becomes the global one
    seals, waits, resumed = 1, 0, 0
    for number in range(count):
        assert after.ready()
        while not during.ready():
            waits, seals = waits + 1, seals + 1
            growing.grow(seals)
        assert during.read().tolist() == after.read().tolist(), number
        during.advance()
        after.advance()
        if number % 20 == 7:  # as if killed here: a position is all that a checkpoint keeps
            during, resumed = stream(growing.folder, position=during.position), resumed + 1
    assert waits == growing.seals - 1
    assert resumed > 3
    assert after.position.epoch == during.position.epoch == 1


def test_an_epoch_reads_each_record_once_on_any_number_of_ranks(many: Path) -> None:
    alone, parts = stream(many), [stream(many, rank=rank, size=4) for rank in range(4)]
    seen: list[int] = []
    for _ in range(alone.batches_per_epoch):
        seen += alone.numbers().tolist()
        assert [row for part in parts for row in part.read().tolist()] == alone.read().tolist()
        for one in (alone, *parts):
            one.advance()
    assert len(set(seen)) == len(seen)


def test_what_is_left_out_is_passed_over(many: Path, tmp_path: Path) -> None:
    growing = Growing(many, tmp_path / "tokens")
    plain, leaving = stream(many), stream(growing.folder)
    leaving.leave_out([(0, 1), (0, 2)])
    growing.grow(growing.seals)
    taken = []
    for _ in range(plain.batches_per_epoch - 2):
        assert leaving.ready()
        taken.append(leaving.position.batch)
        leaving.advance()
    assert taken == [0, *range(3, plain.batches_per_epoch)]
    assert leaving.position == Position(1, 0, 1)


def test_the_global_order_waits_for_the_end_of_encoding(many: Path, tmp_path: Path) -> None:
    growing = Growing(many, tmp_path / "tokens")
    made = BatchStream(
        growing.folder, length=LENGTH, global_batch=BATCH, seed=3, rank=0, size=1, look=lambda: Sealed(1, 0)
    )
    with pytest.raises(SettingsError, match=r"still being encoded.*--order streamed"):
        made.seek(None)


def test_a_run_may_begin_before_the_first_shard(many: Path, tmp_path: Path) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            shutil.copytree(many, tmp_path / "tokens")

    assert wait_for_corpus(tmp_path / "tokens", seconds=5, sleep=sleep).vocabulary == 512
    assert len(slept) == 3
    with pytest.raises(ManifestError, match="no encoded corpus"):
        wait_for_corpus(tmp_path / "nothing", seconds=2, sleep=slept.append)


def losses(metrics: Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (metrics / "rank-00000.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "event" not in line}


def start(module: str, arguments: list[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", f"training.{module}", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def arguments_of(corpus: Path, tokenizer: Path, output: Path, **changes: object) -> list[str]:
    return pretrain_arguments(corpus, tokenizer, output, order="streamed", evaluate_every=20, steps=40, **changes)


def test_a_real_run_beside_a_real_encoder(tokenizer_folder: Path, tmp_path: Path) -> None:
    """The encoder is stopped after its first seals; the run trains on them, waits, and goes on when it goes on."""
    text, tokens = tmp_path / "text", tmp_path / "tokens"
    write_texts(text, files=40)
    encoder = start("encode", encode_arguments(tokens, text, tokenizer_folder))
    while not (tokens / manifest.NAME).exists() or not (tokens / manifest.NAME).stat().st_size:
        time.sleep(0.002)
    encoder.send_signal(signal.SIGSTOP)
    assert not manifest.read(tokens).generations  # it has not ended
    during = start("pretrain", arguments_of(tokens, tokenizer_folder, tmp_path / "during"))
    assert during.stdout is not None
    for line in during.stdout:
        if line.startswith("step 2/"):
            break
    assert not manifest.read(tokens).generations
    encoder.send_signal(signal.SIGCONT)
    rest = during.communicate(timeout=100)[0]
    assert during.returncode == 0, rest
    encoder.communicate(timeout=100)
    after = start("pretrain", arguments_of(tokens, tokenizer_folder, tmp_path / "after"))
    rest = after.communicate(timeout=100)[0]
    assert after.returncode == 0, rest
    assert losses(tmp_path / "during" / "metrics") == losses(tmp_path / "after" / "metrics")
    models = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("during", "after")]
    assert models[0] == models[1]


def test_no_new_shard_for_too_long_is_an_error(many: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    growing = Growing(many, tmp_path / "tokens")
    waiting = start(
        "pretrain", arguments_of(growing.folder, tokenizer_folder, tmp_path, wait_for_text=1, global_batch=64)
    )
    output = waiting.communicate(timeout=60)[0]
    assert waiting.returncode == 1, output
    assert "got no new shard for 1 s and its encoding has not ended" in output


def test_sigterm_while_it_waits_means_code_75(many: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    growing = Growing(many, tmp_path / "tokens")
    waiting = start("pretrain", arguments_of(growing.folder, tokenizer_folder, tmp_path, global_batch=64))
    assert waiting.stdout is not None
    last = 0
    for line in waiting.stdout:
        if line.startswith("step "):
            last = int(line.split()[1].split("/")[0])
        if last == 1:
            time.sleep(1.5)  # by now it waits for text
            waiting.send_signal(signal.SIGTERM)
            break
    output = waiting.communicate(timeout=60)[0]
    assert waiting.returncode == 75, output
    assert "stopped by SIGTERM after step" in output
