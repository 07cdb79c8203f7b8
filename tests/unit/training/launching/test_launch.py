"""The launcher for real: processes that find each other over this machine's loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.training.conftest import ROOT, free_port
from training.errors import LaunchError
from training.launching import network

RANK = """
import os
from training.collective import Ranks
ranks = Ranks(os.environ)
total = ranks.total([ranks.rank + 1.0, 0.5], name="t")
print("sum", ranks.rank, total, ranks.share({"from": ranks.rank}, name="s"), flush=True)
"""
SHOW = """
import os
print(*(f"{key}={os.environ.get(key)}" for key in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "GLOO_SOCKET_IFNAME")))
"""


@pytest.fixture
def scontrol(tmp_path: Path) -> Path:
    """A folder with a scontrol that knows one node, at this machine."""
    program = tmp_path / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\ncase "$2" in hostnames) echo gpu-1; echo gpu-2;; *) echo "NodeName=$4 NodeAddr=localhost";; esac\n'
    )
    program.chmod(0o755)
    return program.parent


def srun(scontrol: Path, rank: int, port: int, *arguments: str) -> subprocess.Popen[str]:
    """What srun would start as task `rank` of two on one node."""
    environment = {
        **os.environ,
        "PATH": f"{scontrol}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank),
        "SLURM_NODEID": "0",
        "SLURM_STEP_TASKS_PER_NODE": "2",
        "SLURM_STEP_NODELIST": "gpu-1",
    }
    command = [sys.executable, "-m", "training.launch", "--port", str(port), "--timeout", "20", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_two_horovod_ranks_from_slurms_variables(scontrol: Path) -> None:
    port = free_port()
    second = srun(scontrol, 1, port, "--", sys.executable, "-c", RANK)
    time.sleep(0.3)  # rank 0 may well come last
    first = srun(scontrol, 0, port, "--", sys.executable, "-c", RANK)
    outputs = [process.communicate(timeout=60)[0] for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0], outputs
    for rank, output in enumerate(outputs):
        assert f"sum {rank} [3.0, 1.0] {{'from': 0}}" in output


def test_torch_variables_from_slurms(scontrol: Path) -> None:
    output = srun(scontrol, 1, 23456, "--framework", "torch", "--", sys.executable, "-c", SHOW).communicate(timeout=30)[
        0
    ]
    assert output.strip() == "RANK=1 WORLD_SIZE=2 MASTER_ADDR=localhost GLOO_SOCKET_IFNAME=lo"


@pytest.mark.parametrize(
    ("code", "expected"), [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137), ("", 0)]
)
def test_the_exit_code_is_the_commands(code: str, expected: int) -> None:
    command = [sys.executable, "-m", "training.launch", "--", sys.executable, "-c", code]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False, capture_output=True)
    assert done.returncode in (expected, expected - 128 - 2 * (expected - 128) if expected > 128 else expected)


def test_one_failing_rank_ends_the_others() -> None:
    code = "import os, time\nif os.environ['HOROVOD_RANK'] == '1': raise SystemExit(5)\ntime.sleep(60)"
    command = [
        sys.executable,
        "-m",
        "training.launch",
        "--local",
        "2",
        "--port",
        str(free_port()),
        "--",
        sys.executable,
        "-c",
        code,
    ]
    begun = time.monotonic()
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False, capture_output=True)
    assert done.returncode == 5
    assert time.monotonic() - begun < 20


def test_a_command_that_is_not_there() -> None:
    command = [sys.executable, "-m", "training.launch", "--", "no-such-program"]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr == "error: cannot start no-such-program: No such file or directory\n"


def test_the_way_to_this_machine_is_the_loopback() -> None:
    assert network.interface_of(network.local_address_towards("localhost", port=9, timeout=1)) == "lo"
    with pytest.raises(LaunchError, match="no interface has the address"):
        network.interface_of("203.0.113.77")


def test_waiting_for_rank_0_has_an_end() -> None:
    with pytest.raises(LaunchError, match="rank 0 does not answer"):
        network.wait_for_port("localhost", port=free_port(), timeout=0.3)
    with socket.create_server(("localhost", 0)) as server:
        network.wait_for_port("localhost", port=server.getsockname()[1], timeout=5)
