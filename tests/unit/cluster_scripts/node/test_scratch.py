"""The scratch space of a node: striped, one device, none; and a second boot."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from cluster_scripts.jobs.errors import StepFailed
from cluster_scripts.node import scratch
from cluster_scripts.node.system import Result, System
from tests.unit.cluster_scripts.made import Machine


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(System, "own", lambda *_, **__: None)
    return Machine(tmp_path, answers={"mountpoint": Result(32, "", ""), "blkid": Result(2, "", "")})


def device(machine: Machine, name: str, model: str = scratch.MODEL) -> None:
    folder = machine.root / "sys/block" / name / "device"
    folder.mkdir(parents=True)
    (folder / "model").write_text(f"{model}          \n")


def make(machine: Machine) -> list[str]:
    """What was run, but for the questions."""
    scratch.make(machine.system, machine.log())
    folder = machine.root / "scratch"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o1777
    return [" ".join(words) for words in machine.calls if words[0] not in ("mountpoint", "blkid")]


def test_two_devices_are_striped_and_the_root_volume_is_left_alone(machine: Machine) -> None:
    device(machine, "nvme0n1", "Amazon Elastic Block Store")
    for name in ("nvme10n1", "nvme2n1", "nvme2n1p1"):
        device(machine, name)
    create, format_, mount = make(machine)
    assert create == "mdadm --create /dev/md/dure-scratch --run --level=0 --raid-devices=2 /dev/nvme2n1 /dev/nvme10n1"
    assert format_.startswith("mkfs.ext4 -q -F -m 0 -L dure-scratch")
    assert format_.endswith(" /dev/md/dure-scratch")
    assert mount == "mount -t ext4 -o noatime /dev/md/dure-scratch /scratch"
    assert "2 NVMe devices" in machine.logged()


def test_one_device_needs_no_array(machine: Machine) -> None:
    device(machine, "nvme1n1")
    format_, mount = make(machine)
    assert format_.endswith(" /dev/nvme1n1")
    assert mount.endswith(" /dev/nvme1n1 /scratch")


def test_a_machine_without_devices_says_so_and_has_a_folder(machine: Machine) -> None:
    assert make(machine) == []
    assert "no NVMe instance store: /scratch is a folder of its root volume" in machine.logged()
    device(machine, "nvme0n1", "Amazon Elastic Block Store")
    assert make(machine) == []


def test_after_a_reboot_the_file_system_is_mounted_and_not_made_again(machine: Machine) -> None:
    device(machine, "nvme1n1")
    device(machine, "nvme2n1")
    machine.answers["blkid"] = Result(0, "/dev/md127\n", "")
    assert make(machine) == ["mount -t ext4 -o noatime /dev/md127 /scratch"]


def test_what_is_mounted_stays(machine: Machine) -> None:
    device(machine, "nvme1n1")
    (machine.root / "scratch").mkdir()
    machine.answers["mountpoint"] = Result(0, "", "")
    assert make(machine) == []


def test_a_program_that_fails_ends_the_boot_with_its_words(machine: Machine) -> None:
    device(machine, "nvme1n1")
    device(machine, "nvme2n1")
    machine.answers["mdadm"] = Result(1, "", "mdadm: cannot open /dev/nvme1n1: Device or resource busy")
    with pytest.raises(StepFailed, match="Device or resource busy"):
        scratch.make(machine.system, machine.log())
    assert machine.ran("mount -t") == []
