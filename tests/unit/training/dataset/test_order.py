"""The permutation: a bijection, different for everything it depends on, and even."""

from __future__ import annotations

import numpy as np
import pytest

from training.dataset.order import Permutation, derive


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 16, 17, 255, 1000, 65537])
def test_it_is_a_bijection(count: int) -> None:
    out = Permutation(count, seed=1, epoch=0, generation=1)(list(range(count)))
    assert sorted(out.tolist()) == list(range(count))


def test_it_depends_on_seed_epoch_and_generation_only() -> None:
    base = Permutation(1000, seed=1, epoch=0, generation=1)(list(range(1000))).tolist()
    assert base == Permutation(1000, seed=1, epoch=0, generation=1)(list(range(1000))).tolist()
    for other in ({"seed": 2}, {"epoch": 1}, {"generation": 2}):
        changed = Permutation(1000, **{"seed": 1, "epoch": 0, "generation": 1, **other})(list(range(1000))).tolist()
        assert sum(a == b for a, b in zip(base, changed, strict=True)) < 20


def test_any_part_alone_is_that_part_of_the_whole() -> None:
    permutation = Permutation(12345, seed=3, epoch=7, generation=2)
    whole = permutation(list(range(12345)))
    part = permutation(np.arange(5000, 5100, dtype=np.uint64))
    assert part.tolist() == whole[5000:5100].tolist()


def test_the_order_is_fixed_for_good() -> None:
    # A change here would break the resume of every checkpoint ever written
    assert Permutation(1000, seed=1, epoch=0, generation=1)(list(range(5))).tolist() == EXPECTED


EXPECTED = [674, 73, 783, 758, 854]


def test_it_has_no_trend() -> None:
    count = 20_000
    out = Permutation(count, seed=5, epoch=0, generation=1)(list(range(count)))
    assert abs(np.corrcoef(np.arange(count), out)[0, 1]) < 0.03
    assert abs(np.corrcoef(out[:-1], out[1:])[0, 1]) < 0.03
    halves = (out[: count // 2] < count // 2).mean()
    assert abs(halves - 0.5) < 0.02


def test_outside_is_refused() -> None:
    with pytest.raises(ValueError, match="outside"):
        Permutation(10, seed=1, epoch=0, generation=1)([10])
    with pytest.raises(ValueError, match="cannot permute 0"):
        Permutation(0, seed=1, epoch=0, generation=1)


def test_derived_numbers_are_stable() -> None:
    assert derive("weights", 1, "norm") == derive("weights", 1, "norm") != derive("weights", 2, "norm")
    assert derive("x", bits=32) < 1 << 32
