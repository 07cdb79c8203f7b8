"""Tables: aligned by what a terminal shows, and no wider than it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster_scripts.cli.table import Column, cell_width, clean, cut, pad, render

COLUMNS = (Column("ID", right=True), Column("NAME", shrink=8), Column("NODES", keep=2), Column("WHY", keep=1, shrink=5))


@pytest.mark.parametrize(
    ("text", "width"),
    [("abc", 3), ("한국어", 6), ("a한b", 4), ("é", 1), ("e\u0301", 1), ("\u1112\u1161\u11ab", 2), ("", 0), ("ｱ", 1)],
)
def test_cells_are_counted_as_a_terminal_does(text: str, width: int) -> None:
    assert cell_width(text) == width


def test_wide_characters_do_not_shift_the_next_column() -> None:
    lines = render(COLUMNS, [["1", "한국어", "2", "x"], ["22", "abc", "10", "y"]], width=None)
    assert lines == ["ID  NAME    NODES  WHY", " 1  한국어  2      x", "22  abc     10     y"]
    assert cell_width(lines[1].split("2 ")[0]) == cell_width(lines[2].split("10")[0])


def test_long_texts_are_cut_before_columns_go() -> None:
    rows = [["1", "a-long-name-of-a-job", "2", "because"]]
    assert render(COLUMNS, rows, width=32) == [
        "ID  NAME          NODES  WHY",
        " 1  a-long-name…  2      because",
    ]
    assert render(COLUMNS, rows, width=26) == ["ID  NAME      NODES  WHY", " 1  a-long-…  2      beca…"]
    assert render(COLUMNS, rows, width=20) == ["ID  NAME      WHY", " 1  a-long-…  becau…"]


def test_columns_that_must_stay_stay_to_the_end() -> None:
    header, line = render(COLUMNS, [["1", "a-long-name", "2", "because"]], width=8)
    assert header.startswith("ID")
    assert cell_width(line) <= 8


def test_control_characters_are_shown_not_obeyed() -> None:
    assert clean("a\x1b[2Jb\nc") == "a\\x1b[2Jb\\nc"
    assert render(COLUMNS[:2], [["1", "x\x1b[31m"]], width=None)[1] == " 1  x\\x1b[31m"


@given(
    rows=st.lists(st.lists(st.text(max_size=30), min_size=4, max_size=4), max_size=4),
    width=st.integers(min_value=4, max_value=120),
)
def test_no_line_is_wider_than_the_terminal(rows: list[list[str]], width: int) -> None:
    assert all(cell_width(line) <= width for line in render(COLUMNS, rows, width=width))


@given(text=st.text(max_size=40), width=st.integers(min_value=1, max_value=50))
def test_a_cut_text_fits_and_is_a_beginning(text: str, width: int) -> None:
    short = cut(text, width)
    assert cell_width(short) <= width
    assert short == text or text.startswith(short.removesuffix("…"))


@given(text=st.text(alphabet="ab한글é", max_size=10))
def test_padding_fills_to_the_cell(text: str) -> None:
    assert cell_width(pad(text, 30)) == 30
    assert cell_width(pad(text, 30, right=True)) == 30
