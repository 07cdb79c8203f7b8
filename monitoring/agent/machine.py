"""CPU, memory, disk and network of the machine, from /proc and /sys. The parsers are pure and take the files' text."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from monitoring.agent.readings import Reading, reading

SECTOR_BYTES = 512  # of /proc/diskstats, whatever the device's own. Source: Documentation/admin-guide/iostats.rst
PSEUDO_DISKS = ("loop", "ram", "zram", "sr", "fd", "nbd", "dm-", "md")  # none, or seen already on the disks below them
QUIET_INTERFACES = ("lo", "docker", "veth", "br-", "virbr")  # what passes there has passed, or never passes, a card


class CpuTimes(NamedTuple):
    """Time since boot in ticks, of all CPUs together."""

    busy: int
    waiting: int
    total: int


class Traffic(NamedTuple):
    """Counters since boot: bytes read or received, bytes written or sent, packets lost."""

    received: int
    sent: int
    lost: int = 0


def parse_cpu(text: str) -> CpuTimes:
    """The first line of /proc/stat. Guests' time is within user's already. Raises ValueError."""
    fields = text.partition("\n")[0].split()
    if len(fields) < 8 or fields[0] != "cpu":
        raise ValueError(f"not /proc/stat: {text[:60]!r}")
    user, nice, system, idle, waiting, irq, softirq, stolen = [int(field) for field in [*fields[1:9], "0"][:8]]
    busy = user + nice + system + irq + softirq + stolen
    return CpuTimes(busy=busy, waiting=waiting, total=busy + idle + waiting)


def parse_memory(text: str) -> tuple[int, int]:
    """Total and available memory in bytes, of /proc/meminfo. Raises ValueError."""
    sizes = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name in ("MemTotal", "MemAvailable"):
            sizes[name] = int(rest.split()[0]) * 1024
    if len(sizes) != 2 or sizes["MemTotal"] <= 0:
        raise ValueError(f"not /proc/meminfo: {text[:60]!r}")
    return sizes["MemTotal"], sizes["MemAvailable"]


def parse_disks(text: str, *, whole: Collection[str]) -> Traffic:
    """Bytes read and written by the devices in `whole` together, of /proc/diskstats. Raises ValueError."""
    read = written = 0
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 10:
            raise ValueError(f"not a line of /proc/diskstats: {line[:60]!r}")
        if fields[2] in whole:
            read += int(fields[5]) * SECTOR_BYTES
            written += int(fields[9]) * SECTOR_BYTES
    return Traffic(read, written)


def parse_network(text: str) -> Traffic:
    """Bytes and lost packets (errors, drops, both ways) of the machine's cards, of /proc/net/dev. Raises ValueError."""
    received = sent = lost = 0
    for line in text.splitlines()[2:]:
        name, colon, rest = line.partition(":")
        fields = rest.split()
        if not colon or len(fields) < 12:
            raise ValueError(f"not a line of /proc/net/dev: {line[:60]!r}")
        if name.strip().startswith(QUIET_INTERFACES):
            continue
        received += int(fields[0])
        sent += int(fields[8])
        lost += int(fields[2]) + int(fields[3]) + int(fields[10]) + int(fields[11])
    return Traffic(received, sent, lost)


def disk_names(block: Path) -> frozenset[str]:
    """Whole disks: what /sys/block lists (partitions are not there), without what isn't a disk of its own."""
    try:
        return frozenset(entry.name for entry in block.iterdir() if not entry.name.startswith(PSEUDO_DISKS))
    except OSError:
        return frozenset()


def rates(before: Mapping[str, int], after: Mapping[str, int], *, seconds: float) -> dict[str, float]:
    """Growth a second of each counter that is in both; a counter that went back (a device was replaced) is left out."""
    if seconds <= 0:
        return {}
    return {
        name: (after[name] - before[name]) / seconds for name in after if name in before and after[name] >= before[name]
    }


class Cpu:
    """`cpu_utilization` and `cpu_iowait` between two collections."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._stat = proc / "stat"
        self._before: CpuTimes | None = None

    def sample(self) -> None:
        """Nothing: the counters hold the mean."""

    def collect(self, now: float) -> list[Reading]:
        before, self._before = self._before, self._read()
        after = self._before
        if before is None or after is None or after.total <= before.total:
            return []
        percent = 100 / (after.total - before.total)
        return [
            reading("cpu_utilization", _clamped(percent * (after.busy - before.busy))),
            reading("cpu_iowait", _clamped(percent * (after.waiting - before.waiting))),
        ]

    def _read(self) -> CpuTimes | None:
        try:
            return parse_cpu(self._stat.read_text())
        except (OSError, ValueError):
            return None


class Memory:
    """`memory_utilization`, `memory_available`: what programs could still get counts as available."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._meminfo = proc / "meminfo"

    def sample(self) -> None:
        """Nothing: the value at the interval's end is what counts."""

    def collect(self, now: float) -> list[Reading]:
        try:
            total, available = parse_memory(self._meminfo.read_text())
        except (OSError, ValueError):
            return []
        return [
            reading("memory_utilization", _clamped(100 * (total - available) / total)),
            reading("memory_available", available),
        ]


class Disk:
    """`disk_utilization` of the root file system; what all disks together read and wrote."""

    def __init__(self, proc: Path = Path("/proc"), *, block: Path = Path("/sys/block"), root: Path = Path("/")) -> None:
        self._root = root
        self._counters = Counters(
            {"disk_read_bytes": "received", "disk_write_bytes": "sent"},
            lambda: parse_disks((proc / "diskstats").read_text(), whole=disk_names(block)),
        )

    def sample(self) -> None:
        """Nothing: the counters hold the mean."""

    def collect(self, now: float) -> list[Reading]:
        readings = self._counters.collect(now)
        try:
            space = os.statvfs(self._root)
        except OSError:
            return readings
        used, free = space.f_blocks - space.f_bfree, space.f_bavail
        if used + free > 0:  # as df counts: what is kept for root is neither used nor free
            readings.append(reading("disk_utilization", _clamped(100 * used / (used + free))))
        return readings


class Network:
    """What the machine's network cards received, sent and lost."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._counters = Counters(
            {"network_receive_bytes": "received", "network_transmit_bytes": "sent", "network_drops": "lost"},
            lambda: parse_network((proc / "net" / "dev").read_text()),
        )

    def sample(self) -> None:
        """Nothing: the counters hold the mean."""

    def collect(self, now: float) -> list[Reading]:
        return self._counters.collect(now)


class Counters:
    """Rates of a `Traffic` between two collections. names: metric name to field."""

    def __init__(self, names: Mapping[str, str], read: Callable[[], Traffic]) -> None:
        self._names = names
        self._read_traffic = read
        self._before: tuple[float, dict[str, int]] | None = None

    def collect(self, now: float) -> list[Reading]:
        try:
            traffic = self._read_traffic()
        except (OSError, ValueError):
            self._before = None
            return []
        after = {metric: int(getattr(traffic, source)) for metric, source in self._names.items()}
        before, self._before = self._before, (now, after)
        if before is None:
            return []
        return [reading(name, rate) for name, rate in rates(before[1], after, seconds=now - before[0]).items()]


def _clamped(percent: float) -> float:
    return min(100.0, max(0.0, percent))
