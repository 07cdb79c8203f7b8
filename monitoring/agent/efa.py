"""EFA's own counters, which no CloudWatch agent sends: /sys/class/infiniband/DEVICE/ports/PORT/hw_counters/NAME.

Which counters there are depends on driver and card (p3dn has no RDMA): a metric is sent if its counter is there.
Source of the names: the EFA driver's documentation of its hardware counters.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from monitoring.agent.machine import rates
from monitoring.agent.readings import Reading, reading

COUNTERS: Mapping[str, str] = {
    "rx_bytes": "efa_receive_bytes",
    "tx_bytes": "efa_transmit_bytes",
    "rdma_read_bytes": "efa_rdma_read_bytes",
    "rdma_write_bytes": "efa_rdma_write_bytes",
    "rx_drops": "efa_drops",
    "retrans_pkts": "efa_retransmits",
}


class Efa:
    """The sum over all EFA interfaces; no readings on a machine without one."""

    def __init__(self, devices: Path = Path("/sys/class/infiniband")) -> None:
        self._devices = devices
        self._before: tuple[float, dict[str, int]] | None = None

    def sample(self) -> None:
        """Nothing: the counters hold the mean."""

    def collect(self, now: float) -> list[Reading]:
        after = self._counters()
        before, self._before = self._before, (now, after)
        if before is None:
            return []
        growth = rates(before[1], after, seconds=now - before[0])
        return [reading(metric, total) for metric, total in _by_metric(growth).items()]

    def _counters(self) -> dict[str, int]:
        """Path of each counter file to its value. Read one by one: a device may vanish meanwhile."""
        found = {}
        for path in sorted(self._devices.glob("*/ports/*/hw_counters/*")):
            if path.name in COUNTERS:
                try:
                    found[str(path)] = int(path.read_text())
                except (OSError, ValueError):
                    continue
        return found


def _by_metric(growth: Mapping[str, float]) -> dict[str, float]:
    totals: dict[str, float] = {}
    for path, rate in growth.items():
        metric = COUNTERS[Path(path).name]
        totals[metric] = totals.get(metric, 0.0) + rate
    return totals
