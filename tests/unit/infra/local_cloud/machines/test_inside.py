"""The small programs of a machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local_cloud.machines.image import install_programs
from infra.local_cloud.machines.inside import channel, power, programs, user_data
from infra.local_cloud.machines.inside.children import Children, alive


def test_messages_carry_open_files(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, (tmp_path / "x").open("w") as file:
        channel.send(ours, {"kind": "run"}, [file.fileno()])
        packet = channel.receive(theirs)
        assert packet is not None and packet[0] == {"kind": "run"}
        os.write(packet[1][0], b"through")
        channel.close_all(packet[1])
        with pytest.raises(OSError, match="at most"):
            channel.send(ours, {"too": "long" * channel.MAX_PACKET})
        ours.close()
        assert channel.receive(theirs) is None
    assert (tmp_path / "x").read_text() == "through"


@pytest.fixture
def children() -> Iterator[Children]:
    made, done = Children(), threading.Event()

    def reap() -> None:
        while not done.wait(0.01):
            made.reap()

    thread = threading.Thread(target=reap)
    thread.start()
    yield made
    done.set()
    thread.join()


def run(children: Children, *argv: str) -> int | None:
    pid = children.spawn(argv, env={"PATH": "/usr/bin:/bin"}, stdout=2, stderr=2)
    return children.wait(pid, timeout=5)


def test_exit_codes_and_signals(children: Children) -> None:
    assert run(children, "sh", "-c", "exit 7") == 7
    assert run(children, "sh", "-c", "kill -9 $$") == 137
    with pytest.raises(OSError, match="no-such-program"):
        run(children, "no-such-program")


def test_many_short_processes_lose_no_code(children: Children) -> None:
    pids = [children.spawn(["true"], env={"PATH": "/usr/bin:/bin"}, stdout=2, stderr=2) for _ in range(30)]
    assert [children.wait(pid, timeout=5) for pid in pids] == [0] * 30
    assert not any(alive(pid) or children.running(pid) for pid in pids)


def outcome(children: Children, tmp_path: Path, data: bytes | None) -> tuple[int, str, list[str]]:
    if data is not None:
        (tmp_path / "user-data.txt").write_bytes(data)
    log, result = tmp_path / "output.log", tmp_path / "run/result.json"
    code = user_data.run(children, instance=tmp_path, log=log, result=result, env={"PATH": "/usr/bin:/bin"})
    return code, log.read_text() if log.exists() else "", json.loads(result.read_text())["v1"]["errors"]


def test_a_script_runs(children: Children, tmp_path: Path) -> None:
    assert outcome(children, tmp_path, b"#!/bin/sh\necho out; echo err >&2\n") == (0, "out\nerr\n", [])


def test_no_user_data_is_fine(children: Children, tmp_path: Path) -> None:
    assert outcome(children, tmp_path, None) == (0, "", [])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"#cloud-config\n", "cloud-config"), (b"Content-Type: multipart/mixed\n", "MIME"),
        (b"#include\nhttp://x", "include"), (b"\x1f\x8b\x08", "gzip"), (b"echo hi", "no script"), (b"", "no script"),
        (b"#!/no/such/shell\n", "can't be executed"),
    ],
)  # fmt: skip
def test_everything_else_is_refused_loudly(children: Children, tmp_path: Path, data: bytes, why: str) -> None:
    code, log, errors = outcome(children, tmp_path, data)
    assert code == 126 and why in log and why in errors[0]


@pytest.mark.parametrize(
    ("words", "seconds"),
    [(["now"], 0), (["-h", "now"], 0), (["-r", "+2"], 120), ([], 60), (["-c"], -1), (["whenever"], None)],
)
def test_shutdown_times(words: list[str], seconds: float | None) -> None:
    assert power.delay_of(words, now=time.time()) == seconds


def test_a_clock_time_is_the_next_one() -> None:
    now = time.mktime((2026, 1, 5, 10, 30, 0, 0, 0, -1))
    assert power.delay_of(["10:31"], now=now) == 60
    assert power.delay_of(["10:29"], now=now) == 86340


def test_programs_of_the_image_stand_alone(tmp_path: Path) -> None:
    """They run from the layer with nothing but a Python: no site-packages, no repository."""
    folder = install_programs(tmp_path, python=sys.executable)
    for path, words in programs.COMMANDS.items():
        text = (tmp_path / path).read_text()
        assert text.startswith("#!/bin/sh\n") and words in text and os.access(tmp_path / path, os.X_OK)
    for name, module in programs.MODULES.items():
        code = f"import sys; sys.path[:0] = [{str(folder)!r}]; import {module} as m; print(m.__file__)"
        done = subprocess.run([sys.executable, "-EsSI", "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.startswith(str(folder)), name


def test_an_unknown_program_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "nothing"])
    assert programs.main() == 2
    assert "'nothing'" in capsys.readouterr().err
