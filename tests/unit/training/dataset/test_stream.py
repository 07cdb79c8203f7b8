"""Global batches: the same for any number of ranks, from any position, and text that joins at the next epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.training.conftest import korean_lines
from training import encode
from training.corpus import manifest, shards
from training.dataset.records import Records
from training.dataset.stream import BatchStream, Position, Sealed
from training.errors import SettingsError

LENGTH, BATCH = 64, 8


def stream(folder: Path, *, rank: int = 0, size: int = 1, position: Position | None = None) -> BatchStream:
    made = BatchStream(
        folder,
        length=LENGTH,
        global_batch=BATCH,
        seed=3,
        rank=rank,
        size=size,
        look=lambda: Sealed(len(manifest.read(folder).shards), len(manifest.read(folder).generations)),
    )
    made.seek(position)
    return made


def take(source: BatchStream, count: int) -> list[list[list[int]]]:
    batches = []
    for _ in range(count):
        batches.append(source.read().tolist())
        source.advance()
    return batches


@pytest.mark.parametrize("size", [2, 4, 8])
def test_ranks_together_read_what_one_would(corpus_folder: Path, size: int) -> None:
    alone = stream(corpus_folder)
    count = alone.batches_per_epoch + 5  # over the end of an epoch
    expected = take(alone, count)
    parts = [take(stream(corpus_folder, rank=rank, size=size), count) for rank in range(size)]
    assert [[row for part in parts for row in part[step]] for step in range(count)] == expected


def test_any_position_can_be_gone_to_at_once(corpus_folder: Path) -> None:
    source = stream(corpus_folder)
    count = source.batches_per_epoch + 7
    positions, batches = [], []
    for _ in range(count):
        positions.append(source.position)
        batches += take(source, 1)
    for step in (0, 3, count - 8, count - 7, count - 1):
        assert take(stream(corpus_folder, position=positions[step]), 1)[0] == batches[step]


def test_an_epoch_reads_each_record_once(corpus_folder: Path) -> None:
    source = stream(corpus_folder)
    numbers: list[int] = []
    for _ in range(source.batches_per_epoch):
        numbers += source.numbers().tolist()
        source.advance()
    assert source.position.epoch == 1
    assert len(set(numbers)) == len(numbers) == source.batches_per_epoch * BATCH


def test_new_text_joins_at_the_next_epoch(tokenizer_folder: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    arguments = [
        "--input",
        str(texts),
        "--tokenizer",
        str(tokenizer_folder),
        "--output",
        str(tmp_path / "out"),
        "--workers",
        "1",
    ]
    (texts / "1.txt").write_text("\n".join(korean_lines(300, seed=1)))
    encode.main(arguments)
    undisturbed = stream(tmp_path / "out")
    first_epoch = take(undisturbed, undisturbed.batches_per_epoch)
    source = stream(tmp_path / "out")
    before = take(source, 2)
    (texts / "2.txt").write_text("\n".join(korean_lines(300, seed=2)))
    encode.main(arguments)
    rest = source.batches_per_epoch - 2
    assert before + take(source, rest) == first_epoch
    assert source.position == Position(1, 0, 2)
    assert source.batches_per_epoch > 1.5 * len(first_epoch)
    again = stream(tmp_path / "out", position=Position(0, 2, 1))
    assert take(again, rest) == first_epoch[2:]  # a resume in the old epoch still reads the old generation


def test_records_are_windows_of_their_shards(corpus_folder: Path) -> None:
    corpus = manifest.read(corpus_folder)
    infos = corpus.of_generation(1, split="train")
    records = Records(corpus_folder, infos, length=LENGTH, seed=1, epoch=0)
    tokens = shards.open_tokens(corpus_folder, infos[0])
    all_records = records.read(np.arange(records.count))
    assert all_records.shape == (records.count, LENGTH + 1)
    flat = np.concatenate([all_records[:, :-1].reshape(-1), all_records[-1:, -1]])
    starts = np.flatnonzero(
        np.lib.stride_tricks.sliding_window_view(tokens, LENGTH + 1)[:LENGTH].tolist() == all_records[0]
    )
    assert len(flat) == records.count * LENGTH + 1
    assert len(starts) > 0
    assert (all_records[1:, 0] == all_records[:-1, -1]).all()  # neighbours overlap by one id


def test_what_cannot_be_is_refused(corpus_folder: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be divided among 3 ranks"):
        stream(corpus_folder, size=3)
    big = BatchStream(
        corpus_folder, length=LENGTH, global_batch=10**6, seed=1, rank=0, size=1, look=lambda: Sealed(9, 1)
    )
    with pytest.raises(SettingsError, match="fewer than one global batch"):
        big.seek(None)
