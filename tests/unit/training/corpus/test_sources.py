"""Text files as documents: cuts, compression, bad lines."""

from __future__ import annotations

import gzip
import io
import json
import random
from pathlib import Path

import pytest
import zstandard

from training.corpus import sources
from training.errors import CorpusError


def cut(data: bytes, **options: int) -> list[sources.Chunk]:
    return list(sources.chunks(io.BytesIO(data), start=0, separator=b"\n", **options))


def test_chunks_cover_the_file_and_end_after_a_separator() -> None:
    data = b"".join(b"line %d\n" % number for number in range(1000)) + b"no newline at the end"
    chunks = cut(data, size=100)
    assert b"".join(chunk.data for chunk in chunks) == data
    assert all(chunk.data.endswith(b"\n") for chunk in chunks[:-1])
    assert [chunk.end for chunk in chunks[:-1]] == [chunk.offset for chunk in chunks[1:]]


@pytest.mark.parametrize("giants", [False, True])
def test_cuts_are_the_same_from_any_chunk_boundary(giants: bool) -> None:
    generator = random.Random(7)
    lines = [b"x" * generator.choice([1, 9, 63, 128, 200, 5000 if giants else 40]) for _ in range(400)]
    for data in (b"\n".join(lines), b"\n".join(lines) + b"\n"):
        whole = cut(data, size=128, longest=1000)
        assert any(chunk.too_long for chunk in whole) == giants
        for number, chunk in enumerate(whole):
            stream = io.BytesIO(data)
            stream.seek(chunk.end)
            rest = sources.chunks(stream, start=chunk.end, separator=b"\n", size=128, longest=1000)
            assert list(rest) == whole[number + 1 :]


def test_a_giant_line_is_skipped_without_being_kept() -> None:
    data = b"good\n" + b"x" * 5000 + b"\nalso good\nlast"
    chunks = cut(data, size=64, longest=1000)
    assert [chunk.too_long for chunk in chunks].count(True) == 1
    assert max(len(chunk.data) for chunk in chunks) < 1200
    assert b"".join(chunk.data for chunk in chunks) == b"good\nalso good\nlast"
    skipped = next(chunk for chunk in chunks if chunk.too_long)
    assert (skipped.offset, skipped.end) == (5, 5 + 5001)


def test_a_giant_line_at_the_end_of_the_file() -> None:
    chunks = cut(b"good\n" + b"y" * 5000, size=64, longest=1000)
    assert chunks[-1].too_long
    assert chunks[-1].end == 5005


def test_bad_lines_are_listed_with_their_position() -> None:
    data = b"fine\n\xff\xfe\nnul\0here\n\n  \nalso fine\n"
    found = sources.documents(sources.Chunk(data, 100, 100 + len(data)), separator=b"\n", json_field=None)
    assert found.texts == ["fine", "also fine"]
    assert found.empty == 2
    assert [(reject.offset, reject.reason) for reject in found.rejects] == [(105, "not UTF-8"), (108, "holds a NUL")]
    assert data[reject_at(found, 1) - 100 :].startswith(b"nul")


def reject_at(found: sources.Documents, number: int) -> int:
    return found.rejects[number].offset


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"other": "x"}', b'{"text": 3}', b"nothing", b"[" * 5000])
def test_a_bad_json_line_is_rejected(line: bytes) -> None:
    found = sources.documents(sources.Chunk(line + b"\n", 0, len(line) + 1), separator=b"\n", json_field="text")
    assert found.texts == []
    assert "no JSON object" in found.rejects[0].reason


def test_json_text_counts_its_own_bytes() -> None:
    line = json.dumps({"text": "가나다"}).encode()
    found = sources.documents(sources.Chunk(line, 0, len(line)), separator=b"\n", json_field="text")
    assert (found.texts, found.sizes) == (["가나다"], [9])


def test_blank_lines_can_separate_documents() -> None:
    data = "한 줄\n두 줄\n\n다음 글\n".encode()
    found = sources.documents(
        sources.Chunk(data, 0, len(data)), separator=sources.separator_of("blank"), json_field=None
    )
    assert found.texts == ["한 줄\n두 줄", "다음 글"]


def test_compressed_files_read_alike(tmp_path: Path) -> None:
    data = "압축된 글\n".encode() * 1000
    (tmp_path / "a.txt").write_bytes(data)
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(data))
    (tmp_path / "c.txt.zst").write_bytes(zstandard.compress(data))
    for path in sources.discover([tmp_path]):
        with sources.open_text(path) as (stream, position):
            sources.skip(stream, 13)
            assert stream.read() == data[13:], path.name
            assert position() == path.stat().st_size


def test_discover_names_what_it_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "book.pdf").write_bytes(b"x")
    with pytest.raises(CorpusError, match="cannot read this kind of file"):
        sources.discover([tmp_path / "book.pdf"])
    with pytest.raises(CorpusError, match="does not exist"):
        sources.discover([tmp_path / "none.txt"])
    with pytest.raises(CorpusError, match="holds no text"):
        sources.discover([tmp_path])
