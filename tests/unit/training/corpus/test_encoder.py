"""Encoding: the same ids as SentencePiece, the same shards whatever happens on the way."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import sentencepiece

from tests.unit.training.conftest import ROOT, korean_lines
from training import encode
from training.corpus import manifest, shards
from training.errors import CorpusError


def run(texts: Path, tokenizer: Path, output: Path, *more: str) -> None:
    encode.main(
        ["--input", str(texts), "--tokenizer", str(tokenizer), "--output", str(output), "--workers", "2", *more]
    )


def fingerprint(folder: Path) -> dict[str, str]:
    return {
        p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if p.suffix in (".bin", ".idx")
    }


def decoded_documents(folder: Path, split: str = "train") -> list[list[int]]:
    corpus = manifest.read(folder)
    result = []
    for info in corpus.of_generation(len(corpus.generations), split=split):
        tokens = shards.open_tokens(folder, info)
        ends = np.cumsum(shards.read_sizes(folder / f"{info.name}.idx"))
        result += [tokens[end - size : end].tolist() for end, size in zip(ends, np.diff(ends, prepend=0), strict=True)]
    return result


def test_ids_are_sentencepieces(tokenizer_folder: Path, tmp_path: Path) -> None:
    lines = korean_lines(50, seed=3)
    lines += [unicodedata.normalize("NFD", line) for line in lines[:20]]  # decomposed jamo
    lines += [
        "ＦＵＬＬ　ｗｉｄｔｈ　１２３",
        "  spaces   inside  ",
        "이모지 🎉 와 漢字",
        "㈜회사 ① ㎏",
        "tab\there",
        "\u200bzero",
    ]
    (tmp_path / "t.txt").write_text("\n".join(lines))
    run(tmp_path / "t.txt", tokenizer_folder, tmp_path / "out")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer_folder / "tokenizer.model"))
    expected = [[*processor.encode(line.strip(" \t")), 1] for line in lines]
    assert decoded_documents(tmp_path / "out") == expected


def test_a_shard_that_is_full_at_the_very_end_is_in_the_generation(tokenizer_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("\n".join(korean_lines(500, seed=3)))
    run(tmp_path / "t.txt", tokenizer_folder, tmp_path / "out", "--shard-tokens", "1024")
    corpus = manifest.read(tmp_path / "out")
    assert corpus.generations == (len(corpus.shards),)


def test_workers_and_shard_sizes(text_folder: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    run(text_folder, tokenizer_folder, tmp_path / "two", "--shard-tokens", "20000", "--held-out", "0.1")
    run(
        text_folder,
        tokenizer_folder,
        tmp_path / "one",
        "--shard-tokens",
        "20000",
        "--held-out",
        "0.1",
        "--workers",
        "1",
    )
    assert fingerprint(tmp_path / "one") == fingerprint(tmp_path / "two")
    corpus = manifest.read(tmp_path / "one")
    for info in corpus.shards:
        shards.verify(tmp_path / "one", info)
    assert {info.split for info in corpus.shards} == {"train", "held-out"}


def test_the_same_text_is_on_one_side_only(text_folder: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    run(text_folder, tokenizer_folder, tmp_path / "out", "--held-out", "0.2")  # b.txt repeats every line of a.txt
    train = {tuple(d) for d in decoded_documents(tmp_path / "out")}
    held = {tuple(d) for d in decoded_documents(tmp_path / "out", "held-out")}
    assert held
    assert not train & held


def test_duplicates_can_be_left_out(text_folder: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    run(text_folder, tokenizer_folder, tmp_path / "out", "--deduplicate")
    documents = decoded_documents(tmp_path / "out")
    assert len(documents) == len({tuple(d) for d in documents})
    lines = set((text_folder / "a.txt").read_text().splitlines())
    assert len(documents) == len(lines)


def test_new_files_become_a_new_generation(text_folder: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "1.txt").write_text("\n".join(korean_lines(100, seed=5)))
    run(texts, tokenizer_folder, tmp_path / "out")
    before = fingerprint(tmp_path / "out")
    (texts / "2.txt").write_text("\n".join(korean_lines(100, seed=6)))
    run(texts, tokenizer_folder, tmp_path / "out")
    run(texts, tokenizer_folder, tmp_path / "out")  # nothing new: nothing changes
    corpus = manifest.read(tmp_path / "out")
    assert corpus.generations == (1, 2)
    assert before.items() <= fingerprint(tmp_path / "out").items()
    (texts / "1.txt").write_text("changed")
    with pytest.raises(CorpusError, match="shards are immutable"):
        run(texts, tokenizer_folder, tmp_path / "out")


def test_bad_documents_are_quarantined(tokenizer_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(
        '{"text": "좋은 글"}\nnot json\n{"text": "또"}\n\xff\n'.encode("latin-1", "replace")
    )
    (tmp_path / "t.jsonl").write_bytes('{"text": "좋은 글"}\n'.encode() + b"not json\n\xff\xff\n\n")
    run(tmp_path / "t.jsonl", tokenizer_folder, tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()]
    assert [line["reason"] for line in lines] == ["no JSON object with a text in 'text': JSONDecodeError", "not UTF-8"]
    assert all(line["file"].endswith("t.jsonl") and line["offset"] > 0 for line in lines)


def test_a_killed_run_goes_on_to_the_very_same_shards(tokenizer_folder: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(6):
        (texts / f"{number}.txt").write_text("\n".join(korean_lines(20000, seed=number)))
    options = ["--shard-tokens", "100000", "--held-out", "0.05"]
    run(texts, tokenizer_folder, tmp_path / "whole", *options)
    command = [sys.executable, "-m", "training.encode", "--input", str(texts), "--tokenizer", str(tokenizer_folder)]
    command += ["--output", str(tmp_path / "killed"), "--workers", "2", *options]
    kills, shards_seen = 0, 0
    for _ in range(4):
        process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL)
        while len(list((tmp_path / "killed").glob("*.idx"))) <= shards_seen + 1 and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        shards_seen = len(list((tmp_path / "killed").glob("*.idx")))
    assert kills > 1  # each after the first is of a run that began within a file
    run(texts, tokenizer_folder, tmp_path / "killed", *options)
    assert fingerprint(tmp_path / "killed") == fingerprint(tmp_path / "whole")
    assert manifest.read(tmp_path / "killed").generations == manifest.read(tmp_path / "whole").generations
    assert not list((tmp_path / "killed").glob(".tmp-*"))
