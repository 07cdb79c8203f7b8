"""EBS volumes of machines: attached as disks, formatted once, mounted, and alive when their machine is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local_cloud.devices.volume_programs import device_of
from tests.end_to_end.machines_owner import Owner

pytestmark = [pytest.mark.local_cloud, pytest.mark.timeout(180)]

VOLUME, OTHER = "vol-0123456789abcdef0", "vol-0123456789abcdef1"
DEVICE = device_of(VOLUME)
LOOK = f"blkid -p -o value -s TYPE {DEVICE}"
MOUNT = f"mkdir -p /data && mount -t ext4 -o noatime {DEVICE} /data"


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    running = Owner(tmp_path / "state")
    for volume in (VOLUME, OTHER):
        running.ask("add_volume", id=volume)
    for number in (1, 2):
        running.launch(number)
    yield running
    running.close()


def test_a_volume_outlives_its_machine(owner: Owner, tmp_path: Path) -> None:
    code, said = owner.run(1, f"test ! -e {DEVICE} && {LOOK}")
    assert code == 6 and "No such device" in said
    owner.ask("attach_volume", number=1, id=VOLUME)
    assert owner.run(1, f"test -e {DEVICE} && {LOOK}") == (2, "")
    code, said = owner.run(1, MOUNT)
    assert code == 32 and "wrong fs type" in said
    assert owner.run(1, f"mkfs.ext4 -q -L state {DEVICE} && {LOOK}") == (0, "ext4\n")
    owned = "install -d -m 700 -o slurm /data/slurm && echo 12 >/data/slurm/last && mountpoint -q /data"
    assert owner.run(1, f"{MOUNT} && {owned}") == (0, "")
    code, said = owner.run(1, f"mkfs.ext4 -q {DEVICE}")
    assert code == 1 and "contains a ext4 file system" in said
    assert owner.run(1, f"resize2fs {DEVICE} 2>/dev/null")[0] == 0
    code, said = owner.run(2, LOOK)  # another machine has nothing of it
    assert code == 6

    assert owner.ask("detach_volume", number=1, id=VOLUME) is False  # it is mounted
    owner.ask("crash", number=1)
    owner.ask("attach_volume", number=2, id=VOLUME)
    assert owner.run(2, f"{LOOK} && {MOUNT} && stat -c '%U %a' /data/slurm && cat /data/slurm/last") == (
        0,
        "ext4\nslurm 700\n12\n",
    )
    assert owner.run(2, "umount /data")[0] == 0
    assert owner.ask("detach_volume", number=2, id=VOLUME) is True
    assert owner.run(2, f"test -e {DEVICE}")[0] == 1
    owner.ask("remove_volume", id=VOLUME)
    assert [path.name for path in (tmp_path / "state" / "volumes").iterdir()] == [OTHER]


def test_only_root_formats_and_mounts(owner: Owner) -> None:
    owner.ask("attach_volume", number=1, id=VOLUME)
    code, _ = owner.run(1, f"setpriv --reuid=slurm --clear-groups mkfs.ext4 {DEVICE}")
    assert code != 0
    assert owner.run(1, LOOK)[0] == 2
