"""The machines of one local cloud: `api.Machines` on this host."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from infra.local_cloud.devices.lustre import FileSystems, Refusal
from infra.local_cloud.devices.metadata import MetadataServer
from infra.local_cloud.devices.volume_programs import BY_ID, device_of
from infra.local_cloud.devices.volumes import Volumes

from . import firewall, image
from .api import METADATA_ADDRESS, MachineError, MachineSpec, MachineState, WsgiApp
from .inside import setup, syscalls
from .inside.plan import Bind, NewFile
from .inside.programs import FOLDER
from .machine import Machine
from .network import Router
from .root import Host, machine_plan
from .services import only_its_own

BOOTS_AT_ONCE = 4


class LocalMachines:
    """Everything lies below `state`: machines/ID (console, log), fsx/ID, image, events.jsonl."""

    def __init__(
        self,
        *,
        state: Path,
        port: int,
        host: Host,
        repository: Path,
        binds: Sequence[Bind],
        serve: Callable[[Any, WsgiApp], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self.on_exit: Callable[[str], None] | None = None
        self._state, self._port, self._host, self._repository = state, port, host, repository
        self._binds, self._serve, self._now = tuple(binds), serve, now
        self._machines: dict[str, Machine] = {}
        self._by_address: dict[str, Machine] = {}
        self._lock = threading.Lock()
        self._router = Router()
        self._network, self._ruleset = firewall.Network(), ""
        self._network_lock = threading.Lock()
        self._file_systems = FileSystems(state / "fsx")
        self._volumes = Volumes(state / "volumes")
        self._layer: Path | None = None
        self._metadata: MetadataServer | None = None
        # PDEATHSIG follows the thread: these live until the process ends, whatever is shut down.
        self._boots = ThreadPoolExecutor(BOOTS_AT_ONCE, thread_name_prefix="boot")
        self._stopped = False

    # --- life of the whole

    def start(self) -> None:
        """See `Machines.start`. Raises `MachineError`."""
        for name in ("machines", "fsx", "volumes"):
            (self._state / name).mkdir(parents=True, exist_ok=True)
        self._router.start()
        self.set_network(self._network)
        console = self._state / "image.log"
        self._layer = self._boots.submit(
            image.build, self._state / "image", host=self._host, repository=self._repository, console=console
        ).result()
        listener = self._router.listen(METADATA_ADDRESS, 80)
        self._metadata = MetadataServer(listener, self._spec_at, now=self._now)
        threading.Thread(target=self._metadata.serve_forever, name="metadata", daemon=True).start()

    def stop(self) -> None:
        """See `Machines.stop`."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
            left = list(self._machines)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self.terminate, left))
        if self._metadata is not None:
            self._metadata.shutdown()
            self._metadata.server_close()
        self._router.stop()

    def serve_api(self, app: WsgiApp) -> None:
        """See `Machines.serve_api`."""
        self._serve(self._router.listen("0.0.0.0", self._port), only_its_own(app))

    def set_network(self, network: firewall.Network) -> None:
        """See `Machines.set_network`."""
        ruleset = firewall.ruleset(network, api_port=self._port)
        with self._network_lock:
            if ruleset != self._ruleset:
                self._router.filter(ruleset)
            self._network, self._ruleset = network, ruleset

    # --- machines

    def launch(self, spec: MachineSpec) -> None:
        """See `Machines.launch`. Raises `MachineError` for an address or id in use, or when nothing may start any
        more.
        """
        folder = self._state / "machines" / spec.instance_id
        if self._layer is None or self._stopped:
            raise MachineError(f"{spec.instance_id} can't be launched: the local cloud is not running")
        machine = self._machine(spec, self._layer, again=False)
        with self._lock:
            if spec.instance_id in self._machines or spec.private_ip in self._by_address:
                raise MachineError(f"{spec.instance_id} or its address {spec.private_ip} is in use by another machine")
            self._machines[spec.instance_id] = self._by_address[spec.private_ip] = machine
        (folder / "log").mkdir(parents=True, exist_ok=True)
        # in our own mounts, so that it outlives the machine's: what an instance wrote is there when it starts again
        Path(machine.plan.mount_point).mkdir(parents=True, exist_ok=True)
        setup.mount_root(machine.plan)
        self.log("launch", id=spec.instance_id, ip=spec.private_ip, type=spec.instance_type)
        self._boots.submit(self._boot, machine)

    def _machine(self, spec: MachineSpec, layer: Path, *, again: bool) -> Machine:
        """One boot of a machine, not begun."""
        folder = self._state / "machines" / spec.instance_id
        disks = [NewFile(device_of(each), f"{each}\n") for each in self._volumes.of(spec.instance_id)]
        plan = machine_plan(
            spec,
            host=self._host,
            folder=folder,
            image=layer,
            binds=self._binds,
            api_port=self._port,
            disks=disks,
            again=again,
        )
        return Machine(
            spec,
            folder=folder,
            plan=plan,
            find_mount=self._mounter(spec.private_ip),
            ask_volume=self._volumes.answer,
            log=self.log,
        )

    def power_off(self, instance_id: str) -> None:
        """See `Machines.power_off`. Raises `MachineError` for an unknown one."""
        machine = self._known(instance_id)
        self.log("power off", id=instance_id)
        machine.shut_down()
        self._volumes.unmount(instance_id)

    def power_on(self, spec: MachineSpec) -> None:
        """See `Machines.power_on`. Raises `MachineError` for one that is not down."""
        before = self._known(spec.instance_id)
        if before.state != "stopped" or self._layer is None or self._stopped:
            raise MachineError(f"{spec.instance_id} can't be powered on: it is {before.state}")
        self._volumes.unmount(spec.instance_id)
        machine = self._machine(spec, self._layer, again=True)
        with self._lock:
            if self._machines.get(spec.instance_id) is not before:
                raise MachineError(f"{spec.instance_id} can't be powered on: something else happens to it")
            self._machines[spec.instance_id] = self._by_address[spec.private_ip] = machine
        self.log("power on", id=spec.instance_id, ip=spec.private_ip, type=spec.instance_type)
        self._boots.submit(self._boot, machine)

    def reboot(self, instance_id: str) -> None:
        """See `Machines.reboot`. Raises `MachineError` for an unknown one."""
        machine = self._known(instance_id)
        self.power_off(instance_id)
        self.power_on(machine.spec)

    def _known(self, instance_id: str) -> Machine:
        with self._lock:
            machine = self._machines.get(instance_id)
        if machine is None:
            raise MachineError(f"there is no machine {instance_id}")
        return machine

    def terminate(self, instance_id: str) -> None:
        """See `Machines.terminate`."""
        self._end(instance_id, Machine.shut_down, "terminate")

    def crash(self, instance_id: str) -> None:
        """See `Machines.crash`."""
        self._end(instance_id, Machine.crash, "crash")

    def state(self, instance_id: str) -> MachineState | None:
        """See `Machines.state`."""
        with self._lock:
            machine = self._machines.get(instance_id)
        return machine.state if machine else None

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
        """See `Machines.run`."""
        return self._known(instance_id).run(argv, env=env, stdout=stdout, stderr=stderr, timeout=timeout)

    def describe(self) -> list[dict[str, Any]]:
        """What `status` shows of each machine."""
        with self._lock:
            machines = list(self._machines.values())
        return [
            {
                "id": m.spec.instance_id,
                "ip": m.spec.private_ip,
                "type": m.spec.instance_type,
                "state": m.state,
                "pid": m.pid,
                "boot_seconds": round(m.boot_seconds, 3),
                "user_data": m.user_data_code,
                "folder": str(m.folder),
            }
            for m in machines
        ]

    def _boot(self, machine: Machine) -> None:
        try:
            if self._layer is None:
                raise MachineError("there is no image")
            machine.boot(self._router, programs=self._layer / FOLDER.lstrip("/"))
            self.log("up", id=machine.spec.instance_id, seconds=round(machine.boot_seconds, 3), pid=machine.pid)
        except Exception as error:  # whatever it was, the machine did not boot, and EC2 must hear of it
            self.log("boot failed", id=machine.spec.instance_id, error=f"{type(error).__name__}: {error}")
        threading.Thread(target=self._follow, args=(machine,), name=machine.spec.instance_id, daemon=True).start()

    def _follow(self, machine: Machine) -> None:
        machine.listen()
        with self._lock:
            callback = self.on_exit if machine.wanted and not self._stopped else None
        self.log("down", id=machine.spec.instance_id, by_itself=machine.wanted, reboots=machine.reboots)
        if callback is not None and machine.reboots:
            try:
                self.power_on(machine.spec)
                return
            except MachineError as error:
                self.log("reboot failed", id=machine.spec.instance_id, error=str(error))
        if callback is not None:
            callback(machine.spec.instance_id)

    def _end(self, instance_id: str, how: Callable[[Machine], None], event: str) -> None:
        with self._lock:
            machine = self._machines.get(instance_id)
        if machine is None:
            return
        self.log(event, id=instance_id)
        while True:
            how(machine)
            with self._lock:
                current = self._machines.get(instance_id, machine)
                if current is machine:  # else it was just starting again
                    self._machines.pop(instance_id, None)
                    if self._by_address.get(machine.spec.private_ip) is machine:
                        del self._by_address[machine.spec.private_ip]
                    break
            machine = current
        self._volumes.leave(instance_id)
        with contextlib.suppress(OSError):  # another end of the same machine was first
            syscalls.unmount_lazily(machine.plan.mount_point)
        shutil.rmtree(machine.folder / "writable", ignore_errors=True)

    def _spec_at(self, address: str) -> MachineSpec | None:
        with self._lock:
            machine = self._by_address.get(address)
        return machine.spec if machine else None

    # --- file systems

    def _mounter(self, address: str) -> Callable[[str, str], Path | Refusal]:
        """How the machine at an address mounts: what the network keeps from it times out."""

        def find(source: str, target: str) -> Path | Refusal:
            reached = {identity for machine, identity in self._network.mounts if machine == address}
            return self._file_systems.find(source, target, reached=reached)

        return find

    def add_file_system(self, file_system_id: str, *, dns_name: str, mount_name: str) -> Path:
        """See `Machines.add_file_system`."""
        return self._file_systems.add(file_system_id, dns_name=dns_name, mount_name=mount_name)

    def set_file_system_available(self, file_system_id: str, available: bool) -> None:
        """See `Machines.set_file_system_available`."""
        self._file_systems.set_available(file_system_id, available)

    def remove_file_system(self, file_system_id: str) -> None:
        """See `Machines.remove_file_system`."""
        self._file_systems.remove(file_system_id)

    # --- volumes

    def add_volume(self, volume_id: str) -> None:
        """See `Machines.add_volume`."""
        self._volumes.add(volume_id)

    def remove_volume(self, volume_id: str) -> None:
        """See `Machines.remove_volume`."""
        self._volumes.remove(volume_id)

    def attach_volume(self, instance_id: str, volume_id: str) -> None:
        """See `Machines.attach_volume`."""
        self._volumes.attach(volume_id, instance_id)
        device = device_of(volume_id)
        if self.state(instance_id) == "stopped":  # it finds its disks when it boots
            return
        if self._shell(instance_id, f"mkdir -p {BY_ID} && echo {volume_id} >{device}") != 0:
            self._volumes.detach(volume_id)
            raise MachineError(f"{volume_id} could not be shown to {instance_id} as {device}")

    def detach_volume(self, instance_id: str, volume_id: str) -> bool:
        """See `Machines.detach_volume`."""
        if self.state(instance_id) == "stopped":
            self._volumes.detach(volume_id)
            return True
        for target in self._volumes.mounted_at(volume_id):
            if self._shell(instance_id, f"mountpoint --quiet {shlex.quote(target)}") == 0:
                return False
        self._shell(instance_id, f"rm -f {device_of(volume_id)}")
        self._volumes.detach(volume_id)
        return True

    def _shell(self, instance_id: str, script: str) -> int:
        """A short script of ours on a machine; its output goes nowhere."""
        nowhere = Path(os.devnull)
        argv = ["/bin/sh", "-c", script]
        return self.run(instance_id, argv=argv, env={}, stdout=nowhere, stderr=nowhere, timeout=10.0)

    def log(self, event: str, **values: Any) -> None:
        """One line in events.jsonl."""
        line = json.dumps({"time": round(self._now(), 3), "event": event, **values})
        with self._lock, (self._state / "events.jsonl").open("a") as file:
            file.write(line + "\n")


def clean(state: Path) -> None:
    """Make a state folder ready for a new start; what the last machines wrote stays readable in machines.previous."""
    shutil.rmtree(state / "machines.previous", ignore_errors=True)
    if (state / "machines").is_dir():
        (state / "machines").rename(state / "machines.previous")
    for name in ("fsx", "image", "volumes"):
        shutil.rmtree(state / name, ignore_errors=True)
    for name in ("cloud.json", "image.log", "events.jsonl"):
        (state / name).unlink(missing_ok=True)
