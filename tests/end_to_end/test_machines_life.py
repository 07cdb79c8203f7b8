"""The life of the whole: whatever happens to the owner, nothing of its machines is left on this host."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest

from tests.end_to_end.machines_owner import Owner, instance

pytestmark = [pytest.mark.local_cloud, pytest.mark.timeout(180)]

KINDS = ("net", "mnt", "pid", "ipc", "uts")


def processes_of(state: Path) -> list[int]:
    """The owner's and its machines' processes: their command line or their mounts name its folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes() + (entry / "mounts").read_bytes()
            except OSError:
                continue
            if str(state).encode() in words:
                found.append(int(entry.name))
    return found


def namespaces(processes: list[int] | None = None) -> set[str]:
    """The namespaces that these processes are in, or that any process of this host is in."""
    pids = processes if processes is not None else [int(e.name) for e in Path("/proc").iterdir() if e.name.isdigit()]
    found = set()
    for pid in pids:
        for kind in KINDS:
            with contextlib.suppress(OSError):
                found.add(str(Path(f"/proc/{pid}/ns/{kind}").readlink()))
    return found


def interfaces() -> list[str]:
    return sorted(entry.name for entry in Path("/sys/class/net").iterdir())


def wait_until_gone(state: Path) -> None:
    end = time.monotonic() + 10
    while processes_of(state):
        assert time.monotonic() < end, f"left: {processes_of(state)}"
        time.sleep(0.05)


def start_three(state: Path) -> Owner:
    owner = Owner(state)
    for number in (1, 2, 3):
        owner.launch(number, user_data="#!/bin/sh\nsetsid sleep 1000 &\nsleep 1000\n")
    for number in (1, 2, 3):
        assert owner.run(number, "systemctl is-system-running") == (0, "running\n")
    return owner


def test_a_kill_of_the_owner_leaves_nothing_and_it_starts_again(tmp_path: Path) -> None:
    before = (interfaces(), Path("/proc/self/mounts").read_text())
    state = tmp_path / "state"
    owner = start_three(state)
    running = processes_of(state)
    assert len(running) > 6
    theirs = namespaces(running) - namespaces([os.getpid()])
    assert len(theirs) >= 3 * len(KINDS)
    owner.process.send_signal(signal.SIGKILL)
    owner.process.wait()
    wait_until_gone(state)
    end = time.monotonic() + 10
    while (
        left := theirs & namespaces()
    ):  # a process that is dying has no command line any more, but still its namespaces
        assert time.monotonic() < end, left
        time.sleep(0.05)
    assert (interfaces(), Path("/proc/self/mounts").read_text()) == before
    owner.close()
    again = start_three(state)
    assert (state / "machines.previous" / instance(1) / "console.log").exists(), "the last logs can still be read"
    again.close()
    wait_until_gone(state)


def test_nothing_shows_on_the_host_while_machines_run(tmp_path: Path) -> None:
    before = (interfaces(), Path("/proc/self/mounts").read_text())
    state = tmp_path / "state"
    owner = start_three(state)
    assert (interfaces(), Path("/proc/self/mounts").read_text()) == before
    assert not listening() & sockets_of(processes_of(state)), "what listens does so in the machines' network"
    owner.close()
    wait_until_gone(state)


def listening() -> set[str]:
    """The sockets that listen in this host's network namespace, as inodes."""
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return {line[9] for line in lines if line[3] == "0A"}


def sockets_of(processes: list[int]) -> set[str]:
    """The sockets that processes hold open, as inodes."""
    found = set()
    for pid in processes:
        with contextlib.suppress(OSError):
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    found.add(str(entry.readlink()).removeprefix("socket:[").removesuffix("]"))
    return found


def test_a_crash_is_at_once_and_calls_nobody(tmp_path: Path) -> None:
    owner = start_three(tmp_path / "state")
    began = time.monotonic()
    owner.ask("crash", number=2)
    assert time.monotonic() - began < 2
    assert owner.ask("state", number=2) is None
    assert owner.ask("exited") == []
    assert owner.run(1, "true")[0] == 0, "the others live"
    owner.close()


def test_a_pid_1_that_dies_is_told(tmp_path: Path) -> None:
    owner = start_three(tmp_path / "state")
    pid = {m["id"]: m["pid"] for m in owner.ask("describe")}[instance(1)]
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 5
    while owner.ask("exited") != [instance(1)]:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert owner.ask("state", number=1) == "stopped"
    owner.close()


def test_what_machines_cost(tmp_path: Path) -> None:
    owner = start_three(tmp_path / "state")
    for machine in owner.ask("describe"):
        rollup = Path(f"/proc/{machine['pid']}/smaps_rollup").read_text()
        pss = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        assert pss < 20_000, "kB of pid 1; 11,500 measured"
    owner.close()


def test_a_launch_that_cannot_be_is_told(tmp_path: Path) -> None:
    owner = Owner(tmp_path / "state")
    owner.launch(1)
    with pytest.raises(RuntimeError, match="in use by another machine"):
        owner.launch(1)
    owner.launch(2, mac="not a mac")
    end = time.monotonic() + 10
    while owner.ask("exited") != [instance(2)]:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert "did not boot" in (tmp_path / "state" / "events.jsonl").read_text()
    with pytest.raises(RuntimeError, match="MachineError"):
        owner.run(2, "true", within=60)
    owner.close()


def test_a_state_folder_with_an_odd_name(tmp_path: Path) -> None:
    owner = Owner(tmp_path / "a b,c:d\\e'f")
    owner.launch(1)
    assert owner.run(1, "systemctl is-system-running; hostname")[1] == "running\nip-10-0-0-11\n"
    owner.close()


def test_machines_that_are_gone_hold_nothing(tmp_path: Path) -> None:
    owner = Owner(tmp_path / "state")

    def one_life() -> dict[str, int]:
        owner.launch(1)
        owner.run(1, "true")
        owner.ask("terminate", number=1)
        time.sleep(0.2)
        held: dict[str, int] = owner.ask("held")
        return held

    for _ in range(5):  # the threads that boot machines come one by one, and stay
        first = one_life()
    for _ in range(3):
        last = one_life()
    assert last == first
    owner.close()
