"""Text files as streams of documents, in bounded memory.

A source is a ``.txt`` or ``.jsonl`` file, plain or compressed (``.gz``, ``.zst``). It is cut into chunks of half a
megabyte that end where a document ends; where the cuts lie depends on the file alone, so any number of workers yields
the same documents in the same order. Positions are byte offsets in the uncompressed text.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from training.errors import CorpusError

SUFFIXES = tuple(base + packed for base in (".txt", ".jsonl") for packed in ("", ".gz", ".zst"))
CHUNK_BYTES = 1 << 19
_BLANK = b"\r\n \t"
LONGEST_DOCUMENT = 4 << 20
"""A longer document is quarantined: one line of a gigabyte must not take the memory of a node."""


@dataclass(frozen=True)
class Chunk:
    """Whole documents of one file: ``data`` starts at ``offset``, the next chunk at ``end``. ``too_long`` marks a
    skipped document.
    """

    data: bytes
    offset: int
    end: int
    too_long: bool = False


@dataclass(frozen=True)
class Reject:
    """One document that was left out: where it lies and why."""

    offset: int
    reason: str


@dataclass
class Documents:
    """The documents of one chunk: UTF-8 texts without the separator, and what was left out."""

    texts: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    empty: int = 0


def add_options(parser: argparse.ArgumentParser) -> None:
    """What every program that reads sources asks for: ``--input`` and ``--json-field``."""
    parser.add_argument(
        "--input",
        type=Path,
        nargs="+",
        required=True,
        help="files or folders (.txt, .jsonl, also .gz and .zst)",
    )
    parser.add_argument("--json-field", default="text", help="field of .jsonl objects that holds the text")


def discover(paths: Iterable[Path]) -> list[Path]:
    """All sources under files and folders, sorted by path; CorpusError if a path holds none or has a suffix that is
    not known.
    """
    found: set[Path] = set()
    for path in paths:
        if path.is_dir():
            inside = [
                p for p in path.rglob("*") if p.is_file() and p.name.endswith(SUFFIXES) and not p.name.startswith(".")
            ]
            if not inside:
                raise CorpusError(f"{path} holds no text: looked for {', '.join('*' + s for s in SUFFIXES)}")
            found.update(inside)
        elif not path.is_file():
            raise CorpusError(f"{path} does not exist")
        elif not path.name.endswith(SUFFIXES):
            raise CorpusError(f"{path}: cannot read this kind of file; use {', '.join(SUFFIXES)}")
        else:
            found.add(path)
    return sorted(found)


def is_jsonl(path: Path) -> bool:
    """Whether the documents of `path` are JSON objects, one a line."""
    return ".jsonl" in path.suffixes[-2:]


@contextlib.contextmanager
def open_text(path: Path) -> Iterator[tuple[BinaryIO, Callable[[], int]]]:
    """The uncompressed bytes of a source, and a function that says how many bytes on disk have been read so far."""
    with path.open("rb") as raw:
        if path.suffix == ".gz":
            with gzip.open(raw, "rb") as unpacked:
                yield cast("BinaryIO", unpacked), raw.tell
        elif path.suffix == ".zst":
            import zstandard  # only for those who have such files

            with zstandard.open(raw, "rb") as unpacked:
                yield cast("BinaryIO", unpacked), raw.tell
        else:
            yield raw, raw.tell


def skip(stream: BinaryIO, count: int) -> None:
    """Move `count` bytes on in a stream that may not be able to seek backwards."""
    if count and stream.seekable():
        stream.seek(count)
        return
    while count:
        block = stream.read(min(count, CHUNK_BYTES))
        if not block:
            raise CorpusError(
                f"the source ended {count} bytes before the position where the last run stopped: was it replaced?"
            )
        count -= len(block)


def chunks(
    stream: BinaryIO,
    *,
    start: int,
    separator: bytes,
    size: int = CHUNK_BYTES,
    longest: int = LONGEST_DOCUMENT,
) -> Iterator[Chunk]:
    """Cut a stream that stands at `start` into chunks that end after a separator (or at the end of the file).

    `start` is 0 or where a chunk ended: blocks end at multiples of `size` in the file, not in the stream, so the chunks
    are those that a run from 0 would have yielded from there on.
    """
    held, offset = stream.read(-start % size), start
    while block := stream.read(size):
        held += block
        cut = held.rfind(separator)
        if cut >= 0:
            data, held = held[: cut + len(separator)], held[cut + len(separator) :]
            yield Chunk(data, offset, offset + len(data))
            offset += len(data)
        if len(held) > longest:
            lost, held = _drop_document(stream, held, separator=separator, size=size)
            yield Chunk(b"", offset, offset + lost, too_long=True)
            offset += lost
    if held:
        yield Chunk(held, offset, offset + len(held))


def _drop_document(stream: BinaryIO, held: bytes, *, separator: bytes, size: int) -> tuple[int, bytes]:
    """Read on to the next separator without keeping anything: (bytes dropped, what follows)."""
    dropped, tail = 0, held
    while block := stream.read(size):
        dropped += max(0, len(tail) - len(separator))
        tail = tail[-len(separator) :] + block
        cut = tail.find(separator)
        if cut >= 0:
            return dropped + cut + len(separator), tail[cut + len(separator) :]
    return dropped + len(tail), b""


def documents(chunk: Chunk, *, separator: bytes, json_field: str | None) -> Documents:
    """Split a chunk; what is not clean UTF-8 without NUL, or no JSON with that text field, is listed in ``rejects``."""
    result = Documents()
    if chunk.too_long:
        result.rejects.append(Reject(chunk.offset, f"longer than {LONGEST_DOCUMENT} bytes"))
        return result
    if json_field is None and _take_clean(result, chunk.data, separator=separator):
        return result
    offset = chunk.offset
    for raw in chunk.data.split(separator):
        line = raw.strip(_BLANK)
        if not line:
            result.empty += 1
        else:
            _take(result, line, offset=offset, json_field=json_field)
        offset += len(raw) + len(separator)
    if chunk.data.endswith(separator):
        result.empty -= 1  # what follows the last separator is the next chunk's
    return result


def _take_clean(result: Documents, data: bytes, *, separator: bytes) -> bool:
    """Take a whole chunk in which nothing is wrong (nearly all are), at a third of the cost; False if something is."""
    if b"\0" in data:
        return False
    lines = [raw.strip(_BLANK) for raw in data.split(separator)]
    try:
        texts = [line.decode() for line in lines]
    except UnicodeError:
        return False
    kept = [index for index, text in enumerate(texts) if text and not text.isspace()]
    result.texts = [texts[index] for index in kept]
    result.sizes = [len(lines[index]) for index in kept]
    result.empty = len(lines) - len(kept) - data.endswith(separator)
    return True


def _take(result: Documents, line: bytes, *, offset: int, json_field: str | None) -> None:
    try:
        text = line.decode()
        if json_field is not None:
            text = json.loads(text)[json_field]
            if not isinstance(text, str):
                raise TypeError(f"{json_field} is {type(text).__name__}")
            size = len(text.encode())
        else:
            size = len(line)
    except UnicodeError:
        result.rejects.append(Reject(offset, "not UTF-8"))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        result.rejects.append(Reject(offset, f"no JSON object with a text in {json_field!r}: {type(error).__name__}"))
    else:
        if "\0" in text:
            result.rejects.append(Reject(offset, "holds a NUL"))
        elif not text.strip():
            result.empty += 1
        else:
            result.texts.append(text)
            result.sizes.append(size)


def separator_of(documents_are: str) -> bytes:
    """The bytes between documents for ``--documents line`` or ``blank``."""
    return {"line": b"\n", "blank": b"\n\n"}[documents_are]


def total_bytes(paths: Sequence[Path]) -> int:
    """Size on disk, for progress."""
    return sum(path.stat().st_size for path in paths)
