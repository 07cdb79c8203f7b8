"""A boot that does not happen leaves a machine that is down, never one that stays pending."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from infra.local_cloud.machines import machine as module
from infra.local_cloud.machines.api import MachineError, MachineSpec
from infra.local_cloud.machines.machine import Machine
from infra.local_cloud.machines.network import Router

SPEC = MachineSpec(
    instance_id="i-00000000000000001",
    private_ip="10.0.0.11",
    prefix_length=24,
    gateway="10.0.0.1",
    mac="02:00:00:00:00:01",
    host_name="ip-10-0-0-11",
    instance_type="c5.large",
    gpus=0,
    user_data=b"",
    metadata=lambda: {},
    tokens_required=True,
)


class FakeProcess:
    """pid 1 that goes as far as it is told: `said` is its first message."""

    pid = 4711

    def __init__(self, said: dict[str, Any] | Exception | None) -> None:
        self.said, self.killed, self.closed = said, False, False

    def go(self) -> None:
        pass

    def receive(self, *, timeout: float | None) -> dict[str, Any] | None:
        if isinstance(self.said, Exception):
            raise self.said
        return self.said

    def kill(self) -> None:
        self.killed = True

    def wait(self, timeout: float | None = None) -> int:
        return 0

    def close(self) -> None:
        self.closed = True


class Plugs:
    """A router that takes every machine."""

    def plug(self, pid: int, *, mac: str, address: str, gateway: str) -> None:
        assert (pid, mac) == (FakeProcess.pid, SPEC.mac)


def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: FakeProcess | Exception) -> Machine:
    """A machine whose process is `start`, or fails so."""

    def begin(*_: object, **__: object) -> FakeProcess:
        if isinstance(start, Exception):
            raise start
        return start

    monkeypatch.setattr(module.Process, "start", begin)
    nothing = cast("Any", None)
    return Machine(
        SPEC, folder=tmp_path, plan=nothing, find_mount=nothing, ask_volume=nothing, log=lambda *_, **__: None
    )


def boot(machine: Machine, tmp_path: Path) -> None:
    machine.boot(cast("Router", Plugs()), programs=tmp_path)


def test_one_that_comes_up_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = made(tmp_path, monkeypatch, FakeProcess({"kind": "up"}))
    assert (machine.state, machine.pid) == ("pending", None)
    boot(machine, tmp_path)
    assert (machine.state, machine.pid) == ("running", FakeProcess.pid)


@pytest.mark.parametrize("said", [None, {"kind": "other"}, TimeoutError("timed out"), ValueError("not a message")])
def test_one_that_does_not_come_up_is_down(
    said: dict[str, Any] | Exception | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = FakeProcess(said)
    machine = made(tmp_path, monkeypatch, process)
    with pytest.raises(MachineError, match="did not boot"):
        boot(machine, tmp_path)
    assert (machine.state, machine.pid, process.killed, process.closed) == ("stopped", None, True, True)


@pytest.mark.parametrize("error", [MachineError("no namespaces"), OSError("no space"), RuntimeError("no thread")])
def test_one_whose_process_can_not_be_started_is_down(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = made(tmp_path, monkeypatch, error)
    with pytest.raises(MachineError, match=str(error)):
        boot(machine, tmp_path)
    assert machine.state == "stopped"
    machine.shut_down()


@pytest.mark.timeout(10)
def test_one_that_was_ended_before_its_boot_does_not_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = made(tmp_path, monkeypatch, AssertionError("it was started"))
    machine.shut_down()
    boot(machine, tmp_path)
    assert machine.state == "stopped"
    machine.listen()
