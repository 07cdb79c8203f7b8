"""The head's own volume: attached, formatted only when empty, mounted; a second time nothing changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cluster_scripts.jobs.errors import StepFailed
from cluster_scripts.node import state_volume
from cluster_scripts.node.state_volume import ATTACH_SECONDS, MOUNT_POINT, device_of, mount
from cluster_scripts.node.system import Result
from tests.unit.cluster_scripts.made import Machine

VOLUME = "vol-0abc"
DEVICE = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0abc"


@dataclass
class Services:
    """EC2: takes the attachment after it refused `refusals` times, and the disk shows `late` requests after that."""

    root: Path
    refusals: int = 0
    late: int = 0
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def attach_volume(self, volume_id: str, *, instance_id: str, device: str) -> bool:
        self.asked.append((volume_id, instance_id, device))
        if len(self.asked) <= self.refusals:
            return False
        if len(self.asked) > self.refusals + self.late:
            disk = self.root / DEVICE.lstrip("/")
            disk.parent.mkdir(parents=True, exist_ok=True)
            disk.touch()
        return True


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A head with a volume on which nothing is yet."""
    return Machine(tmp_path, answers={"mountpoint": Result(32, "", ""), "blkid": Result(2, "", "")})


def run(machine: Machine, services: Services | None = None) -> Services:
    services = services or Services(machine.root)
    mount(machine.system, services, volume_id=VOLUME, instance_id="i-1")
    return services


def test_an_empty_volume_is_formatted_and_mounted(machine: Machine) -> None:
    assert device_of(VOLUME) == DEVICE
    services = run(machine)
    assert services.asked == [(VOLUME, "i-1", "/dev/sdf")]
    assert [" ".join(words) for words in machine.calls] == [
        f"mountpoint --quiet {MOUNT_POINT}",
        f"blkid -p -o value -s TYPE {DEVICE}",
        f"mkfs.ext4 -q -L dure-state {DEVICE}",
        f"mount -t ext4 -o noatime {DEVICE} {MOUNT_POINT}",
        f"resize2fs {DEVICE}",
    ]


def test_a_volume_that_another_head_left_is_not_formatted(machine: Machine) -> None:
    machine.answers["blkid"] = Result(0, "ext4\n", "")
    run(machine)
    assert machine.ran("mkfs") == []
    assert machine.ran("mount -t") == [f"mount -t ext4 -o noatime {DEVICE} {MOUNT_POINT}"]


@pytest.mark.parametrize(
    "looked", [Result(0, "xfs\n", ""), Result(8, "", "ambivalent"), Result(1, "", "I/O error"), Result(2, "LVM2", "")]
)
def test_whatever_else_is_there_is_left_alone(machine: Machine, looked: Result) -> None:
    machine.answers["blkid"] = looked
    with pytest.raises(StepFailed, match="nothing was changed"):
        run(machine)
    assert machine.ran("mkfs") == machine.ran("mount -t") == []


def test_a_second_boot_only_grows_the_file_system(machine: Machine) -> None:
    machine.answers["mountpoint"] = Result(0, "", "")
    assert run(machine).asked == []
    assert machine.ran("mkfs") == machine.ran("mount -t") == []
    assert machine.ran("resize2fs") == [f"resize2fs {DEVICE}"]


def test_the_head_before_is_waited_for(machine: Machine) -> None:
    services = run(machine, Services(machine.root, refusals=3, late=1))
    assert len(services.asked) == 5
    assert machine.time.slept == [state_volume.ATTACH_PAUSE] * 4


def test_a_disk_that_is_there_is_not_attached_again(machine: Machine) -> None:
    disk = machine.root / DEVICE.lstrip("/")
    disk.parent.mkdir(parents=True)
    disk.touch()
    assert run(machine).asked == []
    assert machine.ran("mount -t")


def test_a_volume_that_never_shows_is_named(machine: Machine) -> None:
    with pytest.raises(StepFailed, match=f"{VOLUME} is attached and shows as .* not within {ATTACH_SECONDS} s"):
        run(machine, Services(machine.root, refusals=10**6))
    assert machine.ran("mkfs") == []
