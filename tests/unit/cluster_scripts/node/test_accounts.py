"""The job user and the folders."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from cluster_scripts.jobs.errors import StepFailed
from cluster_scripts.node import accounts
from cluster_scripts.node.system import Result, System
from tests.unit.cluster_scripts.made import FACTS, Machine

MISSING = Result(2, "", "")


def test_makes_user_and_group_when_there_are_none(tmp_path: Path) -> None:
    entries = iter([MISSING, Result(0, "dure:x:5000:5000::/home/dure:/bin/bash\n", "")])
    machine = Machine(tmp_path, answers={"getent group": MISSING, "getent passwd": lambda _: next(entries)})
    accounts.make_job_user(machine.system)
    assert machine.ran("groupadd") == ["groupadd --gid 5000 dure"]
    assert machine.ran("useradd")[0].endswith("--uid 5000 --gid 5000 --home-dir /home/dure --shell /bin/bash dure")


def test_a_second_run_makes_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path, answers={"getent passwd": Result(0, "dure:x:5000:5000::/home/dure:/bin/bash\n", "")})
    accounts.make_job_user(machine.system)
    assert not machine.ran("groupadd")
    assert not machine.ran("useradd")


def test_another_number_is_an_error(tmp_path: Path) -> None:
    machine = Machine(tmp_path, answers={"getent passwd": Result(0, "dure:x:1001:1001::/home/dure:/bin/bash\n", "")})
    with pytest.raises(StepFailed, match="is 1001:1001, expected 5000:5000"):
        accounts.make_job_user(machine.system)


def test_root_keeps_what_it_writes_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owners: dict[str, tuple[str, str]] = {}

    def own(self: System, descriptor: int, owner: str, *, group: str = "") -> None:
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        owners[path.removeprefix(str(tmp_path))] = (owner, group or owner)

    monkeypatch.setattr(System, "own", own)
    accounts.make_shared_folders(Machine(tmp_path).system, FACTS)
    assert owners == {
        "/fsx": ("root", "root"),
        "/fsx/.dure": ("root", "root"),
        "/fsx/.dure/code": ("root", "root"),
        "/fsx/.dure/logs": ("dure", "dure"),
        "/fsx/.dure/metrics": ("dure", "dure"),
        "/fsx/data": ("root", "dure"),
    }
    # all may write, and the sticky bit keeps root's folders where they are
    assert stat.S_IMODE((tmp_path / "fsx").stat().st_mode) == 0o1777
    assert stat.S_IMODE((tmp_path / "fsx/data").stat().st_mode) == 0o775
    assert stat.S_IMODE((tmp_path / "fsx/.dure/code").stat().st_mode) == 0o755
