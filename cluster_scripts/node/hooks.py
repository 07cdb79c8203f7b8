"""What Slurm calls around a job: wait for its nodes (head), check a node before it (prolog), clean up after it
(epilog), and tell a lost node.

A prolog that fails drains its node, with its words as the reason, and the job goes to other nodes.
"""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import stat
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from cluster_scripts.jobs.errors import DureError, StepFailed
from cluster_scripts.node import scratch
from cluster_scripts.node.accounts import JOB_UID
from cluster_scripts.node.boot import SLURMD_PORT, listens
from cluster_scripts.node.slurm import MARK, Slurm, reason
from cluster_scripts.node.system import System
from cluster_scripts.slurm import commands, power
from infra.config.facts import Facts

#: Pause between two looks at a job's nodes, in seconds.
PAUSE = 0.2
#: A node with less free space than this, in bytes, would lose a checkpoint or its own logs.
LEAST_FREE = 256 << 20
#: The jobs that run on this node, a file each: the agent looks there whose figures it measures.
RUNNING_JOBS = "/run/dure/jobs"
#: Where processes leave files behind that the next job would trip over (NCCL's shared memory, say).
LEFTOVERS = ("/dev/shm", "/tmp", scratch.FOLDER)


def wait_for_nodes(system: System, node_list: str, *, seconds: float) -> bool:
    """PrologSlurmctld: return as soon as each node of the job answers: slurmctld then starts the batch script at once.

    Without this it does so on its next tick, up to 30 s later. False if a node is down: it will not come.
    """
    end = system.clock.now() + seconds
    argv = commands.node_states(node_list)
    while system.clock.now() < end:
        result = system.run(argv)
        # slurmctld may be busy, or may just restart: ask again
        states = power.node_states(result.stdout) if result.code == 0 else {}
        if any(state.down for state in states.values()):
            return False
        if states and not any(state.waiting for state in states.values()):
            return True
        system.clock.sleep(PAUSE)
    return False


def prolog(system: System, facts: Facts, *, job: str, queue: str, gpus: Callable[[], int | None]) -> None:
    """Check this node before a job starts on it; StepFailed says what is wrong.

    gpus: how many GPUs the driver's library sees, None where there is no such library.
    Side effects: notes the job in RUNNING_JOBS.
    """
    target = facts.file_system.mount_point
    if system.run(["mountpoint", "--quiet", target]).code:
        raise StepFailed(f"{target} is not mounted")
    folders = (scratch.FOLDER,) if facts.queue(queue).nvme_scratch else ()
    for folder in (target, "/tmp", "/var/log", *folders):
        room = os.statvfs(system.path(folder))
        if (free := room.f_bavail * room.f_frsize) < LEAST_FREE:
            raise StepFailed(f"{folder} has {free >> 20} MiB left, at least {LEAST_FREE >> 20} are needed")
    _check_gpus(system, facts.queue(queue).gpus, gpus)
    system.folder(RUNNING_JOBS)
    system.path(f"{RUNNING_JOBS}/{job}").touch()


def refuse_node(slurm: Slurm, node: str, error: StepFailed) -> None:
    """Drain this node with our reason: Slurm's own would be "Prolog error". It does drain it if that does not work."""
    with suppress(DureError):
        slurm.update_nodes([node], state="DRAIN", reason=reason(MARK, error))


def _check_gpus(system: System, wanted: int, gpus: Callable[[], int | None]) -> None:
    devices = sum(system.path(f"/dev/nvidia{number}").exists() for number in range(wanted))
    if devices != wanted:
        raise StepFailed(f"{devices} of {wanted} GPU devices are in /dev")
    if wanted and (seen := gpus()) is not None and seen != wanted:
        raise StepFailed(f"NVML sees {seen} GPUs, this instance type has {wanted}: one has fallen off the bus")


def count_gpus() -> int | None:
    """GPUs that NVML sees; None where its library is missing."""
    try:
        pynvml: Any = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:
        return None
    except pynvml.NVMLError as error:
        raise StepFailed(f"NVML does not start: {error}") from error
    try:
        return int(pynvml.nvmlDeviceGetCount())
    finally:
        pynvml.nvmlShutdown()


def epilog(system: System, *, job: str) -> int:
    """End what the job left behind on this node, which it had for itself; the number of processes ended.

    Side effects: kills every process of the job user, removes its files in /tmp, /dev/shm and /scratch, and the job's
    note.
    """
    system.path(f"{RUNNING_JOBS}/{job}").unlink(missing_ok=True)
    ended = 0
    for pid in _processes(system.path("/proc"), JOB_UID):
        try:
            os.kill(pid, signal.SIGKILL)
            ended += 1
        except ProcessLookupError:
            continue
    for folder in LEFTOVERS:
        _clear(system.path(folder), JOB_UID)
    return ended


def _processes(proc: Path, uid: int) -> Iterator[int]:
    for entry in proc.iterdir():
        if entry.name.isdigit():
            try:
                if entry.stat().st_uid == uid:
                    yield int(entry.name)
            except OSError:
                continue


def _clear(folder: Path, uid: int) -> None:
    """Remove what belongs to a user in a folder, and never follow its links."""
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        info = entry.lstat()
        if info.st_uid == uid:
            _remove(entry, is_folder=stat.S_ISDIR(info.st_mode))


def _remove(entry: Path, *, is_folder: bool) -> None:
    if is_folder:
        # its walk is by file descriptors: a link put in its way leads nowhere else
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink(missing_ok=True)


def lost_nodes(
    system: System,
    environment: Mapping[str, str],
    *,
    reach: Callable[[str, int], bool] = listens,
    tries: int = 3,
) -> list[str]:
    """The job's nodes that do not answer any more; asked by its batch script when the ranks have failed.

    An empty list also when that can't be found out: then the job has failed by itself as far as we know.
    """
    result = system.run(commands.node_states(environment.get("SLURM_JOB_NODELIST", "")))
    states = power.node_states(result.stdout) if result.code == 0 else {}
    left = {name: state.address for name, state in states.items() if not state.down}
    lost = sorted(set(states) - set(left))
    with ThreadPoolExecutor(max_workers=32) as pool:
        for number in range(tries):
            answers = list(pool.map(lambda address: reach(address, SLURMD_PORT), left.values()))
            left = {name: address for (name, address), answer in zip(left.items(), answers, strict=True) if not answer}
            if not left:
                break
            if number + 1 < tries:
                system.clock.sleep(1)
    return sorted({*lost, *left})
