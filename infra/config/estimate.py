"""What a cluster costs, and which quotas it needs, from the catalog alone."""

from __future__ import annotations

import re
from dataclasses import dataclass

from infra.config.catalog import capacity_block_price, file_system_price, find, price_per_hour, service_price
from infra.config.schema import ClusterFile, Queue

HOURS_A_MONTH = 730
_HOW = {"spot": " (spot, at most)", "capacity-block": " (in a Capacity Block, paid in advance)"}
# Interface endpoints of the own network. A test compares it with the stacks
ENDPOINTS = 7
# The vCPU quotas of EC2 by class of type: code for on-demand, code for spot, name.
# Source: Service Quotas, EC2 (a Capacity Block has none; a reservation counts as on-demand)
_QUOTAS = {
    "P": ("L-417A185B", "L-7212CCBC", "P"),
    "G": ("L-DB2E81BA", "L-3819A6DF", "G and VT"),
    "standard": ("L-1216C47A", "L-34B43A08", "Standard (A, C, D, H, I, M, R, T, Z)"),
}

# The letters of the families that count in a class. Source: EC2 User Guide, On-Demand Instance quotas
_CLASSES = {
    "P": frozenset({"p"}),
    "G": frozenset({"g", "gr", "vt"}),
    "standard": frozenset({"a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"}),
}
_LETTERS = re.compile(r"[a-z]+")


@dataclass(frozen=True)
class Cost:
    """One line of the price: USD an hour with nothing running but what is kept, and with everything running.

    None where the catalog has no price; spot is counted as on-demand, its upper bound.
    """

    what: str
    idle: float | None
    full: float | None


@dataclass(frozen=True)
class Quota:
    """An EC2 quota and the vCPUs that the cluster needs of it when everything runs. Many accounts start at 0."""

    code: str
    name: str
    vcpus: int


def costs(cluster: ClusterFile) -> tuple[Cost, ...]:
    """The price of a cluster, line by line. Traffic, requests, logs and metrics are not in it."""
    head = price_per_hour(cluster.head.instance_type, cluster.region)
    gp3 = service_price("gp3_gb_month") / HOURS_A_MONTH
    lines = [Cost(f"head, {cluster.head.instance_type}", head, head)]
    for queue in cluster.queues:
        lines.append(_queue(queue, region=cluster.region))
    volumes = (cluster.head.root_volume_gib + cluster.head.state_volume_gib) * gp3
    lines.append(Cost("head's volumes", volumes, volumes))
    lines.append(_file_system(cluster))
    if cluster.network.vpc_id is None:
        endpoints = ENDPOINTS * len(cluster.zones) * service_price("interface_endpoint_hour")
        lines.append(Cost(f"{ENDPOINTS} endpoints in {', '.join(cluster.zones)}", endpoints, endpoints))
    key = service_price("kms_key_month") / HOURS_A_MONTH
    lines.append(Cost("encryption key", key, key))
    return tuple(lines)


def node_price(queue: Queue, region: str) -> float | None:
    """USD an hour of one node of a queue with its volume; spot as on-demand, its upper bound. None without a price."""
    of = capacity_block_price if queue.market == "capacity-block" else price_per_hour
    price = of(queue.instance_type, region)
    gp3 = service_price("gp3_gb_month") / HOURS_A_MONTH
    return None if price is None else price + queue.root_volume_gib * gp3


def _queue(queue: Queue, *, region: str) -> Cost:
    what = f"queue {queue.name}, {queue.min} to {queue.max} {queue.instance_type}{_HOW.get(queue.market, '')}"
    node = node_price(queue, region)
    if node is None:
        return Cost(what, 0.0 if queue.min == 0 else None, None)
    return Cost(what, queue.min * node, queue.max * node)


def _file_system(cluster: ClusterFile) -> Cost:
    storage = cluster.storage
    what = f"FSx for Lustre, {storage.deployment}, {storage.capacity_gib} GiB"
    price = file_system_price(storage.deployment, storage.throughput or 200)
    hourly = None if price is None else storage.capacity_gib * price / HOURS_A_MONTH
    return Cost(what, hourly, hourly)


def total(lines: tuple[Cost, ...]) -> Cost:
    """The sum of the lines; what has no price is left out, and said so."""
    unknown = [line.what for line in lines if line.full is None]
    what = "in all" + (f", without {'; '.join(unknown)}" if unknown else "")
    return Cost(what, sum(line.idle or 0.0 for line in lines), sum(line.full or 0.0 for line in lines))


def quotas(cluster: ClusterFile) -> tuple[Quota, ...]:
    """The vCPU quotas that the cluster needs when every queue is full, in the order of their codes."""
    needed: dict[tuple[str, str], int] = {}
    wanted = [(cluster.head.instance_type, 1, "on-demand")]
    wanted += [(queue.instance_type, queue.max, queue.market) for queue in cluster.queues]
    for type_name, count, market in wanted:
        known = find(type_name)
        if known is None or market == "capacity-block":
            continue
        what = _QUOTAS[_class(known.family)][2]
        name = f"All {what} Spot Instance Requests" if market == "spot" else f"Running On-Demand {what} instances"
        key = (_QUOTAS[_class(known.family)][1 if market == "spot" else 0], name)
        needed[key] = needed.get(key, 0) + count * known.vcpus
    return tuple(Quota(code=code, name=name, vcpus=vcpus) for (code, name), vcpus in sorted(needed.items()))


def quota_code(instance_type: str, *, spot: bool) -> str | None:
    """The code of the EC2 quota that the vCPUs of a type count in; None for classes that the catalog has no type of."""
    found = _LETTERS.match(instance_type)
    what = next((name for name, letters in _CLASSES.items() if found and found[0] in letters), None)
    return None if what is None else _QUOTAS[what][1 if spot else 0]


def _class(family: str) -> str:
    """The class of quotas that a family of the catalog counts in."""
    letter = family[0]
    return {"p": "P", "g": "G"}.get(letter, "standard")
