"""Rules of money and of what resources carry: prices, tags, the size of the facts."""

from __future__ import annotations

from collections.abc import Iterator

from infra.config.catalog import InstanceType, find, instance_types, price_per_hour
from infra.config.problems import shown
from infra.config.rules.base import Found, Rule, queues, rule
from infra.config.schema import ClusterFile

# Bytes of an SSM parameter of the advanced tier. Source: SSM API, PutParameter Value
FACTS_LIMIT = 8192
# Bytes of the facts, measured: without queues, a queue, a launch template, an association
FACTS_BASE, FACTS_QUEUE, FACTS_TEMPLATE, FACTS_ASSOCIATION = 1500, 355, 150, 40


@rule(
    "tags",
    why="The metadata service shows tags as paths, AWS keeps aws: and the toolkit dure:.",
    source="EC2 User Guide, Access to tags in instance metadata",
)
def tags(cluster: ClusterFile) -> Iterator[Found]:
    for key in cluster.tags:
        if key.lower().startswith(("aws:", "dure:")) or key in (".", "..", "_index", "Name"):
            yield Found(
                ("tags", key), f"the key {shown(key)}", "keys without aws: and dure:, but not Name, _index, . or .."
            )


@rule("cluster-name", why="Parameters under /dure/images hold the ids of images.", source="this project")
def cluster_name(cluster: ClusterFile) -> Iterator[Found]:
    if cluster.name == "images":
        yield Found(("name",), '"images"', "any other name")


@rule("facts-size", why="What a cluster is must fit into one SSM parameter.", source="SSM API, PutParameter")
def facts_size(cluster: ClusterFile) -> Iterator[Found]:
    templates = sum(len(cluster.queue_zones(queue)) for queue in cluster.queues)
    associations = sum(FACTS_ASSOCIATION + len(each.path) + len(each.prefix) for each in cluster.storage.associations)
    size = FACTS_BASE + FACTS_QUEUE * len(cluster.queues) + FACTS_TEMPLATE * templates + associations
    file = len(cluster.model_dump_json(exclude_defaults=True).encode())
    if file > FACTS_LIMIT:
        yield Found(("queues",), f"a file of {file} bytes", f"at most {FACTS_LIMIT} bytes, without what is default")
    if size > FACTS_LIMIT:
        found = f"{len(cluster.queues)} queues with {templates} zones in all (about {size} bytes of facts)"
        yield Found(("queues",), found, f"at most {FACTS_LIMIT} bytes", "give queues fewer zones, or make two clusters")


@rule(
    "cheaper-equal",
    severity="advice",
    why="A newer type can do the same work for less.",
    source="prices in infra/config/catalog.json, with their date",
)
def cheaper_equal(cluster: ClusterFile) -> Iterator[Found]:
    for path, queue in queues(cluster):
        known, price = find(queue.instance_type), price_per_hour(queue.instance_type, cluster.region)
        if known is None or price is None or queue.market != "on-demand":
            continue
        others = cheaper_equals(known, cluster.region)
        if others:
            cheapest, name = others[0]
            found = f"{known.name} at {price:.2f} USD an hour"
            yield Found((*path, "instance_type"), found, f"{name} costs {cheapest:.2f} here")


def cheaper_equals(known: InstanceType, region: str) -> list[tuple[float, str]]:
    """Types that do the same work for less on demand in a region: USD an hour and name, the cheapest first."""
    price = price_per_hour(known.name, region)
    if price is None:
        return []
    return sorted(
        (other_price, other.name)
        for other in instance_types().values()
        if (other_price := price_per_hour(other.name, region)) is not None
        if other_price < price and _does_the_same(other, known)
    )


def _does_the_same(other: InstanceType, known: InstanceType) -> bool:
    """Whether a type has at least what another has, and GPUs at least as fast (larger memory, same or newer link)."""
    if known.gpus == 0 or other.gpus != known.gpus or other.gpu == known.gpu:
        return False
    return (
        other.gpu_memory_mib >= known.gpu_memory_mib
        and other.vcpus >= known.vcpus
        and other.memory_mib >= known.memory_mib
        and other.efa_interfaces >= known.efa_interfaces
        and (known.nvlink is None or other.nvlink is not None)
    )


MONEY: tuple[Rule, ...] = (cluster_name, tags, facts_size, cheaper_equal)
