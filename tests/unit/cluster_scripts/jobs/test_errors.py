"""One tree, and each of its errors travels by name."""

from __future__ import annotations

import pytest

from cluster_scripts.jobs import errors


@pytest.mark.parametrize("error", list(errors.travelling()), ids=lambda error: error.__name__)
def test_each_error_comes_back_from_its_kind(error: type[errors.DureError]) -> None:
    again = errors.from_kind(error.kind, "what happened")
    assert type(again) is error
    assert again.message == "what happened"
    assert again.exit_code in (1, 2, 3)


def test_kinds_are_different() -> None:
    kinds = [error.kind for error in list(errors.travelling())]
    assert len(set(kinds)) == len(kinds)


def test_each_error_is_drawn_in_the_docstring() -> None:
    for error in list(errors.travelling()):
        assert error.__name__ in (errors.__doc__ or "")


def test_unknown_kind_keeps_the_message() -> None:
    error = errors.from_kind("of_the_future", "no such thing")
    assert isinstance(error, errors.UnexpectedAnswer)
    assert "no such thing" in str(error)
    assert "of_the_future" in str(error)


def test_spec_error_lists_all_problems() -> None:
    assert errors.InvalidSpec("a", "b").problems == ("a", "b")
    assert str(errors.InvalidSpec("a", "b")) == "a; b"
