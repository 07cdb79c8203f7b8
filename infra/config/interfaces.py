"""Which network interfaces an instance is launched with: a pure function of its type.

The layout is the one that the EC2 User Guide recommends for types with several network cards: the primary
interface (card 0, device 0) carries the IP address, and every further card carries one EFA device without an
address, so a node takes one address of its subnet however many cards it has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from infra.config.catalog import InstanceType

Kind = Literal["interface", "efa", "efa-only"]


@dataclass(frozen=True)
class Interface:
    """One interface of a launch: where it sits, and what it is."""

    card: int
    device: int
    kind: Kind

    @property
    def takes_address(self) -> bool:
        """Whether it takes an IP address of its subnet (an EFA-only interface takes none)."""
        return self.kind != "efa-only"


def layout(instance_type: InstanceType, *, efa: bool) -> tuple[Interface, ...]:
    """The interfaces of one instance, the primary one first.

    Without EFA there is one plain interface. With EFA: card 0 is `efa`, or a plain `interface` where that card
    has no EFA (p6-b300); each further card that can is `efa-only`, with device index 0 if the card
    takes one interface only, else 1.

    Errors: ValueError if EFA is asked of a type that has none.
    """
    if not efa:
        return (Interface(card=0, device=0, kind="interface"),)
    if instance_type.efa_interfaces == 0:
        raise ValueError(f"{instance_type.name} has no EFA")
    primary, *others = instance_type.cards
    found = [Interface(card=0, device=0, kind="efa" if "efa" in primary.kinds else "interface")]
    room = instance_type.efa_interfaces - (1 if "efa" in primary.kinds else 0)
    for card in [card for card in others if "efa-only" in card.kinds][:room]:
        found.append(Interface(card=card.index, device=0 if card.interfaces == 1 else 1, kind="efa-only"))
    return tuple(found)


def refusals(instance_type: InstanceType, interfaces: Sequence[Interface]) -> tuple[str, ...]:
    """What EC2 would refuse in the interfaces of one launch, each with the id of its rule; empty when all is right.

    The rules: card-index, device-index, interface-kind, interface-count, primary-interface, interface-twice.
    """
    found: list[str] = []
    cards = {card.index: card for card in instance_type.cards}
    for each in interfaces:
        card = cards.get(each.card)
        if card is None:
            found.append(f"card-index: {each.card}; {instance_type.name} has the cards 0 to {len(cards) - 1}")
            continue
        if each.kind not in card.kinds:
            kinds = ", ".join(sorted(card.kinds))
            found.append(f"interface-kind: {each.kind} on card {each.card}, which takes {kinds}")
        # Card 0 counts from the primary interface, device 0; a further card that takes two or more starts at 1
        if not 0 <= each.device <= card.interfaces or (card.interfaces == 1 and each.device > 0):
            found.append(f"device-index: {each.device} on card {each.card}, which takes {card.interfaces} interfaces")
    for index, count in sorted(Counter(each.card for each in interfaces).items()):
        if index in cards and count > cards[index].interfaces:
            found.append(f"interface-count: {count} on card {index}, which takes {cards[index].interfaces}")
    if sum("efa" in each.kind for each in interfaces) > instance_type.efa_interfaces:
        found.append(f"interface-count: {instance_type.name} takes {instance_type.efa_interfaces} EFA interfaces")
    primary = [each for each in interfaces if (each.card, each.device) == (0, 0)]
    if len(primary) != 1 or not primary[0].takes_address:
        found.append("primary-interface: card 0, device 0 must be one interface with an address")
    if len({(each.card, each.device) for each in interfaces}) < len(interfaces):
        found.append("interface-twice: two interfaces at one card and device")
    return tuple(found)
