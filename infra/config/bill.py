"""What a cluster file leads to on the bill: by queue and zone, an hour and a month, for a job; and what else would do.

Pure, from the catalog's dated prices; traffic, requests, logs and metrics are not in it. Where the catalog has no price
there is None, never a guess.
"""

from __future__ import annotations

from dataclasses import dataclass

from infra.config.catalog import capacity_block_price, find, price_per_hour, sources
from infra.config.estimate import HOURS_A_MONTH, Cost, costs, node_price, total
from infra.config.rules.money import cheaper_equals
from infra.config.schema import ClusterFile, Queue


@dataclass(frozen=True)
class Other:
    """Another way to have the same node: USD an hour, None without a price, and what to know of it."""

    how: str
    usd_an_hour: float | None
    note: str = ""


@dataclass(frozen=True)
class QueueBill:
    """One queue: a node's price, and the queue's with `min` and with `max` nodes, in USD."""

    name: str
    instance_type: str
    market: str
    zones: tuple[str, ...]
    node_hour: float | None
    idle_hour: float | None
    full_hour: float | None
    others: tuple[Other, ...]

    @property
    def idle_month(self) -> float | None:
        """A month with `min` nodes."""
        return None if self.idle_hour is None else self.idle_hour * HOURS_A_MONTH

    @property
    def full_month(self) -> float | None:
        """A month with `max` nodes."""
        return None if self.full_hour is None else self.full_hour * HOURS_A_MONTH


@dataclass(frozen=True)
class JobBill:
    """One job: the price of its nodes, and of what stands beside it in the same hours."""

    queue: str
    nodes: int
    hours: float
    nodes_usd: float | None
    rest_usd: float

    @property
    def usd(self) -> float | None:
        """Both."""
        return None if self.nodes_usd is None else self.nodes_usd + self.rest_usd


def queue_bill(cluster: ClusterFile, queue: Queue) -> QueueBill:
    """The price of a queue, and of what could take its place."""
    node = node_price(queue, cluster.region)
    return QueueBill(
        name=queue.name,
        instance_type=queue.instance_type,
        market=queue.market,
        zones=cluster.queue_zones(queue),
        node_hour=node,
        idle_hour=0.0 if queue.min == 0 else _times(node, queue.min),
        full_hour=_times(node, queue.max),
        others=others(cluster, queue),
    )


def others(cluster: ClusterFile, queue: Queue) -> tuple[Other, ...]:
    """The other markets of the queue's type, then cheaper types that do the same; without volumes."""
    known, region = find(queue.instance_type), cluster.region
    found: list[Other] = []
    on_demand = price_per_hour(queue.instance_type, region)
    if queue.market in ("spot", "capacity-block"):
        found.append(Other("on demand", on_demand))
    if known is not None and "spot" in known.markets and queue.market != "spot":
        note = "no price: it changes by the hour; at most what on demand costs"
        found.append(Other("spot", None, f"{note}, and EC2 may take the nodes back"))
    if known is not None and "capacity-block" in known.markets and queue.market != "capacity-block":
        date = sources()["capacity_blocks"]["date"]
        price = capacity_block_price(queue.instance_type, region)
        note = f"as of {date}; paid in advance, for whole days" if price is not None else "no price in the catalog"
        found.append(Other("in a Capacity Block", price, note))
    if known is not None:
        for price, name in cheaper_equals(known, region):
            other = find(name)
            here = other.zones.get(region, ()) if other else ()
            elsewhere = [zone for zone in cluster.queue_zones(queue) if zone not in here]
            note = f"not in {', '.join(elsewhere)}, but in {', '.join(here)}" if elsewhere else ""
            found.append(Other(name, price, note))
    return tuple(found)


def standing(cluster: ClusterFile) -> tuple[Cost, ...]:
    """What costs as long as the cluster stands, whatever its queues do: head, storage, endpoints, key."""
    return tuple(line for line in costs(cluster) if not line.what.startswith("queue "))


def job_bill(cluster: ClusterFile, queue: Queue, *, nodes: int, hours: float) -> JobBill:
    """What a job of so many nodes and hours costs; its start and the time until its nodes go idle are not in it."""
    node = node_price(queue, cluster.region)
    rest = total(standing(cluster)).full or 0.0
    return JobBill(
        queue=queue.name, nodes=nodes, hours=hours, nodes_usd=_times(node, nodes * hours), rest_usd=rest * hours
    )


def _times(price: float | None, factor: float) -> float | None:
    return None if price is None else price * factor
