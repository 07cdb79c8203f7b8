"""The variables that frameworks read. Pure: from a place and what is known of the machine."""

from __future__ import annotations

from collections.abc import Mapping

from training.launching.place import Place

_FIRST_PORT, _PORTS = 20_000, 10_000


def default_port(environment: Mapping[str, str]) -> int:
    """A port that all ranks of a job step compute alike and two steps on one machine rarely share; below the
    ephemeral range.
    """
    job, step = (int(environment.get(key, "0") or 0) for key in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    return _FIRST_PORT + (job * 97 + step) % _PORTS


def horovod(place: Place, *, port: int, interface: str) -> dict[str, str]:
    """Horovod over Gloo, as its own launcher would set it."""
    slot = place.slot()
    return {
        "HOROVOD_HOSTNAME": slot.host,
        "HOROVOD_RANK": str(slot.rank),
        "HOROVOD_SIZE": str(place.size),
        "HOROVOD_LOCAL_RANK": str(slot.local_rank),
        "HOROVOD_LOCAL_SIZE": str(slot.local_size),
        "HOROVOD_CROSS_RANK": str(slot.cross_rank),
        "HOROVOD_CROSS_SIZE": str(slot.cross_size),
        "HOROVOD_GLOO_RENDEZVOUS_ADDR": place.master,
        "HOROVOD_GLOO_RENDEZVOUS_PORT": str(port),
        "HOROVOD_GLOO_IFACE": interface,
        "HOROVOD_CONTROLLER": "gloo",
        "HOROVOD_CPU_OPERATIONS": "gloo",
        # Groups of gradients stay apart: what is summed together, and in which order, must not depend on timing
        "HOROVOD_DISABLE_GROUP_FUSION": "1",
    }


def torch(place: Place, *, port: int, interface: str) -> dict[str, str]:
    """What torchrun gives a worker; torch.distributed's env:// start needs no more. Rank 0 itself listens on the
    port.
    """
    return {
        "RANK": str(place.rank),
        "WORLD_SIZE": str(place.size),
        "LOCAL_RANK": str(place.local_rank),
        "LOCAL_WORLD_SIZE": str(place.local_size),
        "GROUP_RANK": str(place.node),
        "GROUP_WORLD_SIZE": str(len(place.tasks_per_node)),
        "MASTER_ADDR": place.master or "localhost",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": interface,
    }


def threads(place: Place, *, base: Mapping[str, str], cores: int, cpu_flags: frozenset[str]) -> dict[str, str]:
    """Threads of one rank. What is set already stays. `cores` is what this process may run on."""
    per_task = base.get("SLURM_CPUS_PER_TASK", "")
    on_node = int(base.get("SLURM_CPUS_ON_NODE", "0") or 0)
    available = min(cores, on_node) if on_node else cores
    count = int(per_task) if per_task.isdigit() else max(1, available // place.local_size)
    wanted = {"OMP_NUM_THREADS": str(count), "OMP_WAIT_POLICY": "PASSIVE"}
    if "avx2" in cpu_flags:
        # The OpenBLAS inside mxnet 1.9.1 (0.3.13) does not know newer processors and falls back to kernels of 2004
        # there
        wanted["OPENBLAS_CORETYPE"] = "Haswell"
    return {key: value for key, value in wanted.items() if key not in base}
