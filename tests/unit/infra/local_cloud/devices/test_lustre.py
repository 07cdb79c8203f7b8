"""Which mounts succeed, and the words of those that don't."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.local_cloud.devices.lustre import FileSystems, Refusal

DNS = "fs-0123.fsx.us-east-1.amazonaws.com"


@pytest.fixture
def known(tmp_path: Path) -> FileSystems:
    systems = FileSystems(tmp_path)
    (systems.add("fs-0123", dns_name=DNS, mount_name="abc") / "below").mkdir()
    systems.set_available("fs-0123", True)
    return systems


def find(known: FileSystems, source: str, *, reached: tuple[str, ...] = ("fs-0123",)) -> Path | Refusal:
    return known.find(source, "/fsx", reached=reached)


def test_the_right_names_give_the_folder(known: FileSystems, tmp_path: Path) -> None:
    assert find(known, f"{DNS}@tcp:/abc") == tmp_path / "fs-0123"
    assert find(known, f"{DNS}@tcp:/abc/") == tmp_path / "fs-0123"
    assert find(known, f"{DNS}@tcp:/abc/below") == tmp_path / "fs-0123" / "below"


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        (f"other.{DNS}@tcp:/abc", 22, "Can't parse NID"),
        ("nonsense", 22, "Can't parse NID"),
        (f"{DNS}:/abc", 22, "Can't parse NID"),
        (f"{DNS}@tcp:/ABC", 2, "Is the filesystem name correct?"),
        (f"{DNS}@tcp:/abc/../..", 2, "No such file or directory"),
        (f"{DNS}@tcp:/abc/nothing", 2, "No such file or directory"),
    ],
)
def test_wrong_names_fail_with_the_clients_words(known: FileSystems, source: str, code: int, words: str) -> None:
    found = find(known, source)
    assert isinstance(found, Refusal)
    assert found.code == code and words in found.text


def test_only_an_available_file_system_mounts(known: FileSystems) -> None:
    known.set_available("fs-0123", False)
    found = find(known, f"{DNS}@tcp:/abc")
    assert isinstance(found, Refusal) and found.code == 5 and "Is the MGS running?" in found.text


def test_one_that_the_network_keeps_away_times_out(known: FileSystems) -> None:
    found = find(known, f"{DNS}@tcp:/abc", reached=("fs-0456",))
    assert isinstance(found, Refusal)
    assert (found.code, found.text) == (
        110,
        f"mount.lustre: mount {DNS}@tcp:/abc at /fsx failed: Connection timed out\n",
    )


def test_a_removed_one_is_gone_with_its_folder(known: FileSystems, tmp_path: Path) -> None:
    known.remove("fs-0123")
    known.remove("fs-0123")
    assert not (tmp_path / "fs-0123").exists()
    assert isinstance(find(known, f"{DNS}@tcp:/abc"), Refusal)


def test_no_link_leads_out_of_a_file_system(known: FileSystems, tmp_path: Path) -> None:
    (tmp_path / "fs-0123" / "link").symlink_to("/etc")
    found = find(known, f"{DNS}@tcp:/abc/link")
    assert isinstance(found, Refusal) and found.code == 2
