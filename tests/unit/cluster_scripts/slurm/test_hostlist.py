"""Slurm's short form of many hosts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster_scripts.slurm.hostlist import MAX_HOSTS, compress, expand


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("", ()),
        ("(null)", ()),
        ("gpu-1", ("gpu-1",)),
        ("gpu-[1-3],cpu-1", ("gpu-1", "gpu-2", "gpu-3", "cpu-1")),
        ("gpu-[2,4-5,9]", ("gpu-2", "gpu-4", "gpu-5", "gpu-9")),
        ("n[008-010]", ("n008", "n009", "n010")),
        ("r[1-2]n[1-2]", ("r1n1", "r1n2", "r2n1", "r2n2")),
        ("a[1]b", ("a1b",)),
        ("ip-10-0-0-10", ("ip-10-0-0-10",)),
    ],
)
def test_expands_what_slurm_writes(text: str, hosts: tuple[str, ...]) -> None:
    assert expand(text) == hosts


@pytest.mark.parametrize(
    "text",
    [
        "a[",
        "a]",
        "a[1",
        "a[[1]]",
        "a[x]",
        "a[3-1]",
        "a,,b",
        "a b",
        "a;b",
        f"a[1-{MAX_HOSTS + 2}]",
        "a[1-60000]b[1-9]",
        "[1-",
    ],
)
def test_refuses_the_rest_with_the_text(text: str) -> None:
    with pytest.raises(ValueError, match="hostlist"):
        expand(text)


def test_compresses_to_ranges() -> None:
    assert compress(["gpu-2", "gpu-1", "gpu-10", "gpu-3", "head"]) == "head,gpu-[1-3,10]"
    assert compress(["gpu-1", "gpu-1"]) == "gpu-1"
    assert compress(["n01", "n02"]) == "n01,n02"
    assert compress([]) == ""


@given(st.sets(st.tuples(st.sampled_from(["gpu-", "cpu-", "n"]), st.integers(0, 9999)), max_size=60))
def test_expand_undoes_compress(parts: set[tuple[str, int]]) -> None:
    names = {f"{prefix}{number}" for prefix, number in parts}
    again = expand(compress(names))
    assert len(again) == len(names)
    assert set(again) == names


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        expand(text)
    except ValueError as error:
        assert "hostlist" in str(error)
