"""What the trainer's benchmarks use as a cluster's network: machines that are network namespaces around one switch.

Every machine has its own namespace, address (10.77.0.x) and link, whose rate is limited in both directions by the
kernel's token bucket (tbf). Only the network and the host name are apart: files and processes are the host's. The
namespaces go with the processes that hold them. Needs root.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PATIENCE = 5.0


@dataclass(frozen=True)
class Machine:
    """A namespace: the process that holds it, and its address."""

    holder: int
    address: str

    def command(self, command: Sequence[str | Path]) -> list[str]:
        """The same command inside."""
        where = f"/proc/{self.holder}/ns"
        return ["nsenter", f"--net={where}/net", f"--uts={where}/uts", *map(str, command)]


def _hold(stack: contextlib.ExitStack, name: str) -> int:
    """A process in a new network namespace, ended with the stack. The machine's name is its address: Gloo binds to what
    the host's name resolves to, whatever interface it is told."""
    inside = ["sh", "-c", 'hostname "$1" && exec sleep 3600', "sh", name]
    process = subprocess.Popen(["unshare", "--net", "--uts", *inside], stderr=subprocess.PIPE)
    stack.callback(process.wait)
    stack.callback(process.kill)
    deadline = time.monotonic() + _PATIENCE
    while not Path(f"/proc/{process.pid}/comm").read_text().startswith("sleep"):
        if process.poll() is not None or time.monotonic() > deadline:
            said = process.stderr.read().decode() if process.poll() is not None and process.stderr else "it hangs"
            raise RuntimeError(f"unshare --net could not make a network namespace ({said.strip()}); run as root")
        time.sleep(0.01)
    return process.pid


@contextlib.contextmanager
def machines(count: int, *, megabits: float | None) -> Iterator[list[Machine]]:
    """So many machines around a switch, each link limited to `megabits` a second both ways (None: not at all)."""
    with contextlib.ExitStack() as stack:
        switch = Machine(_hold(stack, "switch"), "")
        addresses = [f"10.77.0.{number + 1}" for number in range(count)]
        found = [Machine(_hold(stack, address), address) for address in addresses]
        _ip(switch, "link add switch type bridge", "link set switch up")
        for number, machine in enumerate(found):
            port = f"port{number}"
            _ip(
                switch,
                f"link add {port} type veth peer name eth0 netns {machine.holder}",
                f"link set {port} master switch up",
            )
            _ip(
                machine,
                "link set lo up",
                f"addr add {machine.address}/24 dev eth0",
                "link set eth0 addrgenmode none up",
            )
            if megabits is not None:
                _limit(switch, port, megabits)
                _limit(machine, "eth0", megabits)
        yield found


def _ip(where: Machine, *commands: str) -> None:
    for command in commands:
        subprocess.run(where.command(["ip", *command.split()]), check=True, capture_output=True, text=True)


def _limit(where: Machine, device: str, megabits: float) -> None:
    # The bucket holds 2 ms, but never less than four of the largest packets that the kernel hands over whole
    burst = max(256 * 1024, int(megabits * 1e6 / 8 * 0.002))
    rule = f"qdisc add dev {device} root tbf rate {megabits:g}mbit burst {burst} latency 100ms"
    subprocess.run(where.command(["tc", *rule.split()]), check=True, capture_output=True, text=True)


@dataclass(frozen=True)
class Started:
    """A process on a machine, its output, and where it is counted."""

    name: str
    process: subprocess.Popen[str]


def start(
    machine: Machine, name: str, command: Sequence[str | Path], env: Mapping[str, str], stack: contextlib.ExitStack
) -> Started:
    """Start a command on a machine; it is killed with the stack if it still runs."""
    process = subprocess.Popen(
        machine.command(command), env=dict(env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    stack.callback(process.wait)
    stack.callback(process.kill)
    return Started(name, process)


def processor_seconds(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
