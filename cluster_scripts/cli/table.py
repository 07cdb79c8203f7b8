"""Tables for a terminal: columns aligned by what a terminal really shows, Korean included.

Pure: text and a width in, lines out.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

GAP = "  "
ELLIPSIS = "…"


@dataclass(frozen=True)
class Column:
    """One column of a table.

    keep:   columns with a higher number go first when the table is too wide for the terminal (0 never goes)
    shrink: the fewest cells to which its text may be cut, 0 for "never cut"
    right:  align to the right (numbers)
    """

    title: str
    keep: int = 0
    shrink: int = 0
    right: bool = False


def clean(text: str) -> str:
    """The text with control characters made visible: what comes from a cluster must not drive a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def cell_width(text: str) -> int:
    """How many cells of a terminal the text takes: 2 for wide characters, 0 for combining ones."""
    if text.isascii():
        return len(text)
    return sum(_character_width(c) for c in text)


def _character_width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    # the vowels and final consonants of decomposed Hangul join the syllable before them
    if "\u1160" <= character <= "\u11ff":
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def cut(text: str, width: int) -> str:
    """The text in at most `width` cells, with an ellipsis where something was cut."""
    if cell_width(text) <= width:
        return text
    kept, used = [], 0
    for character in text:
        used += _character_width(character)
        if used > width - 1:
            break
        kept.append(character)
    return "".join(kept) + ELLIPSIS


def pad(text: str, width: int, *, right: bool = False) -> str:
    """The text filled with spaces to `width` cells."""
    space = " " * (width - cell_width(text))
    return space + text if right else text + space


def render(columns: Sequence[Column], rows: Sequence[Sequence[str]], *, width: int | None) -> list[str]:
    """The lines of a table, heading first.

    width: cells of the terminal, or None for as wide as it gets. A table that is too wide first has its
    long texts cut as far as their columns allow, then loses whole columns, then is cut at the edge.
    """
    cells = [[clean(text) for text in row] for row in rows]
    shown = list(range(len(columns)))
    while True:
        wanted = [max(cell_width(t) for t in (columns[i].title, *(row[i] for row in cells))) for i in shown]
        widths = _fit([columns[i] for i in shown], wanted, width)
        droppable = [i for i in shown if columns[i].keep]
        if widths is not None or not droppable:
            break
        shown.remove(max(droppable, key=lambda i: (columns[i].keep, i)))
    widths = wanted if widths is None else widths
    lines = [_line([columns[i] for i in shown], [columns[i].title for i in shown], widths)]
    lines += [_line([columns[i] for i in shown], [row[i] for i in shown], widths) for row in cells]
    return lines if width is None else [cut(line, width) for line in lines]


def _fit(columns: Sequence[Column], wanted: Sequence[int], width: int | None) -> list[int] | None:
    """Widths that fit, cutting the widest column that may be cut, cell by cell; None if none do."""
    widths = list(wanted)
    if width is None:
        return widths
    over = sum(widths) + len(GAP) * (len(widths) - 1) - width
    while over > 0:
        able = [
            i
            for i, column in enumerate(columns)
            if column.shrink and widths[i] > max(column.shrink, cell_width(column.title))
        ]
        if not able:
            return None
        widths[max(able, key=lambda i: widths[i])] -= 1
        over -= 1
    return widths


def _line(columns: Sequence[Column], texts: Sequence[str], widths: Sequence[int]) -> str:
    cells = (
        pad(cut(text, width), width, right=column.right)
        for column, text, width in zip(columns, texts, widths, strict=True)
    )
    return GAP.join(cells).rstrip()
