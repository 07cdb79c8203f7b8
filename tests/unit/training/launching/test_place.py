"""Places from Slurm's variables, and the variables that frameworks get."""

from __future__ import annotations

import pytest

from training.errors import LaunchError
from training.launching import environment, slurm
from training.launching.place import Place, from_slurm, parse_tasks_per_node

SRUN = {
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
    "SLURM_JOB_ID": "42",
    "SLURM_STEP_ID": "0",
}


def test_slurms_short_form() -> None:
    assert parse_tasks_per_node("2(x3),1") == (2, 2, 2, 1)
    assert parse_tasks_per_node("8") == (8,)
    with pytest.raises(LaunchError, match="not Slurm's form"):
        parse_tasks_per_node("2x3")


def test_a_place_among_uneven_nodes() -> None:
    place = from_slurm(SRUN, master=lambda: "10.0.0.10")
    assert (place.rank, place.size, place.local_size, place.master) == (3, 5, 2, "10.0.0.10")
    values = environment.horovod(place, port=2222, interface="eth0")
    assert values["HOROVOD_RANK"] == "3"
    assert values["HOROVOD_LOCAL_RANK"] == "1"
    assert values["HOROVOD_CROSS_RANK"] == "1"
    assert values["HOROVOD_CROSS_SIZE"] == "2"  # the third node has no second rank
    assert values["HOROVOD_GLOO_RENDEZVOUS_ADDR"] == "10.0.0.10"
    assert values["HOROVOD_GLOO_IFACE"] == "eth0"


def test_every_rank_has_its_own_slot() -> None:
    plan = Place(0, 0, 0, (2, 2, 1), "m").plan()
    assert [slot.rank for slot in plan] == [0, 1, 2, 3, 4]
    assert [slot.local_rank for slot in plan] == [0, 1, 0, 1, 0]
    assert [slot.host for slot in plan] == ["node0", "node0", "node1", "node1", "node2"]
    assert [(slot.cross_rank, slot.cross_size) for slot in plan] == [(0, 3), (0, 2), (1, 3), (1, 2), (2, 3)]


def test_without_slurm_there_is_one_rank() -> None:
    def never() -> str:
        raise AssertionError("a single rank asks nobody")

    assert from_slurm({}, master=never).size == 1
    alone = {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_TASKS_PER_NODE": "1"}
    assert from_slurm(alone, master=never).size == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"SLURM_LOCALID": ""}, "incomplete"),
        ({"SLURM_NODEID": "7"}, "does not fit"),
        ({"SLURM_PROCID": "2"}, "node by node"),
    ],
)
def test_what_does_not_fit_is_said(change: dict[str, str], message: str) -> None:
    with pytest.raises(LaunchError, match=message):
        from_slurm({**SRUN, **change}, master=lambda: "m")


def test_torch_gets_what_torchrun_would_set() -> None:
    values = environment.torch(from_slurm(SRUN, master=lambda: "10.0.0.10"), port=2222, interface="eth0")
    expected = {
        "RANK": "3",
        "WORLD_SIZE": "5",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "1",
        "MASTER_ADDR": "10.0.0.10",
        "MASTER_PORT": "2222",
    }
    assert expected.items() <= values.items()


@pytest.mark.parametrize(
    ("base", "cores", "count"),
    [({}, 8, "4"), ({"SLURM_CPUS_PER_TASK": "3"}, 8, "3"), ({"SLURM_CPUS_ON_NODE": "2"}, 8, "1"), ({}, 1, "1")],
)
def test_threads_share_the_cores(base: dict[str, str], cores: int, count: str) -> None:
    place = Place(0, 0, 0, (2,), "m")
    values = environment.threads(place, base=base, cores=cores, cpu_flags=frozenset({"avx2"}))
    assert values == {"OMP_NUM_THREADS": count, "OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_CORETYPE": "Haswell"}


def test_what_the_user_set_stays() -> None:
    base = {"OMP_NUM_THREADS": "7", "OPENBLAS_CORETYPE": "Zen"}
    values = environment.threads(Place(0, 0, 0, (1,), ""), base=base, cores=4, cpu_flags=frozenset({"avx2"}))
    assert values == {"OMP_WAIT_POLICY": "PASSIVE"}


def test_steps_have_their_ports() -> None:
    ports = {environment.default_port({"SLURM_JOB_ID": str(job), "SLURM_STEP_ID": "0"}) for job in range(1, 60)}
    assert len(ports) == 59
    assert all(20_000 <= port < 30_000 for port in ports)


# Captured from Slurm 22.05.8
NODE = (
    "NodeName=gpu-1 Arch=x86_64 CoresPerSocket=1 CPUAlloc=2 CPUTot=2 CPULoad=0.50 NodeAddr=10.0.1.17 "
    "NodeHostName=gpu-1 Version=22.05.8 State=ALLOCATED+CLOUD ThreadsPerCore=1 Partitions=gpu"
)


def test_the_address_of_a_node() -> None:
    assert slurm.node_address(NODE, name="gpu-1") == "10.0.1.17"
    assert slurm.node_address("NodeName=gpu-1", name="gpu-1") == "gpu-1"
