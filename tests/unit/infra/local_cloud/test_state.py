"""Who owns a state folder, and that a dead owner leaves it free."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local_cloud.machines import local
from infra.local_cloud.state import State, StateError

ROOT = Path(__file__).resolve().parents[4]
HOLD = """
import sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from infra.local_cloud.state import State
state = State(Path(sys.argv[2]))
with state.own():
    state.publish({"endpoint": "http://127.0.0.1:1"})
    print("owned", flush=True)
    time.sleep(60)
"""


def hold(folder: Path) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", HOLD, str(ROOT), str(folder)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "owned\n"
    process.stdout.close()
    return process


def test_a_second_owner_is_refused_with_the_first_ones_address(tmp_path: Path) -> None:
    process = hold(tmp_path)
    words = rf"already runs .*http://127\.0\.0\.1:1, process {process.pid}"
    with pytest.raises(StateError, match=words), State(tmp_path).own():
        pass
    assert State(tmp_path).end_owner() is True
    process.wait(5)
    assert State(tmp_path).info() is None


def test_a_killed_owner_leaves_a_stale_file_and_a_free_folder(tmp_path: Path) -> None:
    process = hold(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait(5)
    state = State(tmp_path)
    assert state.owner() is None and state.info() is not None
    with state.own():
        assert state.owner() is not None
    assert state.info() is None
    assert state.end_owner() is False


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="give --state a folder"):
        State(tmp_path / "file" / "below")


def test_a_clean_start_keeps_the_last_logs_once(tmp_path: Path) -> None:
    for name in ("machines/i-1", "machines.previous/i-0", "fsx/fs-1", "image"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "cloud.json").touch()
    local.clean(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["machines.previous"]
    assert (tmp_path / "machines.previous/i-1").is_dir()
