"""The service manager over real processes, without a machine: this test process plays pid 1."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local_cloud.devices.systemd import execution, report, units
from infra.local_cloud.devices.systemd.manager import Manager
from infra.local_cloud.machines.inside.children import Children

SEARCH = ("/etc/systemd/system",)


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    """A manager whose units lie in a folder of the test."""
    monkeypatch.setattr(execution, "LOG_FOLDER", tmp_path / "log")
    monkeypatch.setattr(report, "LOG_FOLDER", tmp_path / "log")
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    children, done = Children(), threading.Event()

    def reap() -> None:
        while not done.wait(0.01):
            children.reap()

    thread = threading.Thread(target=reap)
    thread.start()
    environment = {"PATH": "/usr/bin:/bin"}
    made = Manager(children, environment=environment, log=lambda text: None, root=tmp_path, search=SEARCH)
    yield made
    made.stop_all()
    done.set()
    thread.join()


def add(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "etc/systemd/system" / f"{name}.service").write_text(text)


def test_start_status_stop(manager: Manager, tmp_path: Path) -> None:
    add(tmp_path, "a", "[Unit]\nDescription=An A\n[Service]\nExecStart=/bin/sleep 100\n")
    assert manager.command(["is-active", "a"]) == {"code": 3, "stdout": "inactive\n"}
    assert manager.command(["start", "a"])["code"] == 0
    answer = manager.command(["status", "a", "--no-pager"])
    assert answer["code"] == 0 and "a.service - An A" in answer["stdout"] and "active (running)" in answer["stdout"]
    assert "a.service loaded active running An A" in manager.command(["list-units"])["stdout"]
    assert manager.command(["show", "a", "-p", "ActiveState", "--value"])["stdout"] == "active\n"
    assert manager.command(["stop", "a"])["code"] == 0
    assert manager.command(["show", "a", "--property=ActiveState,MainPID"])[
        "stdout"
    ] == "MainPID=0\nActiveState=inactive\n" or (
        manager.command(["show", "a", "--property=ActiveState,MainPID"])["stdout"]
        == "ActiveState=inactive\nMainPID=0\n"
    )


def test_a_program_that_does_not_exist(manager: Manager, tmp_path: Path) -> None:
    add(tmp_path, "a", "[Service]\nExecStart=/no/such/program\n")
    answer = manager.command(["start", "a"])
    assert answer["code"] == 1 and "Job for a.service failed" in answer["stderr"]
    assert manager.command(["is-failed", "a"]) == {"code": 0, "stdout": "failed\n"}
    assert manager.command(["is-system-running"])["stdout"] == "degraded\n"
    manager.command(["reset-failed"])
    assert manager.command(["is-system-running"])["stdout"] == "running\n"


def test_a_circle_of_needs_ends(manager: Manager, tmp_path: Path) -> None:
    add(tmp_path, "a", "[Unit]\nWants=b.service\n[Service]\nExecStart=/bin/sleep 100\n")
    add(tmp_path, "b", "[Unit]\nWants=a.service missing.service\n[Service]\nExecStart=/bin/sleep 100\n")
    assert manager.command(["start", "a"])["code"] == 0
    assert manager.command(["is-active", "a", "b"])["stdout"] == "active\nactive\n"


def test_enable_and_disable_make_links(manager: Manager, tmp_path: Path) -> None:
    add(tmp_path, "a", "[Service]\nExecStart=/bin/sleep 100\n[Install]\nWantedBy=multi-user.target\n")
    add(tmp_path, "b", "[Service]\nExecStart=/bin/sleep 100\n")
    assert manager.command(["is-enabled", "a"]) == {"code": 1, "stdout": "disabled\n"}
    assert manager.command(["enable", "--now", "a"])["code"] == 0
    assert (tmp_path / "etc/systemd/system/multi-user.target.wants/a.service").is_symlink()
    assert manager.command(["is-enabled", "a", "b"])["stdout"] == "enabled\nstatic\n"
    assert manager.command(["disable", "a"])["code"] == 0
    assert manager.command(["is-enabled", "a"])["stdout"] == "disabled\n"


def test_enabled_units_start_at_boot(manager: Manager, tmp_path: Path) -> None:
    add(tmp_path, "a", "[Service]\nExecStart=/bin/sleep 100\n[Install]\nWantedBy=multi-user.target\n")
    manager.command(["enable", "a"])
    manager.start_enabled()
    assert manager.command(["is-active", "a"])["stdout"] == "active\n"


def test_odd_command_lines(manager: Manager) -> None:
    assert "'edit' is not known" in manager.command(["edit", "a"])["stderr"]
    assert "--root=/x is not known" in manager.command(["--root=/x", "start", "a"])["stderr"]
    assert manager.command(["start"])["stderr"] == "Too few arguments.\n"
    assert manager.command(["start", "x.mount"])["code"] == 1
    assert manager.command(["start", "missing"]) == {
        "code": 5, "stdout": "", "stderr": "Unit missing.service could not be found.\n"}  # fmt: skip
    assert manager.command(["is-active", "missing"])["stdout"] == "inactive\n"
    assert "LoadState=not-found" in manager.command(["show", "missing"])["stdout"]


def test_names() -> None:
    assert units.full_name("a") == "a.service"
    assert units.full_name("a.service") == "a.service"
    assert units.full_name("a@b.c") == "a@b.c"
