"""Korean text that any user can get: the LibreOffice help in Korean, from Debian's or Ubuntu's own package.

    python -m tools.corpus --out FILE

Downloads `libreoffice-help-ko` (MPL-2.0, The Document Foundation and contributors) with `apt-get download`, unpacks it
beside the download (nothing is installed, no root is needed), and writes one document a line. Which documents are held
out is the trainer's business. The download is kept in the user's cache.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

PACKAGE = "libreoffice-help-ko"
LICENCE = "MPL-2.0"
SKIPPED_TAGS = frozenset({"script", "style", "head", "nav", "footer", "button", "select", "svg"})
BLOCK_TAGS = frozenset(
    {"p", "div", "h1", "h2", "h3", "h4", "h5", "h6", "li", "td", "th", "tr", "br", "table", "ul", "ol"}
)
SHORTEST = 20  # characters: shorter paragraphs are menu entries
HANGUL = range(0xAC00, 0xD7A4)


class CorpusError(Exception):
    """The corpus could not be had. The text says what was tried, what came back and what to do."""


class _Paragraphs(HTMLParser):
    """Collects the visible text of a page, a paragraph for each block element."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.paragraphs: list[str] = []
        self._parts: list[str] = []
        self._skipping = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in SKIPPED_TAGS:
            self._skipping += 1
        elif tag in BLOCK_TAGS:
            self.end_paragraph()

    def handle_endtag(self, tag: str) -> None:
        if tag in SKIPPED_TAGS:
            self._skipping = max(0, self._skipping - 1)
        elif tag in BLOCK_TAGS:
            self.end_paragraph()

    def handle_data(self, data: str) -> None:
        if not self._skipping:
            self._parts.append(data)

    def end_paragraph(self) -> None:
        text = " ".join("".join(self._parts).split())
        self._parts.clear()
        if text:
            self.paragraphs.append(text)


def is_korean(text: str) -> bool:
    """Whether at least a third of the letters of `text` are Hangul syllables (the help also holds English and code)."""
    letters = [c for c in text if c.isalpha()]
    return bool(letters) and sum(ord(c) in HANGUL for c in letters) * 3 >= len(letters)


def paragraphs_of(html: str) -> list[str]:
    """The Korean paragraphs of one help page, in order."""
    parser = _Paragraphs()
    parser.feed(html)
    parser.close()
    parser.end_paragraph()
    return [p for p in parser.paragraphs if len(p) >= SHORTEST and is_korean(p)]


def documents(folder: Path) -> Iterator[str]:
    """One document a help page: its paragraphs joined by spaces, without those seen before (menus, notes)."""
    seen: set[bytes] = set()
    for page in sorted(folder.rglob("*.html")):
        fresh = []
        for paragraph in paragraphs_of(page.read_text(encoding="utf-8", errors="replace")):
            key = hashlib.blake2b(paragraph.encode(), digest_size=12).digest()
            if key not in seen:
                seen.add(key)
                fresh.append(paragraph)
        if fresh:
            yield " ".join(fresh)


def download(cache: Path) -> Path:
    """The package file, from the cache or by apt-get.

    Errors: CorpusError. Side effects: the file appears in `cache`, whole or not at all.
    """
    if kept := sorted(cache.glob(f"{PACKAGE}_*.deb")):
        return kept[-1]
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="downloading-") as scratch:
        command = ["apt-get", "-o", "APT::Sandbox::User=", "download", PACKAGE]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
        files = list(Path(scratch).glob("*.deb"))
        if done.returncode or not files:
            raise CorpusError(
                f"`apt-get download {PACKAGE}` ended with code {done.returncode}: {done.stderr.strip()[-300:]}\n"
                "Refresh the package lists (sudo apt-get update) and run this again."
            )
        return files[0].rename(cache / files[0].name)


def write(name: Path, lines: list[str]) -> None:
    """Writes `lines` to `name`, whole or not at all."""
    name.parent.mkdir(parents=True, exist_ok=True)
    temporary = name.with_name(name.name + ".part")
    with temporary.open("w", encoding="utf-8") as out:
        out.writelines(line + "\n" for line in lines)
        out.flush()
        os.fsync(out.fileno())
    temporary.rename(name)


def build(out: Path, *, cache: Path) -> int:
    """Makes the corpus; returns its size in bytes. Errors: CorpusError."""
    package = download(cache)
    with tempfile.TemporaryDirectory(dir=cache, prefix="unpacking-") as scratch:
        subprocess.run(["dpkg", "-x", str(package), scratch], check=True)
        texts = list(documents(Path(scratch) / "usr/share/libreoffice/help/ko"))
    if not texts:
        raise CorpusError(f"{package.name} holds no Korean pages where they were expected; remove it from {cache}")
    write(out, texts)
    return out.stat().st_size


def main() -> int:
    """Exit codes: 0 done; 1 the corpus could not be had."""
    parser = argparse.ArgumentParser(prog="python -m tools.corpus", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    base = os.environ.get("XDG_CACHE_HOME") or str(Path(os.environ.get("HOME") or "/var/tmp") / ".cache")
    try:
        size = build(options.out, cache=Path(base) / "dure" / "corpus")
    except CorpusError as error:
        print(f"corpus: {error}", file=sys.stderr)
        return 1
    print(f"{PACKAGE} ({LICENCE}): {size / 1e6:.1f} MB of Korean text in {options.out.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
