"""Cutting bytes into messages: nothing lost, nothing doubled, every message within CloudWatch's bounds."""

from __future__ import annotations

import random

import pytest

from cluster_scripts.backends.aws.telemetry import EVENT_OVERHEAD, MAX_BATCH_BYTES, MAX_EVENTS, MAX_MESSAGE_BYTES
from monitoring.agent.lines import Cut, cut


def whole(data: bytes, *, final: bool = True) -> list[str]:
    """All messages of `data`, in as many calls as it takes."""
    messages: list[str] = []
    within = False
    while data:
        found = cut(data, within_line=within, final=final)
        if not found.consumed:
            break
        messages += found.messages
        data, within = data[found.consumed :], found.within_line
    return messages


@pytest.mark.parametrize(
    ("data", "messages", "consumed"),
    [
        (b"", [], 0),
        (b"one\ntwo\n", ["one", "two"], 8),
        (b"one\ntw", ["one"], 4),
        (b"\n\n", [" ", " "], 2),
        (b"windows\r\n", ["windows"], 9),
        ("아버지가 방에\n".encode(), ["아버지가 방에"], 20),
        (b"a\x00b\n", ["a\x00b"], 4),
        (b"\xff\xfe\n", ["��"], 3),
        (b"half a line", [], 0),
    ],
)
def test_lines(data: bytes, messages: list[str], consumed: int) -> None:
    assert cut(data) == Cut(messages, consumed, False)


def test_an_unfinished_line_is_taken_when_it_is_final() -> None:
    assert cut(b"Continue? ", final=True) == Cut(["Continue? "], 10, True)


def test_the_end_of_a_line_that_was_taken_makes_no_message() -> None:
    assert cut(b"\nnext\n", within_line=True) == Cut(["next"], 6, False)
    assert cut(b"\r\nnext\n", within_line=True) == Cut(["next"], 7, False)
    assert cut(b"rest\n\n", within_line=True) == Cut(["rest", " "], 6, False)


def test_half_a_character_waits_even_when_final() -> None:
    data = "방".encode()
    assert cut(b"ab" + data[:2], final=True) == Cut(["ab"], 2, True)
    assert cut(data[:2], within_line=True, final=True) == Cut(["�"], 2, True), "nothing else will come"
    assert cut(data, within_line=True, final=True) == Cut(["방"], 3, True)


def test_a_progress_bar_shows_its_newest_complete_state() -> None:
    assert cut(b"\r 10%") == Cut([], 1, True)
    assert cut(b"\r 10%\r 20%\r 30%") == Cut([" 20%"], 11, True)
    assert cut(b" 30%\n", within_line=True) == Cut([" 30%"], 5, False)
    assert cut(b"\r 10%\r100%\r\nnext\n") == Cut(["100%", "next"], 17, False)


def test_a_carriage_return_at_the_end_waits_for_its_line_feed() -> None:
    assert cut(b"text\r") == Cut([], 0, False)


def test_a_line_of_the_longest_message_is_one_message() -> None:
    line = b"x" * MAX_MESSAGE_BYTES
    assert whole(line + b"\nnext\n", final=False) == [line.decode(), "next"]
    assert [len(message) for message in whole(line + b"y\n", final=False)] == [MAX_MESSAGE_BYTES, 1]


def test_a_very_long_korean_line_is_cut_between_characters() -> None:
    text = "가나다" * 100_000
    messages = whole(b"a" + text.encode() + b"\n")
    assert "".join(messages) == "a" + text
    assert all(len(message.encode()) <= MAX_MESSAGE_BYTES for message in messages)
    assert len(messages) == 4


def test_a_very_long_line_of_broken_bytes_stays_within_the_bounds() -> None:
    messages = whole(b"\xff" * 600_000 + b"\n")
    assert all(len(message.encode()) <= MAX_MESSAGE_BYTES for message in messages)
    assert sum(len(message) for message in messages) == 600_000


@pytest.mark.parametrize(
    "data", [b"\n" * 25_000, b"x" * 200 + b"\n", (b"y" * 100_000 + b"\n") * 30, b"\xff" * 3_000_000]
)
def test_what_one_call_takes_fits_one_request(data: bytes) -> None:
    found = cut(data)
    assert 1 <= len(found.messages) <= MAX_EVENTS
    assert sum(len(message.encode()) + EVENT_OVERHEAD for message in found.messages) <= MAX_BATCH_BYTES


def test_any_way_of_arriving_gives_the_same_lines() -> None:
    numbers = random.Random(3)
    lines = ["", "a", "손실 3.25", "x" * 5000, "끝\x1b[0m", "   "]
    for _ in range(200):
        chosen = [numbers.choice(lines) for _ in range(numbers.randrange(1, 20))]
        data = "".join(line + "\n" for line in chosen).encode()
        taken, arrived, messages, within = 0, 0, [], False
        while arrived < len(data):
            arrived = min(len(data), arrived + numbers.randrange(1, 4000))
            found = cut(data[taken:arrived], within_line=within)
            messages += found.messages
            taken, within = taken + found.consumed, found.within_line
        assert messages == [line or " " for line in chosen]
        assert taken == len(data)
