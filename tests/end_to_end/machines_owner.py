"""An owner of machines without an AWS over them: what `server` composes, driven by a test through a pipe.

As a program it is the owner: `PYTHON machines_owner.py STATE` reads one JSON request a line and answers in one line.
As a module it gives tests `Owner`, the other end. Without root it enters a user namespace, as the local cloud does.
"""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NETWORK = "10.0.0"
FILE_SYSTEM = "fs-0123456789abcdef0"


def instance(number: int) -> str:
    """The instance id of a test's machine."""
    return f"i-{number:017x}"


def address(number: int) -> str:
    """Its private address."""
    return f"{NETWORK}.{10 + number}"


class Owner:
    """A running owner; `close` ends it."""

    def __init__(self, state: Path, *, binds: dict[str, str] | None = None) -> None:
        self.state = state
        state.mkdir(parents=True, exist_ok=True)
        argv = [sys.executable, str(Path(__file__)), str(state), json.dumps(binds or {})]
        self._log = (state / "owner.log").open("wb")
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, cwd="/")
        self.ready = self._answer(60)

    def ask(self, verb: str, *, within: float = 60, **values: Any) -> Any:
        """One request; raises RuntimeError with what the owner raised."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"verb": verb, **values}).encode() + b"\n")
        self.process.stdin.flush()
        return self._answer(within)

    def launch(self, number: int, *, user_data: str = "", **more: Any) -> str:
        """Launch a machine; returns its id."""
        self.ask("launch", number=number, user_data=user_data, more=more)
        return instance(number)

    def run(self, number: int, script: str, *, timeout: float = 30, within: float = 60) -> tuple[int, str]:
        """Run a bash script as root on a machine: its exit code and everything that it said."""
        code, text = self.ask("run", number=number, script=script, timeout=timeout, within=within)
        return int(code), str(text)

    def close(self) -> None:
        """End it as the local cloud ends: machines first."""
        if self.process.poll() is None:
            self.ask("stop")
            self.process.wait(20)
        for stream in (self.process.stdin, self.process.stdout, self._log):
            if stream is not None:
                stream.close()

    def _answer(self, within: float) -> Any:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], within)
        line = self.process.stdout.readline() if ready else b""
        if not line:
            raise RuntimeError("the owner gave no answer: " + (self.state / "owner.log").read_text()[-3000:])
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["value"]


def main(state: Path, binds: dict[str, str]) -> None:
    """Be the owner."""
    from infra.local_cloud.machines import host, image, local, ownership, user_namespace
    from infra.local_cloud.machines.inside.plan import Bind

    unprivileged = os.environ.get("MACHINES_INSIDE") == "1"
    if os.geteuid() != 0:
        ownership.record(image.owners_file(state / "image"))
        os.environ["MACHINES_INSIDE"] = "1"
        user_namespace.enter([sys.executable, *sys.argv], cwd=Path("/"))
    local.clean(state)
    host.own_mounts()
    machines = local.LocalMachines(
        state=state,
        port=5055,
        host=host.look(state=state, repository=ROOT, environments=[], unprivileged=unprivileged),
        repository=ROOT,
        serve=lambda listener, app: None,
        binds=[Bind(source, target) for source, target in binds.items()],
    )
    machines.start()
    machines.set_network(_network(groups={}, members={}, mounts=True))
    _serve(machines, state)
    if unprivileged:
        ownership.hand_back(state)


def _serve(machines: Any, state: Path) -> None:
    exited: list[str] = []
    machines.on_exit = exited.append
    print(json.dumps({"value": os.getpid()}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            value = exited if request["verb"] == "exited" else _obey(machines, state, request)
            print(json.dumps({"value": value}), flush=True)
        except Exception as error:
            print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)
        if request["verb"] == "stop":
            return


def _obey(machines: Any, state: Path, request: dict[str, Any]) -> Any:
    number = request.get("number", 0)
    match request["verb"]:
        case "launch":
            machines.launch(_spec(number, request["user_data"].encode(), request["more"]))
        case "power_on":
            machines.power_on(_spec(number, request["user_data"].encode(), request["more"]))
        case "run":
            return _run(machines, state, number, request["script"], request["timeout"])
        case "add_file_system":
            return str(
                machines.add_file_system(request["id"], dns_name=request["dns_name"], mount_name=request["mount_name"])
            )
        case "set_file_system_available":
            machines.set_file_system_available(request["id"], request["available"])
        case "set_network":
            machines.set_network(_network(request["groups"], request["members"], mounts=request["mounts"]))
        case "add_volume" | "remove_volume":
            getattr(machines, request["verb"])(request["id"])
        case "attach_volume" | "detach_volume":
            return getattr(machines, request["verb"])(instance(number), request["id"])
        case "describe":
            return machines.describe()
        case "held":
            return {"threads": threading.active_count(), "files": len(list(Path("/proc/self/fd").iterdir()))}
        case verb:
            return getattr(machines, verb)(*([instance(number)] if number else []))
    return None


def _spec(number: int, user_data: bytes, more: dict[str, Any]) -> Any:
    from infra.local_cloud.machines.api import MachineSpec

    tree = {"meta-data/instance-id": instance(number), "meta-data/local-ipv4": address(number), "user-data": user_data}
    values: dict[str, Any] = {
        "instance_id": instance(number),
        "private_ip": address(number),
        "prefix_length": 24,
        "gateway": f"{NETWORK}.1",
        "mac": f"02:00:00:00:00:{number:02x}",
        "host_name": "ip-" + address(number).replace(".", "-"),
        "instance_type": "p3dn.24xlarge",
        "gpus": 8,
        "user_data": user_data,
        "metadata": lambda: tree,
        "tokens_required": True,
    }
    return MachineSpec(**{**values, **more})


def _network(groups: dict[str, Any], members: dict[str, list[str]], *, mounts: bool) -> Any:
    """Machines 1 to 20 in the groups that `members` gives each, by default in one that lets everything through.

    `groups`: name -> {"ingress": [[protocol, peer, first, last], ...], "egress": ...}. `mounts`: whether every machine
    reaches the tests' file system.
    """
    from infra.local_cloud.machines.firewall import Group, Interface, Network, Permission

    everything = [["-1", "0.0.0.0/0"]]
    made = {
        name: Group(**{way: tuple(Permission(*each) for each in rules) for way, rules in ways.items()})
        for name, ways in {**groups, "open": {"ingress": everything, "egress": everything}}.items()
    }
    machines = tuple(
        Interface(address(number), "vpc-1", frozenset(members.get(str(number), ["open"]))) for number in range(1, 21)
    )
    reached = frozenset((each.address, FILE_SYSTEM) for each in machines) if mounts else frozenset()
    return Network(machines, made, mounts=reached)


def _run(machines: Any, state: Path, number: int, script: str, timeout: float) -> tuple[int, str]:
    out, err = (state / f"{name}-{number}" for name in ("stdout", "stderr"))
    code = machines.run(instance(number), argv=["bash", "-c", script], env={}, stdout=out, stderr=err, timeout=timeout)
    return code, out.read_text(errors="replace") + err.read_text(errors="replace")


def encoded(text: str) -> str:
    """A shell word that gives `text` on standard output, whatever is in it."""
    return f"echo {base64.b64encode(text.encode()).decode()} | base64 -d"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
