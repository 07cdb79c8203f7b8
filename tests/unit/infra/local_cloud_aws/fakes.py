"""Machines without machines: remembers what was asked, runs commands on this host only in the unit tests' own way."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.local_cloud.machines.api import MachineSpec
from infra.local_cloud.machines.firewall import Network


class FakeMachines:
    """Implements `Machines`. `boots` decides when a launched machine counts as running."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.on_exit: Callable[[str], None] | None = None
        self.specs: dict[str, MachineSpec] = {}
        self.states: dict[str, str] = {}
        self.terminated: list[str] = []
        self.rebooted: list[str] = []
        self.available: dict[str, bool] = {}
        self.boots = True
        self.ran: list[tuple[str, list[str], dict[str, str]]] = []
        self.network = Network()
        self.hold: threading.Event | None = None
        self.volumes: dict[str, str] = {}
        self.mounted: set[str] = set()

    def launch(self, spec: MachineSpec) -> None:
        self.specs[spec.instance_id] = spec
        self.states[spec.instance_id] = "running" if self.boots else "pending"

    def terminate(self, instance_id: str) -> None:
        if self.hold is not None:
            self.hold.wait(5)
        if self.states.pop(instance_id, None):
            self.terminated.append(instance_id)

    crash = terminate

    def power_off(self, instance_id: str) -> None:
        if self.hold is not None:
            self.hold.wait(5)
        self.states[instance_id] = "stopped"

    def power_on(self, spec: MachineSpec) -> None:
        self.launch(spec)

    def reboot(self, instance_id: str) -> None:
        self.rebooted.append(instance_id)

    def state(self, instance_id: str) -> Any:
        return self.states.get(instance_id)

    def run(
        self,
        instance_id: str,
        *,
        argv: Sequence[str],
        env: Mapping[str, str],
        stdout: Path,
        stderr: Path,
        timeout: float,
    ) -> int:
        self.ran.append((instance_id, list(argv), dict(env)))
        words = [str(self.root / word.lstrip("/")) if word.startswith("/var/lib/amazon") else word for word in argv]
        with stdout.open("wb") as out, stderr.open("wb") as err:
            try:
                done = subprocess.run(
                    words, env={"PATH": "/usr/bin:/bin", **env}, stdout=out, stderr=err, timeout=timeout
                )
            except subprocess.TimeoutExpired as error:
                raise TimeoutError from error
        return done.returncode if done.returncode >= 0 else 128 - done.returncode

    def add_file_system(self, file_system_id: str, *, dns_name: str, mount_name: str) -> Path:
        folder = self.root / "fsx" / file_system_id
        folder.mkdir(parents=True)
        self.available[file_system_id] = False
        return folder

    def set_file_system_available(self, file_system_id: str, available: bool) -> None:
        self.available[file_system_id] = available

    def remove_file_system(self, file_system_id: str) -> None:
        self.available.pop(file_system_id, None)
        shutil.rmtree(self.root / "fsx" / file_system_id, ignore_errors=True)

    def add_volume(self, volume_id: str) -> None:
        self.volumes[volume_id] = ""

    def remove_volume(self, volume_id: str) -> None:
        self.volumes.pop(volume_id, None)

    def attach_volume(self, instance_id: str, volume_id: str) -> None:
        self.volumes[volume_id] = instance_id

    def detach_volume(self, instance_id: str, volume_id: str) -> bool:
        if volume_id in self.mounted:
            return False
        self.volumes[volume_id] = ""
        return True

    def serve_api(self, app: Any) -> None: ...

    def set_network(self, network: Network) -> None:
        self.network = network

    def start(self) -> None: ...

    def stop(self) -> None: ...
