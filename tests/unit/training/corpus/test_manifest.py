"""The append-only list: batches, torn tails, damage, locks."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.corpus import manifest
from training.corpus.manifest import Header, ManifestWriter, Progress
from training.corpus.shards import ShardInfo
from training.errors import ManifestError

HEADER = Header("aa", 512, 2, 1, "line", "text", 0.0, False)


def shard(number: int, split: str = "train") -> ShardInfo:
    return ShardInfo(f"{split}-{number:05d}-00", split, 100, 3, 400, 2, "b" * 64, "c" * 64)


def write(folder: Path, batches: int) -> bytes:
    for number in range(batches):
        with ManifestWriter(folder, header=HEADER) as writer:
            writer.add(shard(number), sources=["t.txt"], licence="")
            progress = Progress("t.txt", 1000, number * 10)
            writer.seal(finished=[(f"{number}.txt", 5)], progress=progress, generation=number + 1, quarantine_bytes=0)
    return (folder / manifest.NAME).read_bytes()


def test_generations_are_frozen_lists(tmp_path: Path) -> None:
    write(tmp_path, 3)
    found = manifest.read(tmp_path)
    assert found.generations == (1, 2, 3)
    assert [s.name for s in found.of_generation(2, split="train")] == ["train-00000-00", "train-00001-00"]
    assert found.of_generation(3, split="held-out") == []
    assert found.progress == Progress("t.txt", 1000, 20)
    with pytest.raises(ManifestError, match="has no generation 4"):
        found.of_generation(4, split="train")


def test_every_truncation_is_an_earlier_state(tmp_path: Path) -> None:
    data = write(tmp_path, 2)
    ends = [1 + data.index(b"\n", data.index(b'"generation":%d' % number)) for number in (1, 2)]
    for length in range(len(data) + 1):
        found = manifest.parse(data[:length], folder=tmp_path)
        expected = sum(length >= end for end in ends)
        assert (len(found.generations) if found else 0) == expected, length


def test_a_flipped_bit_is_never_taken_for_good(tmp_path: Path) -> None:
    data = write(tmp_path, 2)
    whole = manifest.parse(data, folder=tmp_path)
    assert whole is not None
    for position in range(0, len(data), 3):
        flipped = data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :]
        try:
            found = manifest.parse(flipped, folder=tmp_path)
        except ManifestError:
            continue
        # Only the end of the last line can fall away without a contradiction, as if it had never been written
        assert found is None or found.shards == whole.shards[: len(found.shards)]
        assert found is None or len(found.generations) < 2 or found.digest == whole.digest or position > len(data) - 100


def test_a_writer_cuts_off_a_torn_tail(tmp_path: Path) -> None:
    data = write(tmp_path, 1)
    (tmp_path / manifest.NAME).write_bytes(data + b'{"kind":"shard","na')
    assert write(tmp_path, 1).startswith(data + b'{"kind":"shard","name"')


def test_other_settings_are_refused(tmp_path: Path) -> None:
    write(tmp_path, 1)
    with pytest.raises(ManifestError, match=r"held_out is 0\.0 there, 0\.5 here"):
        ManifestWriter(tmp_path, header=Header("aa", 512, 2, 1, "line", "text", 0.5, False))


def test_only_one_writer(tmp_path: Path) -> None:
    with ManifestWriter(tmp_path, header=HEADER), pytest.raises(ManifestError, match="is writing"):
        ManifestWriter(tmp_path, header=HEADER)


def test_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"python -m training\.encode"):
        manifest.read(tmp_path)
