"""EFA's counters, from a folder laid out as the kernel's."""

from __future__ import annotations

from pathlib import Path

from monitoring.agent.efa import Efa
from tests.unit.monitoring.fakes import efa_folder


def test_a_machine_without_efa(tmp_path: Path) -> None:
    efa = Efa(tmp_path / "none")
    assert efa.collect(0) == [] == efa.collect(60)


def test_four_cards_are_summed(tmp_path: Path) -> None:
    efa_folder(tmp_path, devices=4, rx_bytes=100, tx_bytes=0, rx_drops=0, lifespan=12)
    efa = Efa(tmp_path)
    assert efa.collect(0) == []
    efa_folder(tmp_path, devices=4, rx_bytes=700, tx_bytes=60, rx_drops=3, lifespan=12)
    found = {reading.name: reading.sum for reading in efa.collect(60)}
    assert found == {"efa_receive_bytes": 40.0, "efa_transmit_bytes": 4.0, "efa_drops": 0.2}


def test_one_card_was_reset_and_one_is_unreadable(tmp_path: Path) -> None:
    efa_folder(tmp_path, devices=3, rx_bytes=600)
    efa = Efa(tmp_path)
    efa.collect(0)
    efa_folder(tmp_path, devices=1, rx_bytes=0)
    (tmp_path / "rdmap1s27/ports/1/hw_counters/rx_bytes").write_text("N/A")
    (tmp_path / "rdmap2s27/ports/1/hw_counters/rx_bytes").write_text("1200")
    assert [(reading.name, reading.sum) for reading in efa.collect(60)] == [("efa_receive_bytes", 10.0)]
