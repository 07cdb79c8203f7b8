"""Rules of the network: ranges, given subnets, addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from infra.config.catalog import find
from infra.config.interfaces import layout
from infra.config.problems import shown
from infra.config.rules.base import Found, Rule, rule
from infra.config.schema import ClusterFile, Network, Queue

VPC_GUIDE = "VPC User Guide"
SUBNET_PREFIX = 20
# Of each subnet EC2 keeps the first four addresses and the last. Source: VPC User Guide, Subnet sizing
KEPT_BY_EC2 = 5
# An interface of each endpoint of ours in each zone
ENDPOINTS = 7
_PRIVATE = [ipaddress.ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")]


@rule(
    "cidr",
    why="A VPC takes a private range of /16 to /28; each zone needs a /20 of it.",
    source=f"{VPC_GUIDE}, VPC CIDR blocks",
)
def cidr(cluster: ClusterFile) -> Iterator[Found]:
    given = cluster.network
    if given.vpc_id is not None:
        return
    try:
        block = ipaddress.ip_network(given.cidr)
    except ValueError as error:
        yield Found(("network", "cidr"), shown(given.cidr), f"an address range ({error})")
        return
    needed = len(cluster.zones) + (1 if given.nat else 0)
    if not isinstance(block, ipaddress.IPv4Network) or not any(block.subnet_of(_v4(each)) for each in _PRIVATE):
        allowed = "a range within 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10"
        yield Found(("network", "cidr"), shown(given.cidr), allowed)
    elif not 16 <= block.prefixlen <= SUBNET_PREFIX or 2 ** (SUBNET_PREFIX - block.prefixlen) < needed:
        allowed = f"/16 to /{SUBNET_PREFIX}, with a /{SUBNET_PREFIX} for each of {needed} subnets"
        yield Found(("network", "cidr"), f"a /{block.prefixlen}", allowed)


def _v4(block: ipaddress.IPv4Network | ipaddress.IPv6Network) -> ipaddress.IPv4Network:
    assert isinstance(block, ipaddress.IPv4Network)
    return block


@rule(
    "given-network",
    why="A network that is given needs a subnet in each zone; an own one makes them.",
    source="this project",
)
def given_network(cluster: ClusterFile) -> Iterator[Found]:
    given = cluster.network
    if given.vpc_id is None:
        if given.subnets:
            yield Found(("network", "subnets"), f"{len(given.subnets)} subnets", "none without vpc_id")
        return
    for zone in cluster.zones:
        if zone not in given.subnets:
            yield Found(("network", "subnets"), f"no subnet in {zone}", f"one for each of {', '.join(cluster.zones)}")
    for zone in given.subnets:
        if zone not in cluster.zones:
            yield Found(("network", "subnets", zone), shown(zone), f"zones of the cluster: {', '.join(cluster.zones)}")
    defaults = Network()
    for key in ("cidr", "nat"):
        if getattr(given, key) != getattr(defaults, key):
            yield Found(("network", key), shown(getattr(given, key)), "nothing with vpc_id: the network is there")


@rule(
    "addresses",
    why="Each node takes one address of its zone's subnet for each interface that has one.",
    source=VPC_GUIDE,
)
def addresses(cluster: ClusterFile) -> Iterator[Found]:
    if cluster.network.vpc_id is not None:
        return
    room = 2 ** (32 - SUBNET_PREFIX) - KEPT_BY_EC2 - ENDPOINTS - 1 - _file_system(cluster)
    for zone in cluster.zones:
        needed = sum(_addresses(queue) for queue in cluster.queues if zone in cluster.queue_zones(queue))
        if needed > room:
            found = f"queues that need {needed} addresses in {zone}"
            yield Found(("queues",), found, f"at most {room}", "lower max, or spread the queues over zones")


def addresses_needed(cluster: ClusterFile, zone: str) -> int:
    """Addresses that the machines and the file system take in a zone when every queue is full there."""
    nodes = sum(_addresses(queue) for queue in cluster.queues if zone in cluster.queue_zones(queue))
    return nodes + (1 + _file_system(cluster) if zone == cluster.home_zone else 0)


def _file_system(cluster: ClusterFile) -> int:
    """Addresses of the file system: an upper bound, two for each 1.2 TiB and two for its metadata."""
    return 2 * -(-cluster.storage.capacity_gib // 1200) + 2


def _addresses(queue: Queue) -> int:
    known = find(queue.instance_type)
    if known is None or (queue.efa and known.efa_interfaces == 0):
        return queue.max
    return queue.max * sum(1 for interface in layout(known, efa=queue.efa) if interface.takes_address)


@rule(
    "given-endpoints",
    severity="advice",
    why="Without a way to AWS's services the machines boot and are never heard of.",
    source=f"{VPC_GUIDE}, AWS PrivateLink",
)
def given_endpoints(cluster: ClusterFile) -> Iterator[Found]:
    if cluster.network.vpc_id is not None:
        services = "s3, ssm, ssmmessages, ec2messages, ec2, logs, monitoring, secretsmanager"
        allowed = f"subnets with a NAT gateway, or with endpoints for {services}"
        yield Found(("network", "vpc_id"), "a network that we did not make", allowed)


NETWORK: tuple[Rule, ...] = (cidr, given_network, addresses, given_endpoints)
