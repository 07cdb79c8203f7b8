"""Rules of the queues: types, zones, markets, EFA, placement."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator

from infra.config.catalog import InstanceType, find, instance_types, zone_ids
from infra.config.problems import KeyPath, shown
from infra.config.rules.base import Found, Rule, queues, rule
from infra.config.schema import ClusterFile, Queue

EC2_TYPES = "EC2 DescribeInstanceTypes and DescribeInstanceTypeOfferings, as in infra/config/catalog.json"
EFA_GUIDE = "EC2 User Guide, Elastic Fabric Adapter"


def _types(path: KeyPath, queue: Queue) -> Iterator[tuple[KeyPath, str]]:
    """Every type that a queue names, with its path."""
    yield (*path, "instance_type"), queue.instance_type
    for index, name in enumerate(queue.fallback_types):
        yield (*path, "fallback_types", index), name


def _known_types(path: KeyPath, queue: Queue) -> Iterator[tuple[KeyPath, InstanceType]]:
    for where, name in _types(path, queue):
        known = find(name)
        if known is not None:
            yield where, known


@rule(
    "known-type",
    why="The layout of interfaces, the size of a node in Slurm and the prices come from the catalog.",
    source=EC2_TYPES,
)
def known_type(cluster: ClusterFile) -> Iterator[Found]:
    named = [found for path, queue in queues(cluster) for found in _types(path, queue)]
    for path, name in [(("head", "instance_type"), cluster.head.instance_type), *named]:
        if find(name) is None:
            close = difflib.get_close_matches(name, list(instance_types()), n=1)
            fix = f'did you mean "{close[0]}"?' if close else ""
            families = sorted({known.family for known in instance_types().values()})
            yield Found(path, shown(name), "a type of the families " + ", ".join(families), fix)


@rule("queue-name", why="Slurm partitions and nodes are told apart by name.", source="slurm.conf(5), PartitionName")
def queue_name(cluster: ClusterFile) -> Iterator[Found]:
    counts = Counter(queue.name for queue in cluster.queues)
    seen: set[str] = set()
    for path, queue in queues(cluster):
        if counts[queue.name] > 1 and queue.name in seen:
            yield Found((*path, "name"), f"{shown(queue.name)} a second time", "a name of its own for each queue")
        if queue.name == "default":
            yield Found((*path, "name"), shown(queue.name), "any other name", "Slurm gives it a meaning of its own")
        seen.add(queue.name)


@rule("min-max", why="A queue keeps at least min and at most max nodes.", source="this project")
def min_max(cluster: ClusterFile) -> Iterator[Found]:
    for path, queue in queues(cluster):
        if queue.min > queue.max:
            yield Found((*path, "min"), str(queue.min), f"0 to max, which is {queue.max}")


@rule("zone", why="Subnets are made in zones of the region, by zone id.", source="EC2 DescribeAvailabilityZones")
def zone(cluster: ClusterFile) -> Iterator[Found]:
    known = zone_ids(cluster.region)
    for index, name in enumerate(cluster.zones):
        path: KeyPath = ("zones", index)
        if name in cluster.zones[:index]:
            yield Found(path, f"{shown(name)} a second time", "each zone once")
        elif known and name not in known:
            yield Found(path, shown(name), f"a zone of {cluster.region}: {', '.join(known)}")
    if cluster.head.zone is not None and cluster.head.zone not in cluster.zones:
        yield Found(("head", "zone"), shown(cluster.head.zone), f"one of zones: {', '.join(cluster.zones)}")
    for path, queue in queues(cluster):
        for index, name in enumerate(queue.zones):
            where = (*path, "zones", index)
            if name not in cluster.zones:
                yield Found(where, shown(name), f"one of zones: {', '.join(cluster.zones)}")
            elif name in queue.zones[:index]:
                yield Found(where, f"{shown(name)} a second time", "each zone once")


@rule("region", why="A region that the catalog does not know can't be checked.", source=EC2_TYPES)
def region(cluster: ClusterFile) -> Iterator[Found]:
    if not zone_ids(cluster.region):
        regions = sorted({name for known in instance_types().values() for name in known.zones})
        yield Found(("region",), shown(cluster.region), ", ".join(regions))


@rule("type-offered", why="EC2 refuses a type in a zone that does not have it.", source=EC2_TYPES)
def type_offered(cluster: ClusterFile) -> Iterator[Found]:
    if not zone_ids(cluster.region):
        return
    head = find(cluster.head.instance_type)
    wanted: list[tuple[KeyPath, InstanceType, tuple[str, ...]]] = []
    if head is not None:
        wanted.append((("head", "instance_type"), head, (cluster.home_zone,)))
    for path, queue in queues(cluster):
        for where, known in _known_types(path, queue):
            wanted.append((where, known, cluster.queue_zones(queue)))
    for where, known, zones in wanted:
        missing = [name for name in zones if name not in known.zones.get(cluster.region, ())]
        if missing:
            yield Found(where, f"{known.name} in {', '.join(missing)}", _offers(known, cluster.region))


def _offers(known: InstanceType, region: str) -> str:
    """Where a type is offered, in words."""
    here = known.zones.get(region, ())
    if here:
        return f"{known.name} is offered in {', '.join(here)}"
    return f"{known.name} is not offered in {region}, but in {', '.join(known.zones)}"


@rule("head-type", why="The image is for x86_64, and Slurm's controller needs some memory.", source="this project")
def head_type(cluster: ClusterFile) -> Iterator[Found]:
    known = find(cluster.head.instance_type)
    if known is not None and known.memory_mib < 8 * 1024:
        yield Found(("head", "instance_type"), f"{known.name} with {known.memory_mib // 1024} GiB", "at least 8 GiB")


@rule("market", why="Not every type is sold in every way.", source="EC2 DescribeInstanceTypes, SupportedUsageClasses")
def market(cluster: ClusterFile) -> Iterator[Found]:
    for path, queue in queues(cluster):
        usage = "on-demand" if queue.market == "reservation" else queue.market
        for where, known in _known_types(path, queue):
            if usage not in known.markets:
                yield Found(where, f"{known.name} as {queue.market}", f"{known.name} is sold as {_sold(known)}")


def _sold(known: InstanceType) -> str:
    return ", ".join(sorted(known.markets))


@rule(
    "reservation-id",
    why="Instances go into a reservation or a Capacity Block only when it is named.",
    source="EC2 RunInstances, CapacityReservationSpecification",
)
def reservation_id(cluster: ClusterFile) -> Iterator[Found]:
    for path, queue in queues(cluster):
        needed = queue.market in ("reservation", "capacity-block")
        key = (*path, "capacity_reservation_id")
        if needed and queue.capacity_reservation_id is None:
            yield Found(key, "nothing", f'an id such as "cr-0123456789abcdef0", as market is {queue.market}')
        if not needed and queue.capacity_reservation_id is not None:
            allowed = f"nothing, as market is {queue.market}"
            yield Found(
                key, shown(queue.capacity_reservation_id), allowed, "set market to reservation or capacity-block"
            )


@rule(
    "capacity-block-placement",
    why="A Capacity Block is placed close together already; EC2 refuses a placement group with it.",
    source="EC2 User Guide, Capacity Blocks for ML",
)
def capacity_block_placement(cluster: ClusterFile) -> Iterator[Found]:
    for path, queue in queues(cluster):
        if queue.market == "capacity-block" and queue.placement_group:
            yield Found((*path, "placement_group"), "true", "false, as market is capacity-block")


@rule("placement-type", why="EC2 puts some types into no cluster placement group.", source=EC2_TYPES)
def placement_type(cluster: ClusterFile) -> Iterator[Found]:
    for path, queue in queues(cluster):
        for _, known in _known_types(path, queue):
            if queue.placement_group and not known.cluster_placement:
                yield Found((*path, "placement_group"), f"true, with {known.name}", "false for that type")


@rule(
    "placement-one-zone",
    why="A cluster placement group lies in one zone.",
    source="EC2 User Guide, Placement strategies",
)
def placement_one_zone(cluster: ClusterFile) -> Iterator[Found]:
    for path, queue in queues(cluster):
        zones = cluster.queue_zones(queue)
        if queue.placement_group and len(zones) > 1:
            fix = "give the queue one zone, or make a queue for each zone"
            yield Found((*path, "placement_group"), f"true, with {len(zones)} zones", "false, or one zone", fix)


@rule("efa-type", why="EFA is a device that a type has or has not.", source=EFA_GUIDE)
def efa_type(cluster: ClusterFile) -> Iterator[Found]:
    for path, queue in queues(cluster):
        for _, known in _known_types(path, queue):
            if queue.efa and known.efa_interfaces == 0:
                larger = [each.name for each in instance_types().values() if _has_efa(each, known.family)]
                allowed = f"false: {known.name} has no EFA" + (f"; {', '.join(larger)} have" if larger else "")
                yield Found((*path, "efa"), "true", allowed)


def _has_efa(known: InstanceType, family: str) -> bool:
    return known.family == family and known.efa_interfaces > 0


@rule(
    "efa-one-zone", why="EFA traffic does not cross zones, and a job may get any nodes of its queue.", source=EFA_GUIDE
)
def efa_one_zone(cluster: ClusterFile) -> Iterator[Found]:
    for path, queue in queues(cluster):
        zones = cluster.queue_zones(queue)
        if queue.efa and len(zones) > 1:
            fix = "give the queue one zone, or make a queue for each zone"
            yield Found((*path, "efa"), f"true, with the zones {', '.join(zones)}", "false, or one zone", fix)


@rule(
    "efa-one-type",
    why="Types talk EFA with their own kind only (P4d with P4d), and each has its own layout of interfaces.",
    source=EFA_GUIDE,
)
def efa_one_type(cluster: ClusterFile) -> Iterator[Found]:
    for path, queue in queues(cluster):
        if queue.efa and queue.fallback_types:
            found = f"{', '.join(queue.fallback_types)} beside {queue.instance_type}"
            yield Found((*path, "fallback_types"), found, "none in a queue with EFA", "make a queue for each type")


@rule(
    "fallback-size",
    why="Slurm knows one size of node in a queue: a fall-back must be at least as large, with as many GPUs.",
    source="slurm.conf(5), NodeName; slurmd refuses a node with less than configured",
)
def fallback_size(cluster: ClusterFile) -> Iterator[Found]:
    for path, queue in queues(cluster):
        first = find(queue.instance_type)
        for index, name in enumerate(queue.fallback_types):
            known = find(name)
            where = (*path, "fallback_types", index)
            if name == queue.instance_type or name in queue.fallback_types[:index]:
                yield Found(where, f"{shown(name)} a second time", "each type once")
            elif first is not None and known is not None and not _fits(known, first):
                allowed = f"{first.gpus} GPUs, at least {first.vcpus} vCPUs and {first.memory_mib // 1024} GiB"
                size = f"{known.gpus} GPUs, {known.vcpus} vCPUs, {known.memory_mib // 1024} GiB"
                yield Found(where, f"{name} ({size})", allowed)


def _fits(known: InstanceType, first: InstanceType) -> bool:
    return known.gpus == first.gpus and known.vcpus >= first.vcpus and known.memory_mib >= first.memory_mib


@rule(
    "nvme-type",
    why="Only some types have an NVMe instance store.",
    source="EC2 DescribeInstanceTypes, InstanceStorageInfo",
)
def nvme_type(cluster: ClusterFile) -> Iterator[Found]:
    for path, queue in queues(cluster):
        without = [known.name for _, known in _known_types(path, queue) if known.scratch_gb == 0]
        if queue.nvme_scratch and without:
            allowed = f"false: {', '.join(without)} has no NVMe instance store"
            yield Found((*path, "nvme_scratch"), "true", allowed, "take a type that has, such as g5 or p3dn")


@rule(
    "architecture",
    why="The image and Slurm's programs are built for x86_64.",
    source=EC2_TYPES,
)
def architecture(cluster: ClusterFile) -> Iterator[Found]:
    for path, queue in queues(cluster):
        for where, known in _known_types(path, queue):
            if known.architecture != "x86_64":
                yield Found(where, f"{known.name} ({known.architecture})", "types with x86_64")


@rule(
    "spot-kept",
    severity="advice",
    why="Nodes that are kept running are taken back by EC2 all the same, and launched again.",
    source="EC2 User Guide, Spot Instance interruptions",
)
def spot_kept(cluster: ClusterFile) -> Iterator[Found]:
    for path, queue in queues(cluster):
        if queue.market == "spot" and queue.min > 0:
            yield Found((*path, "min"), str(queue.min), "0 for a spot queue")


@rule(
    "spot-role",
    severity="advice",
    why="EC2 launches spot instances by a role of its own, which the head may not make; without it none is launched.",
    source="EC2 User Guide, Service-linked role for Spot Instance requests",
)
def spot_role(cluster: ClusterFile) -> Iterator[Found]:
    for path, queue in queues(cluster):
        if queue.market == "spot":
            fix = "once an account: aws iam create-service-linked-role --aws-service-name spot.amazonaws.com"
            yield Found((*path, "market"), "spot", "an account that has the role AWSServiceRoleForEC2Spot", fix)
            return


QUEUES: tuple[Rule, ...] = (
    known_type,
    queue_name,
    min_max,
    region,
    zone,
    type_offered,
    head_type,
    market,
    reservation_id,
    capacity_block_placement,
    placement_type,
    placement_one_zone,
    efa_type,
    efa_one_zone,
    efa_one_type,
    fallback_size,
    nvme_type,
    architecture,
    spot_kept,
    spot_role,
)
