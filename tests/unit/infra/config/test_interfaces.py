from __future__ import annotations

from collections import Counter
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.config.catalog import InstanceType, NetworkCard, find, instance_types
from infra.config.interfaces import Interface, layout, refusals

WITH_EFA = [name for name, known in instance_types().items() if known.efa_interfaces]
ALL = frozenset({"interface", "efa", "efa-only"})


def made_up(cards: list[tuple[int, bool]], *, fewer: int) -> InstanceType:
    """A type with these cards: how many interfaces each takes, and whether it has EFA."""
    kinds = [ALL if efa else frozenset({"interface"}) for _, efa in cards]
    return InstanceType(
        name="x1.large",
        vcpus=1,
        memory_mib=1,
        gpus=0,
        gpu=None,
        gpu_memory_mib=0,
        gpu_architecture=None,
        nvlink=None,
        architecture="x86_64",
        scratch_gb=0,
        cards=tuple(NetworkCard(index=i, interfaces=n, kinds=kinds[i]) for i, (n, _) in enumerate(cards)),
        efa_interfaces=max(1, sum(efa for _, efa in cards) - fewer),
        markets=frozenset({"on-demand"}),
        cluster_placement=True,
        zones=MappingProxyType({}),
    )


def holds(known: InstanceType, found: tuple[Interface, ...]) -> None:
    """What EC2 asks of the interfaces of one launch."""
    primary, *others = found
    assert (primary.card, primary.device) == (0, 0)
    assert primary.takes_address, "an EFA-only interface cannot be the primary one"
    assert all(each.kind == "efa-only" and not each.takes_address for each in others)
    assert len({(each.card, each.device) for each in found}) == len(found)
    cards = {card.index: card for card in known.cards}
    counts = Counter(each.card for each in found)
    for each in found:
        assert each.kind in cards[each.card].kinds
        assert 0 <= each.device < max(2, cards[each.card].interfaces)
        if cards[each.card].interfaces == 1:
            assert each.device == 0
    assert all(count <= cards[card].interfaces for card, count in counts.items())
    assert sum("efa" in each.kind for each in found) <= known.efa_interfaces
    assert refusals(known, found) == ()


@pytest.mark.parametrize("name", list(instance_types()))
def test_without_efa_there_is_one_plain_interface(name: str) -> None:
    known = instance_types()[name]
    assert layout(known, efa=False) == (Interface(card=0, device=0, kind="interface"),)


@pytest.mark.parametrize("name", WITH_EFA)
def test_with_efa_every_device_of_the_type_is_there(name: str) -> None:
    known = instance_types()[name]
    found = layout(known, efa=True)
    holds(known, found)
    assert sum("efa" in each.kind for each in found) == known.efa_interfaces


@given(
    st.lists(st.tuples(st.integers(1, 15), st.booleans()), min_size=1, max_size=33).filter(
        lambda cards: any(efa for _, efa in cards)
    ),
    st.integers(0, 3),
)
def test_any_type_gets_a_layout_that_ec2_takes(cards: list[tuple[int, bool]], fewer: int) -> None:
    known = made_up(cards, fewer=fewer)
    holds(known, layout(known, efa=True))


@pytest.mark.parametrize(
    ("name", "first", "last", "count"),
    [
        ("p3dn.24xlarge", (0, 0, "efa"), (0, 0, "efa"), 1),
        ("p4d.24xlarge", (0, 0, "efa"), (3, 1, "efa-only"), 4),
        ("p5.48xlarge", (0, 0, "efa"), (31, 1, "efa-only"), 32),
        ("p5en.48xlarge", (0, 0, "efa"), (15, 1, "efa-only"), 16),
        ("p6-b300.48xlarge", (0, 0, "interface"), (16, 1, "efa-only"), 17),
    ],
)
def test_known_layouts(name: str, first: tuple[int, int, str], last: tuple[int, int, str], count: int) -> None:
    found = layout(instance_types()[name], efa=True)
    ends = [(each.card, each.device, each.kind) for each in (found[0], found[-1])]
    assert (ends, len(found)) == ([first, last], count)


def test_efa_is_refused_where_there_is_none() -> None:
    known = find("m5.large")
    assert known is not None
    with pytest.raises(ValueError, match=r"m5\.large has no EFA"):
        layout(known, efa=True)


@pytest.mark.parametrize(
    ("interfaces", "rule"),
    [
        ([Interface(0, 0, "efa"), Interface(4, 1, "efa-only")], "card-index"),
        ([Interface(0, 0, "efa"), Interface(-1, 1, "efa-only")], "card-index"),
        ([Interface(0, 0, "efa"), Interface(1, 16, "efa-only")], "device-index"),
        ([Interface(0, 0, "efa-only")], "primary-interface"),
        ([Interface(1, 0, "efa")], "primary-interface"),
        ([], "primary-interface"),
        ([Interface(0, 0, "efa"), Interface(1, 1, "efa"), Interface(1, 1, "efa")], "interface-twice"),
        ([Interface(0, 0, "efa"), *[Interface(1, i, "efa-only") for i in range(4)]], "interface-count"),
        ([Interface(0, 0, "efa"), *[Interface(1, i, "interface") for i in range(16)]], "interface-count"),
    ],
)
def test_what_ec2_refuses_is_named_by_its_rule(interfaces: list[Interface], rule: str) -> None:
    found = refusals(instance_types()["p4d.24xlarge"], interfaces)
    assert rule in {each.partition(":")[0] for each in found}


def test_a_kind_that_the_card_lacks_is_refused() -> None:
    known = instance_types()["p6-b300.48xlarge"]
    assert refusals(known, [Interface(0, 0, "efa")])[0].startswith("interface-kind: efa on card 0")
