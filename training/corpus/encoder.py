"""Encode a list of sources into shards: many processes, one writer, fixed order.

The parent cuts sources into chunks, hands them to workers and appends what comes back in the order of the text. Every
time a shard is full it seals the manifest with the exact position reached; a run that was killed goes on from there
and writes the very shards that it would have written. Memory is bounded: a few chunks a worker are under way at any
time.
"""

from __future__ import annotations

import json
import multiprocessing
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from training.corpus import sources, worker
from training.corpus.manifest import Header, ManifestWriter, Progress
from training.corpus.shards import ShardWriter
from training.errors import CorpusError

QUARANTINE = "quarantine.jsonl"


@dataclass(frozen=True)
class EncodeSettings:
    """What to encode and how. ``shard_tokens`` bounds a shard; ``held_out`` is the share of documents kept for
    evaluation; ``words`` is the library of training.corpus.words, if it is to be used.
    """

    inputs: tuple[Path, ...]
    output: Path
    tokenizer: Path
    workers: int
    documents: str = "line"
    json_field: str = "text"
    held_out: float = 0.0
    deduplicate: bool = False
    shard_tokens: int = 1 << 25
    words: Path | None = None
    licence: str = ""


@dataclass
class Totals:
    """What a run has done so far. ``read_bytes`` are uncompressed bytes, ``disk_bytes`` bytes of finished and begun
    files on disk.
    """

    read_bytes: int = 0
    text_bytes: int = 0
    tokens: int = 0
    documents: int = 0
    held_out_documents: int = 0
    duplicates: int = 0
    empty: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    shards: int = 0
    files: int = 0


@dataclass(frozen=True)
class _Task:
    path: Path
    size: int
    chunk: sources.Chunk | None  # None: the source ends here
    packed: int = 0  # position in the file on disk, for progress


class Encoder:
    """One run over what is new under the inputs. Use :meth:`run` once; it holds the corpus' lock meanwhile."""

    def __init__(self, settings: EncodeSettings, *, header: Header, report: Callable[[Totals, float], None]) -> None:
        self._settings, self._header, self._report = settings, header, report
        self._totals = Totals()
        self._finished: list[tuple[str, int]] = []
        self._progress: Progress | None = None
        self._shard_sources: list[str] = []
        self._seen: set[int] = set()
        self._disk_total = 1
        self._disk_done = 0

    def run(self) -> Totals:
        """Encode everything not yet encoded and seal a new generation if anything was added."""
        with ManifestWriter(self._settings.output, header=self._header) as self._manifest:
            sealed = self._manifest.sealed
            self._number = len(sealed.shards) if sealed else 0
            self._generation = len(sealed.generations) if sealed else 0
            frozen = sealed.generations[-1] if sealed and sealed.generations else 0
            self._remove_leftovers()
            self._progress = sealed.progress if sealed else None
            self._quarantine = (self._settings.output / QUARANTINE).open("ab")
            self._quarantine.truncate(sealed.quarantine_bytes if sealed else 0)
            self._open_shards()
            try:
                pending = self._pending_sources()
                if pending:
                    self._encode_all(self._tasks(pending))
                # Also where the last shard was full, and so was closed, exactly at the end of the text
                self._close_shards(last=True, freeze=self._number > frozen)
            except BaseException:
                self._train.abandon()
                self._held.abandon()
                raise
            finally:
                self._quarantine.close()
        return self._totals

    def _remove_leftovers(self) -> None:
        """A killed run leaves temporary files and perhaps a shard that no seal names."""
        sealed = self._manifest.sealed
        known = {shard.name for shard in sealed.shards} if sealed else set()
        for path in self._settings.output.iterdir():
            if path.name.startswith(".tmp-") or (path.suffix in (".bin", ".idx") and path.stem not in known):
                path.unlink()

    def _pending_sources(self) -> list[Path]:
        done = dict(self._manifest.sealed.finished) if self._manifest.sealed else {}
        pending = []
        for path in sources.discover(self._settings.inputs):
            size = path.stat().st_size
            if str(path) not in done:
                pending.append(path)
            elif done[str(path)] != size:
                raise CorpusError(
                    f"{path} was encoded when it had {done[str(path)]} bytes and has {size} now; shards are immutable: "
                    "add new text as a new file, or encode into another --output"
                )
        self._disk_total = max(1, sources.total_bytes(pending))
        if self._settings.deduplicate and self._number:
            raise CorpusError(
                "--deduplicate sees only the documents of one run: it cannot extend a corpus; choose another --output"
            )
        return pending

    def _tasks(self, pending: list[Path]) -> Iterator[_Task]:
        separator = sources.separator_of(self._settings.documents)
        for path in pending:
            size = path.stat().st_size
            start = self._start_of(path, size)
            with sources.open_text(path) as (stream, on_disk):
                sources.skip(stream, start)
                for chunk in sources.chunks(stream, start=start, separator=separator):
                    yield _Task(path, size, chunk, on_disk())
            yield _Task(path, size, None)

    def _start_of(self, path: Path, size: int) -> int:
        at = self._progress
        if at is None or at.path != str(path):
            return 0
        if at.size != size:
            raise CorpusError(
                f"{path} changed from {at.size} to {size} bytes while it was being encoded; encode into "
                "another --output"
            )
        return at.offset

    def _encode_all(self, tasks: Iterator[_Task]) -> None:
        shared = worker.Worker(
            worker.WorkerSettings(
                self._settings.tokenizer,
                self._header.end_id,
                self._settings.words,
                sources.separator_of(self._settings.documents),
                self._settings.held_out,
                self._settings.deduplicate,
            )
        )
        waiting: deque[tuple[_Task, Future[worker.Encoded] | None]] = deque()
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(
            self._settings.workers,
            mp_context=context,
            initializer=worker.start,
            initargs=(shared, self._manifest.descriptors),
        ) as pool:
            try:
                for task in tasks:
                    waiting.append((task, self._submit(pool, task)))
                    while len(waiting) > 2 * self._settings.workers + 1:
                        self._take(*waiting.popleft())
                while waiting:
                    self._take(*waiting.popleft())
            except BrokenProcessPool as error:
                raise CorpusError(
                    "an encoding process died (out of memory?); run the same command again: it goes on where it was"
                ) from error
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _submit(self, pool: ProcessPoolExecutor, task: _Task) -> Future[worker.Encoded] | None:
        if task.chunk is None:
            return None
        return pool.submit(
            worker.encode, task.chunk, self._settings.json_field if sources.is_jsonl(task.path) else None
        )

    def _take(self, task: _Task, future: Future[worker.Encoded] | None) -> None:
        if future is None or task.chunk is None:
            self._finished.append((str(task.path), task.size))
            self._progress = None
            self._totals.files += 1
            self._disk_done += task.size
            self._report(self._totals, self._disk_done / self._disk_total)
            return
        encoded = future.result()
        if str(task.path) not in self._shard_sources:
            self._shard_sources.append(str(task.path))
        self._add(self._train, encoded.train)
        self._totals.held_out_documents += self._add(self._held, encoded.held_out)
        self._totals.empty += encoded.empty
        self._totals.read_bytes += task.chunk.end - task.chunk.offset
        for reject in encoded.rejects:
            self._totals.rejected[reject.reason] += 1
            entry = {"file": str(task.path), "offset": reject.offset, "reason": reject.reason}
            self._quarantine.write(json.dumps(entry, ensure_ascii=False).encode() + b"\n")
        self._progress = Progress(str(task.path), task.size, task.chunk.end)
        self._report(self._totals, (self._disk_done + task.packed) / self._disk_total)
        if self._train.tokens >= self._settings.shard_tokens:
            self._close_shards(last=False, freeze=False)
            self._open_shards()

    def _add(self, writer: ShardWriter, part: worker.Part) -> int:
        if part.hashes is not None:
            part = self._without_seen(part)
        text_bytes = int(part.text_sizes.sum())
        writer.add(part.tokens, part.sizes, text_bytes=text_bytes)
        self._totals.text_bytes += text_bytes
        self._totals.tokens += int(part.sizes.sum())
        self._totals.documents += len(part.sizes)
        return len(part.sizes)

    def _without_seen(self, part: worker.Part) -> worker.Part:
        assert part.hashes is not None
        keep = np.ones(len(part.sizes), np.bool_)
        for index, value in enumerate(part.hashes.tolist()):
            keep[index] = value not in self._seen
            self._seen.add(value)
        self._totals.duplicates += int((~keep).sum())
        return part.chosen(keep, token_bytes=self._header.token_bytes)

    def _open_shards(self) -> None:
        kind = np.dtype("<u2") if self._header.token_bytes == 2 else np.dtype("<i4")
        self._train = ShardWriter(self._settings.output, split="train", kind=kind)
        self._held = ShardWriter(self._settings.output, split="held-out", kind=kind)
        self._shard_sources = []

    def _close_shards(self, *, last: bool, freeze: bool) -> None:
        added = 0
        for writer in (self._train, self._held):
            if not writer.documents:
                writer.abandon()
                continue
            info = writer.close(self._number)
            self._manifest.add(info, sources=self._shard_sources, licence=self._settings.licence)
            self._number += 1
            added += 1
        self._totals.shards += added
        if last and (added or freeze):
            self._generation += 1
        if added or freeze or self._finished:
            self._quarantine.flush()
            self._manifest.seal(
                finished=self._finished,
                progress=self._progress,
                generation=self._generation if last and (added or freeze) else None,
                quarantine_bytes=self._quarantine.tell(),
            )
        self._finished = []
