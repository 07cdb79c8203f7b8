"""The instance catalog: what each EC2 type has, where it is offered and what it costs, as data.

The table is `catalog.json` beside this file; it names the source and date of each part. Nothing here asks AWS.
Prices are a dated table, not an offer: None where the table has none.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

_FILE = Path(__file__).with_name("catalog.json")


@dataclass(frozen=True)
class NetworkCard:
    """One network card: how many interfaces it takes, and of which kinds (interface, efa, efa-only)."""

    index: int
    interfaces: int
    kinds: frozenset[str]


@dataclass(frozen=True)
class InstanceType:
    """One EC2 instance type. `memory_mib`, `gpu_memory_mib` (of one GPU) in MiB; `scratch_gb`: NVMe, in GB (10^9).

    `zones` maps a region to the zone ids where the type is offered; `markets` are EC2's usage classes.
    """

    name: str
    vcpus: int
    memory_mib: int
    gpus: int
    gpu: str | None
    gpu_memory_mib: int
    gpu_architecture: str | None
    nvlink: str | None
    architecture: str
    scratch_gb: int
    cards: tuple[NetworkCard, ...]
    efa_interfaces: int
    markets: frozenset[str]
    cluster_placement: bool
    zones: MappingProxyType[str, tuple[str, ...]]

    @property
    def family(self) -> str:
        """The part before the dot: p3dn of p3dn.24xlarge."""
        return self.name.partition(".")[0]


@cache
def instance_types() -> MappingProxyType[str, InstanceType]:
    """Every type of the catalog by name, in the catalog's order."""
    return MappingProxyType({name: _instance_type(name, row) for name, row in _data()["types"].items()})


def find(name: str) -> InstanceType | None:
    """The type of that name, or None if the catalog has none."""
    return instance_types().get(name)


def price_per_hour(name: str, region: str) -> float | None:
    """On-demand USD an hour of a Linux instance, or None where the table has no price."""
    price = _data()["prices"].get(region, {}).get(name)
    return None if price is None else float(price)


def capacity_block_price(name: str, region: str) -> float | None:
    """USD an hour of an instance in a Capacity Block, as of the table's date, or None where it has no price."""
    price = _data()["capacity_blocks"].get(region, {}).get(name)
    return None if price is None else float(price)


def file_system_price(deployment: str, throughput: int) -> float | None:
    """USD a GB-month of FSx for Lustre SSD storage (us-east-1), or None where the table has no price."""
    price = _data()["services"]["fsx_gb_month"].get(deployment, {}).get(str(throughput))
    return None if price is None else float(price)


def service_price(name: str) -> float:
    """A price of the `services` table: gp3_gb_month, interface_endpoint_hour or kms_key_month."""
    return float(_data()["services"][name])


def sources() -> MappingProxyType[str, dict[str, str]]:
    """Where each part of the catalog comes from, and its date."""
    return MappingProxyType(_data()["sources"])


@cache
def regions() -> frozenset[str]:
    """Every region in which the catalog knows an offered type."""
    return frozenset(region for found in instance_types().values() for region in found.zones)


@cache
def zone_ids(region: str) -> tuple[str, ...]:
    """The zone ids that the catalog knows in a region, sorted."""
    found = {zone for known in instance_types().values() for zone in known.zones.get(region, ())}
    return tuple(sorted(found))


@cache
def _data() -> dict[str, Any]:
    value: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))
    return value


def _instance_type(name: str, row: dict[str, Any]) -> InstanceType:
    cards: list[NetworkCard] = []
    for count, interfaces, kinds in row["cards"]:
        for _ in range(count):
            cards.append(NetworkCard(index=len(cards), interfaces=interfaces, kinds=frozenset(kinds)))
    return InstanceType(
        name=name,
        vcpus=row["vcpus"],
        memory_mib=row["memory_mib"],
        gpus=row["gpus"],
        gpu=row["gpu"],
        gpu_memory_mib=row["gpu_memory_mib"],
        gpu_architecture=row["gpu_architecture"],
        nvlink=row["nvlink"],
        architecture=row["architecture"],
        scratch_gb=row["scratch_gb"],
        cards=tuple(cards),
        efa_interfaces=row["efa_interfaces"],
        markets=frozenset(row["markets"]),
        cluster_placement=row["cluster_placement"],
        zones=MappingProxyType({region: tuple(zones) for region, zones in row["zones"].items()}),
    )
