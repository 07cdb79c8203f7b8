"""Options of the reduction: the variables they become, what Horovod must have for them, and what they cost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.training.conftest import ROOT
from training import launch
from training.errors import LaunchError, SettingsError
from training.launching import fabric, tuning
from training.launching.tuning import Built, Tuning, choose, inexact_because

GLOO = Built(gloo=True, mpi=False, nccl=False)
ALL = Built(gloo=True, mpi=True, nccl=True)


def options(*arguments: str) -> Tuning:
    return tuning.from_options(launch.parser().parse_args([*arguments, "--", "true"]))


def test_every_option_becomes_its_variable() -> None:
    chosen = options(
        *("--fusion-threshold-mb", "64", "--cycle-time-ms", "3.5", "--hierarchical-allreduce"),
        *("--autotune", "--autotune-log", "/tmp/a.csv", "--nccl-algorithm", "tree", "--operations", "nccl"),
    )
    assert chosen.variables() == {
        "DURE_OPERATIONS": "nccl",
        "HOROVOD_FUSION_THRESHOLD": str(64 * 1024 * 1024),
        "HOROVOD_CYCLE_TIME": "3.5",
        "HOROVOD_HIERARCHICAL_ALLREDUCE": "1",
        "HOROVOD_AUTOTUNE": "1",
        "HOROVOD_AUTOTUNE_LOG": "/tmp/a.csv",
        "NCCL_ALGO": "Tree",
    }
    assert options().variables() == {"DURE_OPERATIONS": "auto"}


def test_wrong_values_are_named_together() -> None:
    with pytest.raises(SettingsError, match=r"--cycle-time-ms is -1.0.*; --autotune-log needs --autotune"):
        options("--cycle-time-ms", "-1", "--autotune-log", "x")


@pytest.mark.parametrize(
    ("requested", "built", "gpus", "expected"),
    [
        ("auto", GLOO, 0, "gloo"),
        ("auto", GLOO, 8, "gloo"),
        ("auto", ALL, 0, "gloo"),
        ("auto", ALL, 8, "nccl"),
        ("mpi", ALL, 0, "mpi"),
        ("gloo", ALL, 8, "gloo"),
    ],
)
def test_what_carries_the_gradients(requested: str, built: Built, gpus: int, expected: str) -> None:
    assert choose(requested, built=built, gpus=gpus) == expected


def test_what_is_not_there_is_refused_with_what_is() -> None:
    with pytest.raises(
        LaunchError, match=r"--operations nccl: this Horovod was built with gloo; build it with HOROVOD_"
    ):
        choose("nccl", built=GLOO, gpus=8)
    with pytest.raises(LaunchError, match="HOROVOD_WITH_MPI=1"):
        choose("mpi", built=GLOO, gpus=0)
    with pytest.raises(LaunchError, match="sees no GPU"):
        choose("nccl", built=ALL, gpus=0)


def test_what_breaks_exactness_is_said() -> None:
    exact = {"HOROVOD_DISABLE_GROUP_FUSION": "1"}
    assert inexact_because(exact, groups=4, ranks=2) == []
    assert inexact_because({"HOROVOD_AUTOTUNE": "1"}, groups=0, ranks=1) == []  # a single rank has nothing to sum
    assert "--reduce-groups 0" in inexact_because(exact, groups=0, ranks=2)[0]
    assert "--autotune" in inexact_because({**exact, "HOROVOD_AUTOTUNE": "1"}, groups=4, ranks=2)[0]
    assert "HOROVOD_DISABLE_GROUP_FUSION" in inexact_because({}, groups=4, ranks=2)[0]


def device(root: Path, name: str, *, vendor: str, identity: str) -> None:
    (root / name / "device").mkdir(parents=True)
    (root / name / "device" / "vendor").write_text(f"{vendor}\n")
    (root / name / "device" / "device").write_text(f"{identity}\n")


def test_efa_is_found_by_its_vendor(tmp_path: Path) -> None:
    assert fabric.efa_devices(tmp_path / "nowhere") == []
    device(tmp_path, "mlx5_0", vendor="0x15b3", identity="0x1017")
    (tmp_path / "siw0").mkdir()  # a software device
    assert fabric.efa_devices(tmp_path) == []
    device(tmp_path, "efa_0", vendor="0x1d0f", identity="0xefa1")
    assert fabric.efa_devices(tmp_path) == ["0xefa1"]


def test_remote_memory_is_read_only_where_every_device_can() -> None:
    assert fabric.variables([], interface="eth0") == {"NCCL_SOCKET_IFNAME": "eth0"}
    p3dn = fabric.variables(["0xefa0"], interface="eth0")
    assert p3dn == {"NCCL_SOCKET_IFNAME": "eth0", "FI_PROVIDER": "efa"}
    p4d = fabric.variables(["0xefa1"] * 4, interface="eth0")
    assert p4d == {**p3dn, "FI_EFA_USE_DEVICE_RDMA": "1"}


RANK = """
import os
from training.collective import Ranks
ranks = Ranks(os.environ)
total = ranks.total([ranks.rank + 1.0], name="t")
print("sum", ranks.rank, ranks.operations, total, os.environ.get("HOROVOD_CYCLE_TIME"), flush=True)
"""


def run(*command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMPI_ALLOW_RUN_AS_ROOT": "1"}
    environment["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1"
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=False)
    return f"{done.returncode} {done.stdout} {done.stderr}"


def test_ranks_over_mpi_find_each_other() -> None:
    launched = (sys.executable, "-m", "training.launch", "--operations", "mpi", "--cycle-time-ms", "2", "--")
    output = run("mpirun", "--oversubscribe", "-n", "2", *launched, sys.executable, "-c", RANK)
    assert output.startswith("0 ")
    for rank in range(2):
        assert f"sum {rank} mpi [3.0] 2.0" in output


def test_nccl_is_refused_here_with_the_reason() -> None:
    launched = (sys.executable, "-m", "training.launch", "--operations", "nccl", "--")
    output = run(*launched, sys.executable, "-c", RANK)
    assert "this Horovod was built with gloo, mpi" in output


def test_local_ranks_have_no_mpi() -> None:
    output = run(sys.executable, "-m", "training.launch", "--local", "2", "--operations", "mpi", "--", "true")
    assert output.startswith("2 ")
    assert "use mpirun -n N" in output
