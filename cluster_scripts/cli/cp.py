"""`dure cp`: copy files to and from the cluster's file system, by way of its bucket."""

from __future__ import annotations

import sys
import threading
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from cluster_scripts.backends.aws.cluster import AwsCluster
from cluster_scripts.backends.aws.copying import Item, Places, download, is_folder, plan_download, plan_upload, upload
from cluster_scripts.backends.choose import open_aws
from cluster_scripts.cli.options import add_json, add_target, parser, target_of
from cluster_scripts.cli.output import duration, print_json, say
from cluster_scripts.cli.wording import count
from cluster_scripts.jobs.errors import InvalidArgument

EPILOG = """\
A path of the cluster begins with a colon; /data and /fsx/data are the same
there. Folders are copied whole. What is sent appears on the file system some
seconds later, by the association of its folder with the bucket.

  dure cp corpus.txt :/data/corpus/        into the folder corpus
  dure cp shards :/data/                   the folder shards, as /data/shards
  dure cp :/data/run1/model.params .       back
"""


def run(argv: Sequence[str]) -> int:
    to = _parser()
    options = to.parse_args(argv)
    *sources, target = options.paths
    if not sources:
        to.error("name what to copy, and where to")
    sending = target.startswith(":")
    if any(source.startswith(":") == sending for source in sources):
        to.error("one side is the cluster's (its paths begin with a colon), the other this machine's")
    cluster = open_aws(target_of(options))
    items = _plan_sending(cluster, sources, target) if sending else _plan_fetching(cluster, sources, target)
    meter = Meter(items, quiet=options.json)
    (upload if sending else download)(cluster.bucket, items, progress=meter.add)
    meter.done()
    if options.json:
        total = sum(item.size for item in items)
        print_json({"files": [{"name": i.name, "key": i.key, "bytes": i.size} for i in items], "bytes": total})
    return 0


def _parser() -> ArgumentParser:
    to = parser("cp", "Copy files to and from the cluster's file system, by way of its bucket.", epilog=EPILOG)
    to.usage = "dure cp [options] SOURCE ... TARGET"
    to.add_argument("paths", nargs="+", metavar="PATH", help="the last one is the target")
    add_target(to, ssh=False)
    add_json(to)
    return to


def _plan_sending(cluster: AwsCluster, sources: Sequence[str], target: str) -> list[Item]:
    path = target[1:]
    key = Places(cluster.facts.file_system).key(path)
    roots = {association.prefix for association in cluster.facts.file_system.associations}
    into = path.endswith("/") or len(sources) > 1 or key in roots or is_folder(cluster.bucket, key)
    return [item for source in sources for item in plan_upload(Path(source), key, into=into)]


def _plan_fetching(cluster: AwsCluster, sources: Sequence[str], target: str) -> list[Item]:
    place = Path(target)
    if (len(sources) > 1 or target.endswith("/")) and not place.is_dir():
        raise InvalidArgument(f"{target!r} is no folder; make it first, or copy one thing to a new name")
    places = Places(cluster.facts.file_system)
    return [
        item
        for source in sources
        for item in plan_download(cluster.bucket, places.key(source[1:]), place, shown=source[1:])
    ]


class Meter:
    """Shows how far a copy is, on stderr; `add` may be called by several threads."""

    def __init__(self, items: Sequence[Item], *, quiet: bool) -> None:
        self._files = len(items)
        self._total = sum(item.size for item in items)
        self._done = 0
        self._start = time.monotonic()
        self._shown = self._start
        self._lock = threading.Lock()
        self._live = sys.stderr.isatty() and not quiet
        self._quiet = quiet

    def add(self, count: int) -> None:
        """So many more bytes were copied (fewer, where a part is sent again)."""
        with self._lock:
            self._done += count
            now = time.monotonic()
            if self._live and now - self._shown >= 0.2:
                self._shown = now
                sys.stderr.write(f"\r\x1b[K{self._text(now)}")
                sys.stderr.flush()

    def done(self) -> None:
        """Say what was copied."""
        if self._live:
            sys.stderr.write("\r\x1b[K")
        if not self._quiet:
            say(self._text(time.monotonic()))

    def _text(self, now: float) -> str:
        seconds = max(now - self._start, 1e-6)
        share = f" of {_size(self._total)}" if self._done < self._total else ""
        rate = f"{_size(self._done / seconds)}/s"
        return f"{count(self._files, 'file')}, {_size(self._done)}{share} in {duration(seconds)}, {rate}"


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
