"""EBS volumes as folders: what each program of a machine gets, and what outlives the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.local_cloud.devices import volume_programs
from infra.local_cloud.devices.volume_programs import device_of
from infra.local_cloud.devices.volumes import Said, Volumes
from infra.local_cloud.machines.inside import channel

VOLUME, DEVICE = "vol-0abc", "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0abc"


@pytest.fixture
def volumes(tmp_path: Path) -> Volumes:
    made = Volumes(tmp_path)
    made.add(VOLUME)
    made.attach(VOLUME, "i-1")
    return made


def asked(volumes: Volumes, program: str, *, machine: str = "i-1", **more: Any) -> Path | Said:
    return volumes.answer(machine, {"program": program, "device": DEVICE, "target": "/mnt", **more})


def test_a_volume_is_empty_formatted_once_and_keeps_what_is_on_it(volumes: Volumes) -> None:
    assert device_of(VOLUME) == DEVICE
    assert asked(volumes, "blkid") == Said(2)
    said = asked(volumes, "mount")
    assert isinstance(said, Said) and said.code == 32
    assert asked(volumes, "mkfs") == Said(0)
    assert asked(volumes, "blkid") == Said(0, stdout="ext4\n")
    folder = asked(volumes, "mount")
    assert isinstance(folder, Path)
    (folder / "state").write_text("12")
    again = asked(volumes, "mkfs")
    assert isinstance(again, Said) and again.code == 1 and "contains a ext4 file system" in again.stderr
    volumes.leave("i-1")
    volumes.attach(VOLUME, "i-2")
    later = asked(volumes, "mount", machine="i-2")
    assert isinstance(later, Path) and (later / "state").read_text() == "12"
    assert asked(volumes, "mkfs", machine="i-2", force=True) == Said(0)
    assert not (later / "state").exists()


def test_only_the_machine_that_has_it_sees_it(volumes: Volumes) -> None:
    said = asked(volumes, "blkid", machine="i-2")
    assert isinstance(said, Said) and "No such device" in said.stderr
    volumes.detach(VOLUME)
    assert isinstance(asked(volumes, "blkid"), Said) and volumes.mounted_at(VOLUME) == []


def test_it_is_known_where_it_was_mounted_until_it_leaves(volumes: Volumes) -> None:
    asked(volumes, "mkfs")
    asked(volumes, "mount")
    assert volumes.mounted_at(VOLUME) == ["/mnt"]
    volumes.leave("i-1")
    assert volumes.mounted_at(VOLUME) == []


def test_a_volume_that_is_removed_leaves_nothing(volumes: Volumes, tmp_path: Path) -> None:
    asked(volumes, "mkfs")
    volumes.remove(VOLUME)
    volumes.remove(VOLUME)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "request_"),
    [
        (
            ["blkid", "-p", "-o", "value", "-s", "TYPE", DEVICE],
            {"kind": "volume", "program": "blkid", "device": DEVICE, "force": False},
        ),
        (
            ["mkfs", "-q", "-L", "state", DEVICE],
            {"kind": "volume", "program": "mkfs", "device": DEVICE, "force": False},
        ),
        (["mkfs", "-F", DEVICE], {"kind": "volume", "program": "mkfs", "device": DEVICE, "force": True}),
        (["resize2fs", DEVICE], {"kind": "volume", "program": "resize2fs", "device": DEVICE, "force": False}),
    ],
)
def test_programs_pass_on_what_they_are_asked_and_say_what_they_are_told(
    arguments: list[str],
    request_: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen: list[channel.Message] = []

    def ask(request: channel.Message) -> tuple[channel.Message, list[int]]:
        seen.append(request)
        return {"code": 2, "stdout": "out", "stderr": "err"}, []

    monkeypatch.setattr(volume_programs.channel, "ask", ask)
    assert volume_programs.main(arguments) == 2
    assert seen == [request_]
    assert capsys.readouterr() == ("out", "err")


def test_wrong_words_are_refused_before_anybody_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert volume_programs.main(["blkid"]) == 1
    assert volume_programs.main(["mount", DEVICE, str(tmp_path / "missing"), "-o", "rw"]) == 32
    assert "No such file or directory" in capsys.readouterr().err
