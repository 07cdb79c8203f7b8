"""Reading what a job user owns, and writing whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from monitoring.agent.files import entries, folder, open_regular, write_whole


def test_a_file_below_is_opened_and_listed(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_text("text")
    with folder(tmp_path, ("a", "b")) as within:
        fd = open_regular("c", within=within)
        assert os.read(fd, 10) == b"text"
        assert entries(within) == {"c": os.fstat(fd).st_ino}
        os.close(fd)


@pytest.mark.parametrize("name", ["link", "pipe", "folder", "none"])
def test_anything_but_a_regular_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "real").write_text("text")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    before = len(list(Path("/proc/self/fd").iterdir()))
    with folder(tmp_path) as within, pytest.raises(OSError, match=name):
        open_regular(name, within=within)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_folder_behind_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match="link"), folder(tmp_path, ("link",)):
        raise AssertionError("not reached")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_writing_replaces_whole_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "state.json"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in path.parent.iterdir()] == ["state.json"]


def test_a_failed_write_keeps_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.json"
    write_whole(path, b"old")

    def full(fd: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
