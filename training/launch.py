"""Start one rank of a distributed program from Slurm's environment, whatever its framework.

    srun python -m training.launch -- python -m training.pretrain ...          Horovod over Gloo, no ssh, no MPI
    srun python -m training.launch --framework torch -- python my_training.py  what torchrun would set
    python -m training.launch --local 2 -- python -m training.pretrain ...     two ranks here, without Slurm
    srun --mpi=pmix python -m training.launch --operations mpi -- ...          Horovod over MPI

Side effects: sets variables and becomes the command (exec). Rank 0 of Horovod stays as the parent of its command and
serves the rendezvous. Threads: OMP_NUM_THREADS becomes cores / ranks of the node and OMP_WAIT_POLICY=PASSIVE; NCCL and
libfabric are told the interface, and EFA where it is; all unless they are set.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from training.command import run
from training.errors import LaunchError, SettingsError
from training.launching import environment as env
from training.launching import fabric, tuning
from training.launching.network import interface_of, local_address_towards, wait_for_port
from training.launching.place import Place, from_slurm
from training.launching.rendezvous import serve
from training.launching.slurm import address_of_first_node


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="python -m training.launch", description="Start one rank of a distributed program."
    )
    p.add_argument("--framework", choices=("horovod", "torch"), default="horovod")
    p.add_argument(
        "--local",
        type=int,
        metavar="N",
        help="start N ranks on this machine instead of reading Slurm's environment",
    )
    p.add_argument("--port", type=int, help="port of rank 0 (default: a function of the job's number)")
    p.add_argument("--timeout", type=float, default=300.0, help="seconds to wait for rank 0")
    tuning.add_options(p)
    p.add_argument("command", nargs="+", help="-- and the command of a rank")
    return p


@dataclass(frozen=True)
class Start:
    """How ranks are started: what all of them share."""

    command: Sequence[str]
    framework: str
    port: int
    timeout: float
    tuning: tuning.Tuning

    @property
    def rendezvous(self) -> bool:
        """Whether the launcher itself brings the ranks together: Horovod over anything but MPI."""
        return self.framework == "horovod" and self.tuning.operations != "mpi"


def rank_environment(place: Place, how: Start, *, base: Mapping[str, str]) -> dict[str, str]:
    """Variables to add for this rank, found out from the network: the address of rank 0 and the interface towards
    it."""
    threads = env.threads(place, base=base, cores=len(os.sched_getaffinity(0)), cpu_flags=cpu_flags())
    chosen = how.tuning.variables()
    if place.size == 1 and how.framework == "horovod":
        return {**chosen, **threads}
    address = local_address_towards(place.master, port=how.port, timeout=how.timeout)
    if len(place.tasks_per_node) > 1 and address.startswith("127."):
        raise LaunchError(
            f"this node's own name {place.master} resolves to {address}, which other nodes cannot reach; "
            "set the node's NodeAddr in Slurm to its address"
        )
    interface = interface_of(address)
    network = fabric.variables(fabric.efa_devices(), interface=interface)
    network = {key: value for key, value in network.items() if key not in base}
    if how.framework == "torch":
        return {**env.torch(place, port=how.port, interface=interface), **network, **chosen, **threads}
    if how.tuning.operations == "mpi":
        # MPI numbers the ranks itself; training.pretrain divides its batch by the size before Horovod has begun
        return {"HOROVOD_SIZE": str(place.size), **network, **chosen, **threads}
    return {**env.horovod(place, port=how.port, interface=interface), **network, **chosen, **threads}


def cpu_flags() -> frozenset[str]:
    """Instruction sets of this machine's first processor; empty where /proc/cpuinfo does not say."""
    for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
        if line.startswith("flags"):
            return frozenset(line.split(":", 1)[1].split())
    return frozenset()


def start(place: Place, how: Start) -> int:
    """Run this rank's command; returns only where this process stays its parent."""
    full = {**os.environ, **rank_environment(place, how, base=os.environ)}
    if how.rendezvous and place.size > 1:
        if place.rank == 0:
            with serve(place.plan(), address=place.master, port=how.port):
                return supervise([spawn(how.command, full)])
        wait_for_port(place.master, port=how.port, timeout=how.timeout)
    try:
        os.execvpe(how.command[0], list(how.command), full)
    except OSError as error:
        raise LaunchError(f"cannot start {how.command[0]}: {error.strerror}") from error


def spawn(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a rank that dies with this process, even when that is killed without a word."""
    try:
        return subprocess.Popen(command, env=environment, preexec_fn=die_with_parent)
    except OSError as error:
        raise LaunchError(f"cannot start {command[0]}: {error.strerror}") from error


def die_with_parent() -> None:
    """Runs in a new child, before its program: ask the kernel for SIGKILL when the parent ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG


def supervise(children: list[subprocess.Popen[bytes]]) -> int:
    """Pass signals on, wait for all; when one fails, end the others. The first bad exit code (128 + signal for a
    killed one), or 0.
    """

    def forward(number: int, frame: object) -> None:
        del frame
        for child in children:
            if child.poll() is None:
                child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, forward)
    left, code = {child.pid: child for child in children}, 0
    while left:
        pid, status = os.wait()
        child = left.pop(pid, None)
        if child is None:
            continue
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode and not code:
            code = child.returncode if child.returncode > 0 else 128 - child.returncode
            for other in left.values():
                other.terminate()
    return code


def start_local(size: int, how: Start) -> int:
    """Start `size` ranks on this machine and wait for them."""
    places = [
        Place(rank=rank, local_rank=rank, node=0, tasks_per_node=(size,), master="localhost") for rank in range(size)
    ]
    with serve(places[0].plan(), address="localhost", port=how.port) if how.rendezvous else nullcontext():
        children = []
        for place in places:
            added = rank_environment(place, how, base=os.environ)
            children.append(spawn(how.command, {**os.environ, **added}))
        return supervise(children)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    args = parser().parse_args(argv)
    if args.local is not None and args.local < 1:
        raise SettingsError(f"--local is {args.local}, must be at least 1")
    if args.local is not None and args.operations == "mpi":
        raise SettingsError("--local starts no MPI; use mpirun -n N python -m training.launch --operations mpi -- ...")
    how = Start(
        command=args.command,
        framework=args.framework,
        port=args.port or env.default_port(os.environ),
        timeout=args.timeout,
        tuning=tuning.from_options(args),
    )
    if args.local is not None:
        return start_local(args.local, how)
    return start(from_slurm(os.environ, master=lambda: address_of_first_node(os.environ)), how)


if __name__ == "__main__":
    run(main)
