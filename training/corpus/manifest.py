"""The append-only list of a corpus' shards.

``manifest.jsonl`` holds one JSON object a line, in batches. A batch is appended by one write and ends with a *seal*:
a line with the SHA-256 of everything before it, its own other fields included. Whoever reads takes all up to the last
seal: a batch torn by a crash was never there, and any other damage is an error. A *generation* is the frozen list of
all shards sealed so far; its number never changes meaning.

    {"kind": "corpus", ...}  first line: what :class:`Header` names
    {"kind": "shard", ...}   what :class:`training.corpus.shards.ShardInfo` names, and "sources", "licence"
    {"kind": "seal", "finished": [{"path", "size"}], "progress": {"path", "size", "offset"} or null,
     "generation": n or null, "quarantine_bytes", "sha256"}
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from training.corpus.shards import ShardInfo
from training.errors import ManifestError

NAME = "manifest.jsonl"
_CHECKSUM = b',"sha256":'  # the last field of a seal


@dataclass(frozen=True)
class Header:
    """What all shards of a corpus have in common. ``held_out`` is the share of documents kept for evaluation."""

    tokenizer_sha256: str
    vocabulary: int
    token_bytes: int
    end_id: int
    documents: str
    json_field: str | None
    held_out: float
    deduplicated: bool
    version: int = 1


@dataclass(frozen=True)
class Progress:
    """A source that is encoded up to ``offset`` of its uncompressed bytes."""

    path: str
    size: int
    offset: int


@dataclass(frozen=True)
class Manifest:
    """A sealed state of the list. ``generations[i]`` is the number of shards of generation ``i + 1``."""

    folder: Path
    header: Header
    shards: tuple[ShardInfo, ...]
    generations: tuple[int, ...]
    finished: tuple[tuple[str, int], ...]
    progress: Progress | None
    quarantine_bytes: int
    length: int
    digest: str

    def of_generation(self, number: int, *, split: str) -> list[ShardInfo]:
        """The shards of one split in generation `number` (1 is the first), in their fixed order."""
        if not 1 <= number <= len(self.generations):
            raise ManifestError(
                f"{self.folder / NAME} has no generation {number}, only 1 to {len(self.generations)}: was "
                "an older copy restored?"
            )
        return [shard for shard in self.shards[: self.generations[number - 1]] if shard.split == split and shard.tokens]


def read(folder: Path) -> Manifest:
    """The sealed part of a manifest; ManifestError when there is none or a sealed byte has changed."""
    path = folder / NAME
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ManifestError(
            f"{folder} holds no encoded corpus ({error}); make one with python -m training.encode"
        ) from error
    manifest = parse(data, folder=folder)
    if manifest is None:
        raise ManifestError(
            f"{path} has no sealed entry yet: the first encode has not finished, or was killed; run it again"
        )
    return manifest


def parse(data: bytes, *, folder: Path) -> Manifest | None:
    """Pure part of :func:`read`: None when nothing is sealed."""
    header: Header | None = None
    shards: list[ShardInfo] = []
    sealed: Manifest | None = None
    generations: list[int] = []
    finished: list[tuple[str, int]] = []
    digest, position, total = hashlib.sha256(), 0, len(data)
    while position < total and (end := data.find(b"\n", position)) >= 0:
        entry = _parse_line(data[position:end], folder=folder, position=position)
        if entry["kind"] == "corpus":
            header = _build(Header, entry, folder=folder)
        elif entry["kind"] == "shard":
            shards.append(_build(ShardInfo, entry, folder=folder))
        elif header is None or not _seals(data[position:end], entry, digest):
            raise ManifestError(
                f"{folder / NAME} is damaged before byte {end}: its own checksum does not fit; "
                "restore it from the bucket"
            )
        digest.update(data[position : end + 1])
        position = end + 1
        if entry["kind"] == "seal":
            assert header is not None
            finished += [(item["path"], item["size"]) for item in entry["finished"]]
            if entry["generation"] is not None:
                generations.append(len(shards))
            progress = Progress(**entry["progress"]) if entry["progress"] else None
            sealed = Manifest(
                folder,
                header,
                tuple(shards),
                tuple(generations),
                tuple(finished),
                progress,
                entry["quarantine_bytes"],
                position,
                digest.hexdigest(),
            )
    return sealed


def _parse_line(line: bytes, *, folder: Path, position: int) -> dict[str, Any]:
    try:
        entry = json.loads(line)
        if entry["kind"] not in ("corpus", "shard", "seal"):
            raise ValueError(f"kind {entry['kind']!r}")
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestError(
            f"{folder / NAME} is damaged at byte {position}: {error}; restore it from the bucket"
        ) from error
    return dict(entry)


def _seals(line: bytes, entry: dict[str, Any], before: Any) -> bool:
    """Whether a seal's checksum is that of everything before it and of its own other fields."""
    digest = before.copy()
    digest.update(line[: line.rfind(_CHECKSUM)])
    return bool(entry.get("sha256") == digest.hexdigest())


def _build(kind: type[Any], entry: dict[str, Any], *, folder: Path) -> Any:
    try:
        return kind(**{f.name: entry[f.name] for f in fields(kind)})
    except KeyError as error:
        raise ManifestError(
            f"{folder / NAME}: a {entry['kind']} entry lacks {error}; restore it from the bucket"
        ) from error


class ManifestWriter:
    """The one writer of a corpus. Holds a lock on the folder from creation to :meth:`close`; cuts off a torn tail."""

    def __init__(self, folder: Path, *, header: Header) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = (folder / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise ManifestError(
                f"another training.encode is writing {folder}; wait for it or choose another --output"
            ) from error
        self.path = folder / NAME
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        data = self.path.read_bytes()
        self.sealed = parse(data, folder=folder)
        self._digest = hashlib.sha256(data[: self.sealed.length if self.sealed else 0])
        os.ftruncate(self._descriptor, self.sealed.length if self.sealed else 0)
        os.lseek(self._descriptor, 0, os.SEEK_END)
        if self.sealed is None:
            self._pending = [{"kind": "corpus", **asdict(header)}]
        else:
            self._pending = []
            self._refuse_difference(header)

    def _refuse_difference(self, header: Header) -> None:
        assert self.sealed is not None
        old, new = asdict(self.sealed.header), asdict(header)
        wrong = [f"{key} is {old[key]!r} there, {new[key]!r} here" for key in old if old[key] != new[key]]
        if wrong:
            self.close()
            raise ManifestError(
                f"{self.path} was begun with other settings: {'; '.join(wrong)}; choose another --output"
            )

    def add(self, shard: ShardInfo, *, sources: list[str], licence: str) -> None:
        """Put a finished shard into the next batch."""
        self._pending.append({"kind": "shard", **asdict(shard), "sources": sources, "licence": licence})

    def seal(
        self,
        *,
        finished: list[tuple[str, int]],
        progress: Progress | None,
        generation: int | None,
        quarantine_bytes: int,
    ) -> None:
        """Append the batch with one write and sync it."""
        lines = b"".join(_line(entry) for entry in self._pending)
        self._digest.update(lines)
        seal = _line(
            {
                "kind": "seal",
                "finished": [{"path": path, "size": size} for path, size in finished],
                "progress": asdict(progress) if progress else None,
                "generation": generation,
                "quarantine_bytes": quarantine_bytes,
            }
        )[: -len(b"}\n")]
        digest = self._digest.copy()
        digest.update(seal)
        seal += _CHECKSUM + b'"' + digest.hexdigest().encode() + b'"}\n'
        self._digest.update(seal)
        data = lines + seal
        while data:
            data = data[os.write(self._descriptor, data) :]
        os.fsync(self._descriptor)
        self._pending = []

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Open files that a forked child must close: one that outlives this process would go on holding the lock."""
        return (self._lock.fileno(), self._descriptor)

    def close(self) -> None:
        """Release the lock."""
        os.close(self._descriptor)
        self._lock.close()

    def __enter__(self) -> ManifestWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
