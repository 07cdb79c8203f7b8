"""Which network interfaces an instance is launched with: a pure function of its type.

The layout is the one that the EC2 User Guide recommends for types with several network cards: the primary
interface (card 0, device 0) carries the IP address, and every further card carries one EFA device without an
address, so a node takes one address of its subnet however many cards it has.
"""

from __future__ import annotations

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
