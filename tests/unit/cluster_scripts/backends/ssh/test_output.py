"""A growing file as events: every line once, whatever the moments at which it is looked at."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster_scripts.backends.ssh import output
from cluster_scripts.backends.ssh.output import Place, page
from cluster_scripts.jobs.errors import InvalidArgument


def texts(content: bytes, place: Place) -> tuple[list[str], str]:
    got = page(content[place.offset :], place, now_ms=1)
    return [event.message for event in got.events], got.cursor


def test_complete_lines_are_given_and_the_rest_waits() -> None:
    assert texts("하나\n둘\n셋".encode(), Place()) == (["하나", "둘"], "11:3")
    assert texts("하나\n둘\n셋넷\n".encode(), Place(11, 3)) == (["셋넷"], "18")


def test_an_unfinished_line_that_stays_is_given_at_the_second_look() -> None:
    assert texts(b"a\nlast", Place(2)) == ([], "2:4")
    assert texts(b"a\nlast", Place(2, 4)) == (["last"], "6")
    assert texts(b"a\nlast", Place(6)) == ([], "6")


def test_empty_lines_and_carriage_returns() -> None:
    assert texts(b"\n\na\r\n10%\r20%\n\xff\n", Place()) == (["", "", "a", "20%", "\ufffd"], "15")


def test_a_line_longer_than_a_chunk_comes_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "CHUNK", 4)
    assert texts(b"abcd", Place()) == (["abcd"], "4")


@pytest.mark.parametrize("cursor", ["x", "-1", "1:x", "1:2:3", ":3"])
def test_a_strange_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidArgument):
        Place.of(cursor)


@given(
    lines=st.lists(st.text(alphabet="ab한\t ", max_size=6), max_size=8),
    cuts=st.lists(st.integers(min_value=0, max_value=200), max_size=6),
)
def test_nothing_is_lost_or_doubled_while_the_file_grows(lines: list[str], cuts: list[int]) -> None:
    content = "".join(f"{line}\n" for line in lines).encode()
    place, given_lines = Place(), []
    for end in [*sorted(min(cut, len(content)) for cut in set(cuts)), len(content), len(content)]:
        got, cursor = texts(content[:end], place)
        # looked at once only while it grows: an unfinished line is never given early
        given_lines += got
        place = Place.of(cursor)
        place = Place(place.offset, 0)
    assert given_lines == lines
