"""The simulated step adds up where it can be counted by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.training_scaling_model import (
    PLANS,
    Cluster,
    Model,
    Tensor,
    efficiency,
    groups_of,
    link_use_of,
    needs,
    reduce_seconds,
    simulate,
    step,
    tensors,
)

GIGABYTE_LINK = Cluster(nodes=2, link_bits=8e9, hop_seconds=0.0)


def test_the_tensors_are_the_talks_model() -> None:
    assert Model().parameters == 124_242_432
    assert len(tensors(Model())) == 148
    assert [t.name for t in tensors(Model()) if t.ready == 1.0][-2:] == ["embedding", "positions"]
    assert min(tensors(Model()), key=lambda t: t.ready).name.startswith("norm_")


def test_a_group_is_ready_when_its_last_tensor_is_and_none_is_lost() -> None:
    parts = [Tensor("a", 1, 0.5), Tensor("b", 2, 0.1), Tensor("c", 4, 0.2), Tensor("d", 8, 0.3), Tensor("e", 16, 0.9)]
    assert [(g.numbers, g.ready) for g in groups_of(parts, 2)] == [(7, 0.5), (24, 0.9)]
    assert sum(g.numbers for g in groups_of(tensors(Model()), 16)) == Model().parameters


def test_a_ring_carries_its_share_over_every_link() -> None:
    assert reduce_seconds(1e9, GIGABYTE_LINK) == pytest.approx(1.0)
    assert reduce_seconds(1e9, replace(GIGABYTE_LINK, nodes=4)) == pytest.approx(1.5)
    assert reduce_seconds(1e9, replace(GIGABYTE_LINK, nodes=1)) == 0.0
    assert reduce_seconds(0, replace(GIGABYTE_LINK, hop_seconds=0.25)) == pytest.approx(0.5)


def test_overlap_hides_all_but_what_comes_last() -> None:
    groups = [Tensor("early", 500_000_000, 0.5), Tensor("late", 100_000_000, 1.0)]  # 1 s and 0.2 s in fp16
    after = step(groups, GIGABYTE_LINK, compute=3.0, bytes_each=2, overlap=False)
    during = step(groups, GIGABYTE_LINK, compute=3.0, bytes_each=2, overlap=True)
    assert (after.reduction, after.exposed, after.seconds) == pytest.approx((1.2, 1.2, 4.2))
    assert (during.reduction, during.exposed) == pytest.approx((1.2, 0.2))
    assert efficiency(during, alone=3.0) == pytest.approx(3 / 3.2)


def test_a_reduction_that_is_late_delays_the_next() -> None:
    groups = [Tensor("early", 1_000_000_000, 0.5), Tensor("late", 100_000_000, 1.0)]  # 2 s, ready 1 s before the end
    assert step(groups, GIGABYTE_LINK, compute=3.0, bytes_each=2, overlap=True).exposed == pytest.approx(1.2)


def test_one_node_scales_perfectly_and_the_fit_gives_what_it_was_asked() -> None:
    model, compute = Model(), 0.85
    for plan in PLANS:
        assert efficiency(simulate(plan, Cluster(1), model=model, compute=compute), alone=compute) == 1.0
    groups = groups_of(tensors(model), 4)
    use = link_use_of(0.8, groups=groups, cluster=Cluster(16), compute=compute, model=model)
    found = simulate(PLANS[0], Cluster(16, link_use=use), model=model, compute=compute)
    assert efficiency(found, alone=compute) == pytest.approx(0.8, abs=1e-6)


def test_what_is_needed_is_enough() -> None:
    model, compute, cluster = Model(), 0.85, Cluster(16, link_use=0.5)
    for plan in PLANS:
        found = needs(plan, cluster, model=model, compute=compute)
        changed = replace(cluster, link_use=found["link_share"])
        assert efficiency(simulate(plan, changed, model=model, compute=compute), alone=compute) >= 0.9
        less = replace(cluster, link_use=found["link_share"] - 0.001)
        assert efficiency(simulate(plan, less, model=model, compute=compute), alone=compute) < 0.9


def test_filling_groups_as_gradients_become_ready_hides_more() -> None:
    shares = [simulate(plan, Cluster(16, link_use=0.2), model=Model(), compute=0.85).exposed for plan in PLANS]
    assert shares[0] > shares[1] > shares[2] > 0
