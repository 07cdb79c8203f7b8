"""Security groups as the machines' network holds them: one model, one judge, and the nftables ruleset of the same.

A flow passes when a permission of the sender's groups lets it out and one of the receiver's lets it in; its answers
pass by themselves. Only the port at the receiver counts. Source: "Security group rules" in the VPC user guide. Pure.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from .api import METADATA_ADDRESS

ALL = "-1"
TABLE = "cloud"
_NUMBERS = {"1": "icmp", "6": "tcp", "17": "udp"}


@dataclass(frozen=True, order=True)
class Permission:
    """One permission of a group: a protocol, its ports, and the other side.

    `protocol`: tcp, udp, icmp, a number of an IP protocol, or -1 for all. `first` and `last`: ports, for icmp its type
    and code; -1 is any. `peer`: an address range (10.0.0.0/8) or the id of a group.
    """

    protocol: str
    peer: str
    first: int = -1
    last: int = -1

    @property
    def kind(self) -> str:
        """The protocol by its name where it has one here."""
        return _NUMBERS.get(self.protocol, self.protocol)

    @property
    def by_range(self) -> bool:
        """Whether the peer is an address range."""
        return "/" in self.peer


@dataclass(frozen=True)
class Group:
    """A security group."""

    ingress: tuple[Permission, ...] = ()
    egress: tuple[Permission, ...] = ()


@dataclass(frozen=True)
class Interface:
    """A network interface: a machine's, an endpoint's, a file system's. One without a network is out in the world."""

    address: str
    vpc: str = ""
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Network:
    """Everything that decides what passes between machines, and from machines to AWS.

    `machines`: their primary interfaces. `services`: which machine reaches which service, both by address. `mounts`:
    which machine, by address, reaches which file system, by id. Nothing else passes.
    """

    machines: tuple[Interface, ...] = ()
    groups: Mapping[str, Group] = field(default_factory=dict)
    services: frozenset[tuple[str, str]] = frozenset()
    mounts: frozenset[tuple[str, str]] = frozenset()


def reaches(groups: Mapping[str, Group], source: Interface, target: Interface, protocol: str, port: int) -> bool:
    """Whether a flow to a port passes from one interface to another, by the groups of both."""
    if not any(_passes(each, target, protocol, port) for each in _permissions(groups, source, "egress")):
        return False
    if not target.vpc:
        return True
    into = _permissions(groups, target, "ingress")
    return source.vpc == target.vpc and any(_passes(each, source, protocol, port) for each in into)


def _permissions(groups: Mapping[str, Group], interface: Interface, direction: str) -> Iterator[Permission]:
    for identity in sorted(interface.groups):
        yield from _of(groups, identity, direction)


def _of(groups: Mapping[str, Group], identity: str, direction: str) -> tuple[Permission, ...]:
    group = groups.get(identity, Group())
    return group.ingress if direction == "ingress" else group.egress


def _passes(permission: Permission, other: Interface, protocol: str, port: int) -> bool:
    if permission.kind not in (ALL, protocol):
        return False
    if permission.kind != ALL and permission.first >= 0 and not permission.first <= port <= permission.last:
        return False
    if permission.by_range:
        return ipaddress.ip_address(other.address) in ipaddress.ip_network(permission.peer, strict=False)
    return permission.peer in other.groups


def ruleset(network: Network, *, api_port: int) -> str:
    """The whole table as `nft -f` takes it, in the place of the one before: all of it applies, or none."""
    members: dict[str, list[str]] = {}
    networks: dict[str, list[str]] = {}
    for machine in network.machines:
        networks.setdefault(machine.vpc, []).append(machine.address)
        for group in machine.groups:
            members.setdefault(group, []).append(machine.address)
    lines = [f"table ip {TABLE}", f"delete table ip {TABLE}", f"table ip {TABLE} {{"]
    for name, addresses in sorted({**members, **networks}.items()):
        lines += _set(_name(name), "ipv4_addr", addresses)
    lines += _set("services", "ipv4_addr . ipv4_addr", (f"{a} . {b}" for a, b in network.services))
    lines += _chain("ingress", _rules(network.groups, members, "ingress", ("daddr", "saddr"), "accept"))
    lines += _chain("egress", _rules(network.groups, members, "egress", ("saddr", "daddr"), "goto ingress"))
    within = [f"ip saddr @{_name(vpc)} ip daddr @{_name(vpc)} goto egress" for vpc in sorted(networks)]
    lines += _chain("forward", ["ct state established,related accept", *within], hook="forward")
    # Stateless: an endpoint that is taken away answers no open connection either
    to_aws = [
        f"ip daddr {METADATA_ADDRESS} tcp dport 80 accept",
        f"ip saddr . ip daddr @services tcp dport {api_port} accept",
    ]
    lines += _chain("input", to_aws, hook="input")
    return "\n".join([*lines, "}"]) + "\n"


def _rules(
    groups: Mapping[str, Group], members: Mapping[str, object], direction: str, ends: tuple[str, str], verdict: str
) -> Iterator[str]:
    """One rule for each permission of a group that a machine is in; one whose peer no machine is in matches nothing.

    `ends`: which address of a packet is the machine's, which the other side's.
    """
    mine, theirs = ends
    for identity in sorted(members):
        for each in sorted(set(_of(groups, identity, direction))):
            if each.by_range or each.peer in members:
                peer = each.peer if each.by_range else f"@{_name(each.peer)}"
                words = (f"ip {mine} @{_name(identity)}", f"ip {theirs} {peer}", _match(each), verdict)
                yield " ".join(word for word in words if word)


def _match(permission: Permission) -> str:
    """The words of nft for a permission's protocol and ports."""
    kind, first, last = permission.kind, permission.first, permission.last
    if kind == ALL:
        return ""
    if kind in ("tcp", "udp") and first >= 0:
        return f"{kind} dport {first}" if first == last else f"{kind} dport {first}-{last}"
    if kind == "icmp" and first >= 0:
        return f"icmp type {first}" + (f" icmp code {last}" if last >= 0 else "")
    return f"meta l4proto {kind}"


def _set(name: str, kind: str, elements: Iterable[str]) -> list[str]:
    listed = ", ".join(sorted(elements))
    return [f"  set {name} {{", f"    type {kind}", *([f"    elements = {{ {listed} }}"] if listed else []), "  }"]


def _chain(name: str, rules: Iterable[str], *, hook: str = "") -> list[str]:
    head = [f"    type filter hook {hook} priority filter; policy drop;"] if hook else []
    return [f"  chain {name} {{", *head, *(f"    {rule}" for rule in rules), "  }"]


def _name(identity: str) -> str:
    """A name that nft takes."""
    return identity.replace("-", "_")
