"""Who may reach the metadata service."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from cluster_scripts.jobs.errors import StepFailed
from cluster_scripts.node import firewall
from cluster_scripts.node.system import Result
from tests.unit.cluster_scripts.made import Machine


def test_only_root_and_those_named() -> None:
    assert "ip daddr 169.254.169.254 meta skuid != { 0 } reject" in firewall.rules([])
    assert "ip6 daddr fd00:ec2::254 meta skuid != { 0, 64030 } reject" in firewall.rules([64030, 0])


def test_the_table_is_replaced_in_one_go(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    firewall.close(machine.system, [])
    assert machine.calls == [["nft", "-f", "-"]]
    assert machine.inputs[0].splitlines()[:2] == ["table inet dure_metadata", "delete table inet dure_metadata"]


def test_a_machine_without_the_rules_stops(tmp_path: Path) -> None:
    machine = Machine(tmp_path, answers={"nft": Result(1, "", "Error: Operation not permitted")})
    with pytest.raises(StepFailed, match="Operation not permitted"):
        firewall.close(machine.system, [])


def test_nft_understands_the_rules() -> None:
    nft = shutil.which("nft", path="/usr/sbin:/usr/bin:/sbin:/bin")
    assert nft, "install nftables"
    text = firewall.rules([64030])
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--net", nft, "--check", "-f", "-"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
