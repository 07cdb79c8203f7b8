"""Programs and files of a machine, with real ones."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from cluster_scripts.jobs.errors import StepFailed
from cluster_scripts.node.system import System, run
from tests.unit.cluster_scripts.made import Time


def test_a_program_gets_a_clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SBATCH_WAIT", "1")
    monkeypatch.setenv("LD_PRELOAD", "")
    result = run(["sh", "-c", "env | cut -d= -f1 | sort; pwd; cat"], input="in")
    assert result.stdout.split() == ["LANG", "PATH", "PWD", "/", "in"]


def test_any_exit_code_is_an_answer_and_check_wants_none() -> None:
    assert run(["sh", "-c", "echo no >&2; exit 3"]).code == 3
    with pytest.raises(StepFailed, match=r"`sh -c .*` ended with 3 and said: no"):
        System().check(["sh", "-c", "echo no >&2; exit 3"])


def test_programs_that_do_not_start_or_end() -> None:
    with pytest.raises(StepFailed, match="can't be started"):
        run(["/nowhere/program"])
    with pytest.raises(StepFailed, match="did not end within 0 s"):
        run(["sleep", "5"], timeout=0.05)
    with pytest.raises(StepFailed, match="there is no user 'nobody-of-that-name'"):
        run(["true"], user="nobody-of-that-name")


def test_a_file_appears_whole_with_its_mode(tmp_path: Path) -> None:
    system = System(root=tmp_path)
    system.write("/key", b"secret", mode=0o400)
    system.write("/key", "again", mode=0o400)
    assert (tmp_path / "key").read_text() == "again"
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o400
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    system = System(root=tmp_path)
    system.write("/file", "before")
    with pytest.raises(StepFailed, match="lacks its package"):
        system.write("/file", "after", owner="nobody-of-that-name")
    assert (tmp_path / "file").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_folders_get_their_mode_also_when_there(tmp_path: Path) -> None:
    system = System(root=tmp_path)
    for mode in (0o700, 0o1777):
        system.folder("/a/b", mode=mode)
        assert stat.S_IMODE((tmp_path / "a/b").stat().st_mode) == mode


def test_a_link_in_a_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir(mode=0o755)
    (tmp_path / "a").symlink_to("etc")
    with pytest.raises(StepFailed, match="/a is no folder"):
        System(root=tmp_path).folder("/a", mode=0o777)
    assert stat.S_IMODE((tmp_path / "etc").stat().st_mode) == 0o755


def test_waiting_ends_with_an_error() -> None:
    time = Time()
    answers = iter([False, False, True])
    System(clock=time.clock).until("ready", lambda: next(answers), seconds=5, pause=1)
    assert time.slept == [1, 1]
    with pytest.raises(StepFailed, match="the sky falls: not within 5 s"):
        System(clock=time.clock).until("the sky falls", lambda: False, seconds=5, pause=1)
