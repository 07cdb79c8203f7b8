"""Unpacking a user's code as root."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster_scripts.jobs.errors import InvalidCode
from cluster_scripts.jobs.spec import CodeRef
from cluster_scripts.node import code


def member(name: str, *, kind: bytes = tarfile.REGTYPE, content: bytes = b"", link: str = "", mode: int = 0o644):  # type: ignore[no-untyped-def]
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.size = kind, link, mode, len(content)
    info.uid = info.gid = 1234
    return info, content


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def serving(content: bytes | None) -> Callable[[str, Path, int], bool]:
    def download(key: str, to: Path, limit: int) -> bool:
        if content is None:
            return False
        to.write_bytes(content)
        return True

    return download


def fetch(content: bytes, folder: Path) -> Path:
    return code.unpacked(CodeRef.of(hashlib.sha256(content).hexdigest()), folder=folder, download=serving(content))


GOOD = archive(
    member("train.py", content=b"print('hi')\n"),
    member("run.sh", content=b"#!/bin/sh\n", mode=0o6777),
    member("deep/er/한국어 파일.txt", content="가나다".encode()),
    member("empty", kind=tarfile.DIRTYPE, mode=0o700),
    member("latest", kind=tarfile.SYMTYPE, link="deep/er"),
)


def test_files_folders_and_inner_links(tmp_path: Path) -> None:
    folder = fetch(GOOD, tmp_path)
    assert folder.name == hashlib.sha256(GOOD).hexdigest()
    assert (folder / "deep/er/한국어 파일.txt").read_text(encoding="utf-8") == "가나다"
    assert (folder / "latest").readlink() == Path("deep/er")
    assert (folder / "empty").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_readable_for_all_writable_for_none_and_no_set_id(tmp_path: Path) -> None:
    folder = fetch(GOOD, tmp_path)
    modes = {
        name: stat.S_IMODE((folder / name).stat().st_mode) for name in ("train.py", "run.sh", "empty", "deep/er", "")
    }
    assert modes == {"train.py": 0o644, "run.sh": 0o755, "empty": 0o755, "deep/er": 0o755, "": 0o755}
    assert (folder / "train.py").stat().st_uid == os.getuid()


def test_code_that_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    folder = fetch(GOOD, tmp_path)
    again = code.unpacked(CodeRef.of(folder.name), folder=tmp_path, download=serving(None))
    assert again == folder


@pytest.mark.parametrize(
    "members",
    [
        [member("/etc/cron.d/x", content=b"x")],
        [member("../x", content=b"x")],
        [member("a/../../x", content=b"x")],
        [member("a/../b", content=b"x")],
        [member("out", kind=tarfile.SYMTYPE, link="/etc")],
        [member("a/out", kind=tarfile.SYMTYPE, link="../../x")],
        [member("in", kind=tarfile.SYMTYPE, link="."), member("in/x", content=b"x")],
        [member("s", kind=tarfile.SYMTYPE, link="."), member("s/out", kind=tarfile.SYMTYPE, link="..")],
        [member("x", kind=tarfile.SYMTYPE, link="y"), member("x", content=b"written through the link")],
        [member("x", content=b"1"), member("x", content=b"2")],
        [member("x", content=b"1"), member("y", kind=tarfile.LNKTYPE, link="x")],
        [member("dev", kind=tarfile.CHRTYPE)],
        [member("pipe", kind=tarfile.FIFOTYPE)],
        [member("n" * 1001, content=b"x")],
        [member("d", content=b"x"), member("d/x", content=b"x")],
    ],
    ids=lambda members: members[-1][0].name[:20] if isinstance(members, list) else "",
)
def test_unsafe_members_leave_nothing(members: list[tuple[tarfile.TarInfo, bytes]], tmp_path: Path) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    with pytest.raises(InvalidCode):
        fetch(archive(*members), folder)
    assert list(folder.iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["code"]


def test_a_changed_archive_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(InvalidCode, match="was changed or cut"):
        code.unpacked(CodeRef.of("ab" * 32), folder=tmp_path, download=serving(GOOD))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_archive_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidCode, match="was the code sent"):
        code.unpacked(CodeRef.of("ab" * 32), folder=tmp_path, download=serving(None))


@pytest.mark.parametrize("content", [b"", b"not gzip", GOOD[:-20], GOOD[:40]])
def test_broken_archives(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(InvalidCode, match="can't be unpacked"):
        fetch(content, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "MAX_UNPACKED", 15)
    with pytest.raises(InvalidCode, match="unpacks to more"):
        fetch(GOOD, tmp_path)
    monkeypatch.setattr(code, "MAX_UNPACKED", 1 << 30)
    monkeypatch.setattr(code, "MAX_MEMBERS", 2)
    with pytest.raises(InvalidCode, match="more than 2 members"):
        fetch(GOOD, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_faster_submission_of_the_same_code_wins(tmp_path: Path) -> None:
    sha256 = hashlib.sha256(GOOD).hexdigest()

    def download(key: str, to: Path, limit: int) -> bool:
        (tmp_path / sha256).mkdir()
        (tmp_path / sha256 / "theirs").touch()
        to.write_bytes(GOOD)
        return True

    folder = code.unpacked(CodeRef.of(sha256), folder=tmp_path, download=download)
    assert [path.name for path in folder.iterdir()] == ["theirs"]
    assert [path.name for path in tmp_path.iterdir()] == [sha256]
