"""Set-up: what is asked for, what is found missing, and that failures say what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools.setup import environments, horovod, packages
from tools.setup.console import SetupError, run


def test_every_package_has_a_reason_and_tests_need_more() -> None:
    assert set(packages.wanted(tests=False)) < set(packages.wanted(tests=True))
    assert all(packages.wanted(tests=True).values())


def test_missing_packages_are_those_that_dpkg_does_not_report(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = "slurmctld installed\nmunge config-files\n"
    monkeypatch.setattr(packages.shutil, "which", lambda _: "/usr/bin/dpkg-query")
    monkeypatch.setattr(packages.subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 1, answer, ""))
    assert packages.missing({"slurmctld": "", "munge": "", "git": ""}) == ["git", "munge"]


def test_without_root_and_sudo_the_exact_command_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(packages.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(packages.shutil, "which", lambda _: None)
    with pytest.raises(SetupError, match=r"apt-get install -y --no-install-recommends munge"):
        packages.install(["munge"], reasons={"munge": "x"}, logs=tmp_path)


def test_a_failed_command_shows_its_last_lines_and_its_log(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    with pytest.raises(SetupError, match=r"(?s)code 3.*no luck.*x\.log.*try harder"):
        run("trying", [sys.executable, "-c", "print('no luck'); raise SystemExit(3)"], log=log, hint="try harder")


def test_an_environment_is_current_only_with_the_stamp_of_its_lock(tmp_path: Path) -> None:
    one = environments.Environment("x", "env", "lock.txt")
    (tmp_path / "lock.txt").write_text("six==1")
    (tmp_path / "env/bin").mkdir(parents=True)
    (tmp_path / "env/bin/python").touch()
    stamp = environments.stamp_of(tmp_path, one, "python")
    assert not environments.is_current(tmp_path, one, stamp)
    environments.mark(tmp_path, one, stamp)
    assert environments.is_current(tmp_path, one, stamp)
    (tmp_path / "lock.txt").write_text("six==2")
    assert not environments.is_current(tmp_path, one, environments.stamp_of(tmp_path, one, "python"))


def test_the_wheel_in_the_cache_is_used_and_nothing_is_compiled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = tmp_path / "dure/wheels/key"
    kept.mkdir(parents=True)
    (kept / "horovod-0.28.1-x.whl").touch()
    monkeypatch.setattr(horovod, "run", lambda *a, **k: pytest.fail("compiled again"))
    assert horovod.ensure_wheel(tmp_path, inside=tmp_path, key="key", logs=tmp_path).name == "horovod-0.28.1-x.whl"
