"""The /proc readers, on captured text and on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitoring.agent.machine import (
    Cpu,
    Disk,
    Memory,
    Network,
    Traffic,
    disk_names,
    parse_cpu,
    parse_disks,
    parse_memory,
    parse_network,
    rates,
)
from monitoring.agent.readings import Collector
from tests.unit.monitoring.fakes import DISKSTATS, MEMINFO, NET_DEV, block_folder, proc_folder


def found(collector: Collector, now: float) -> dict[str, float]:
    return {reading.name: reading.sum for reading in collector.collect(now)}


def test_cpu_counts_guests_once_and_waiting_as_idle() -> None:
    times = parse_cpu("cpu  100 20 30 800 50 1 2 3 40 5\ncpu0 1 2 3 4 5 6 7 8 9 10\n")
    assert times == (156, 50, 1006)


def test_cpu_of_a_kernel_without_guests() -> None:
    assert parse_cpu("cpu  1 1 1 5 1 0 0 0\n").total == 9


def test_memory() -> None:
    assert parse_memory(MEMINFO) == (8123456 * 1024, 4061728 * 1024)


def test_only_whole_disks_count() -> None:
    text = DISKSTATS.format(100)
    assert parse_disks(text, whole={"nvme0n1"}) == Traffic(1000 * 512, 2000 * 512)
    assert parse_disks(text, whole=set()) == Traffic(0, 0)


def test_the_loopback_is_no_traffic() -> None:
    assert parse_network(NET_DEV.format(700, 800)) == Traffic(700, 800, 1 + 2 + 3 + 4)


@pytest.mark.parametrize("text", ["", "cpu\n", "intr 1 2 3\n", "cpu a b c d e f g h\n"])
def test_text_that_is_not_proc_stat(text: str) -> None:
    with pytest.raises(ValueError, match=r"/proc/stat|invalid literal"):
        parse_cpu(text)


@pytest.mark.parametrize("text", ["", "MemTotal: 0 kB\nMemAvailable: 0 kB\n", "MemTotal: 5 kB\n"])
def test_text_that_is_not_meminfo(text: str) -> None:
    with pytest.raises(ValueError, match="meminfo"):
        parse_memory(text)


def test_text_that_is_neither_diskstats_nor_net_dev() -> None:
    with pytest.raises(ValueError, match="diskstats"):
        parse_disks("a b c\n", whole=set())
    with pytest.raises(ValueError, match="net/dev"):
        parse_network("1\n2\nens5: 1 2\n")


def test_rates_leave_out_what_went_back_or_is_new() -> None:
    assert rates({"a": 1, "b": 9, "gone": 1}, {"a": 11, "b": 3, "new": 5}, seconds=2.0) == {"a": 5.0}
    assert rates({"a": 1}, {"a": 2}, seconds=0.0) == {}


def test_cpu_between_two_collections(tmp_path: Path) -> None:
    cpu = Cpu(proc_folder(tmp_path))
    assert cpu.collect(0) == []
    proc_folder(tmp_path, busy=50)
    assert found(cpu, 60) == {"cpu_utilization": 100.0, "cpu_iowait": 0.0}
    assert cpu.collect(61) == [], "no tick has passed"


def test_memory_in_use(tmp_path: Path) -> None:
    assert found(Memory(proc_folder(tmp_path)), 0) == {"memory_utilization": 50.0, "memory_available": 4061728 * 1024}


def test_network_rates(tmp_path: Path) -> None:
    network = Network(proc_folder(tmp_path))
    assert network.collect(10) == []
    proc_folder(tmp_path, received=600, sent=1200)
    rate = {"network_receive_bytes": 10.0, "network_transmit_bytes": 20.0, "network_drops": 0.0}
    assert found(network, 70) == rate


def test_network_after_its_card_was_reset(tmp_path: Path) -> None:
    network = Network(proc_folder(tmp_path, received=600, sent=600))
    network.collect(10)
    proc_folder(tmp_path, received=6, sent=660)
    assert found(network, 70) == {"network_transmit_bytes": 1.0, "network_drops": 0.0}


def test_disk(tmp_path: Path) -> None:
    disk = Disk(proc_folder(tmp_path / "proc"), block=block_folder(tmp_path / "block"), root=tmp_path)
    filled = disk.collect(0)
    assert [reading.name for reading in filled] == ["disk_utilization"]
    assert 0 <= filled[0].sum <= 100
    assert set(found(disk, 60)) == {"disk_utilization", "disk_read_bytes", "disk_write_bytes"}


def test_disk_names_leave_loops_out(tmp_path: Path) -> None:
    assert disk_names(block_folder(tmp_path)) == {"nvme0n1"}
    assert disk_names(tmp_path / "none") == frozenset()


def test_what_is_missing_or_odd_gives_no_readings(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("nonsense")
    for collector in (Cpu(tmp_path), Memory(tmp_path), Network(tmp_path)):
        assert collector.collect(0) == [] == collector.collect(60)


def test_on_this_machine() -> None:
    collectors: list[Collector] = [Cpu(), Memory(), Disk(), Network()]
    for collector in collectors:
        collector.collect(0)
        collector.sample()
    values = {name: value for collector in collectors for name, value in found(collector, 1).items()}
    assert 0 < values["memory_utilization"] < 100
    assert 0 <= values["disk_utilization"] <= 100
    assert values["network_receive_bytes"] >= 0
