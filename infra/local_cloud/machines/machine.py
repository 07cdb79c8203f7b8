"""One machine: an EC2 instance from its launch to its end, as a state and a process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path

from infra.local_cloud.devices.lustre import Refusal
from infra.local_cloud.devices.volumes import Said

from .api import MachineError, MachineSpec, MachineState
from .inside import channel, syscalls
from .inside.plan import Plan
from .network import Router
from .process import Process

UP_WITHIN = 30.0
STOP_WITHIN = 8.0
"""Seconds between the request to shut down and the plug; pid 1 itself gives services 5."""

MountFinder = Callable[[str, str], "Path | Refusal"]
VolumeAsker = Callable[[str, channel.Message], "Path | Said"]


class Machine:
    """`boot` is called once, on a thread that lives as long as the owner; everything else from any thread."""

    def __init__(
        self,
        spec: MachineSpec,
        *,
        folder: Path,
        plan: Plan,
        find_mount: MountFinder,
        ask_volume: VolumeAsker,
        log: Callable[..., None],
    ) -> None:
        self.spec, self.folder, self.plan = spec, folder, plan
        self.state: MachineState = "pending"
        self.boot_seconds = 0.0
        self.user_data_code: int | None = None
        self.wanted, self.reboots = True, False
        self._find_mount, self._ask_volume, self._log = find_mount, ask_volume, log
        self._process: Process | None = None
        self._lock = threading.Lock()
        self._settled, self._dead = threading.Event(), threading.Event()  # settled: up, or dead
        self._runs: dict[int, Future[channel.Message]] = {}
        self._next_run = 0

    @property
    def pid(self) -> int | None:
        """pid 1 of the machine as this host sees it."""
        process = self._process
        return None if process is None or self._dead.is_set() else process.pid

    def boot(self, router: Router, *, programs: Path) -> None:
        """Start it and wait until pid 1 runs. Raises `MachineError`."""
        began = time.monotonic()
        spec = self.spec
        try:
            process = self._start(programs)
            if process is None:
                self._finish()
                return
            router.plug(process.pid, mac=spec.mac, address=spec.private_ip, gateway=spec.gateway)
            process.go()
            if process.receive(timeout=UP_WITHIN) != {"kind": "up"}:
                raise MachineError(f"{spec.instance_id} did not come up; see {self.folder / 'console.log'}")
        except Exception as error:  # whatever it was: one that stays pending would be waited for
            if self._process is not None:
                self._process.kill()
                self._process.wait(10)
            self._finish()
            raise MachineError(f"{spec.instance_id} did not boot: {error}") from error
        self.boot_seconds = time.monotonic() - began
        self.state = "running"
        self._settled.set()

    def _start(self, programs: Path) -> Process | None:
        """Its process, or None if it was ended before it began."""
        with self._lock:
            if self.wanted:
                self._process = Process.start(self.plan, program_folder=programs, console=self.folder / "console.log")
            return self._process

    def listen(self) -> None:
        """Serve what pid 1 says until it is dead."""
        process = self._process
        if process is None or self._dead.is_set():
            return
        while (message := process.receive(timeout=None)) is not None:
            match message["kind"]:
                case "ended":
                    with self._lock:
                        future = self._runs.pop(message["id"], None)
                    if future is not None:
                        future.set_result(message)
                case "lustre":
                    self._answer_mount(process, message)
                case "volume":
                    self._answer_volume(process, message)
                case "reboot":
                    self.reboots = True
                case "user-data":
                    self.user_data_code = message["code"]
                    self._log("user data ended", id=self.spec.instance_id, code=message["code"])
        process.wait()
        self._finish()

    def run(self, argv: Sequence[str], *, env: Mapping[str, str], stdout: Path, stderr: Path, timeout: float) -> int:
        """See `Machines.run`."""
        process = self._when_up()
        future: Future[channel.Message] = Future()
        with self._lock:
            self._next_run += 1
            number = self._next_run
            self._runs[number] = future
        with stdout.open("wb") as out, stderr.open("wb") as err:
            request = {"kind": "run", "id": number, "argv": list(argv), "env": dict(env)}
            try:
                process.send(request, [out.fileno(), err.fileno()])
            except OSError as error:
                raise MachineError(f"{self.spec.instance_id}: the command did not reach it: {error}") from error
        return self._await_run(process, number, future, timeout)

    def shut_down(self) -> None:
        """Ask pid 1 to stop everything, pull the plug if it takes too long; returns when it is dead."""
        with self._lock:
            self.wanted = False
            process = self._process
        if process is None:
            self._finish()
            return
        try:
            process.send({"kind": "stop"})
        except OSError:
            process.kill()
        if not self._dead.wait(STOP_WITHIN if self._settled.is_set() else 0.0):
            process.kill()
            self._dead.wait(10)

    def crash(self) -> None:
        """Pull the plug; returns when it is dead."""
        with self._lock:
            self.wanted = False
            process = self._process
        if process is None:
            self._finish()
        else:
            process.kill()
            self._dead.wait(10)

    def _when_up(self) -> Process:
        if not self._settled.wait(UP_WITHIN) or self._process is None or self._dead.is_set():
            raise MachineError(
                f"{self.spec.instance_id} is not up: it is {self.state}; see {self.folder / 'console.log'}"
            )
        return self._process

    def _await_run(self, process: Process, number: int, future: Future[channel.Message], timeout: float) -> int:
        try:
            answer = future.result(timeout)
        except FutureTimeout:
            process.send({"kind": "kill", "id": number})
            try:
                future.result(10)
            except (FutureTimeout, MachineError):
                self._log("a command outlived its time", id=self.spec.instance_id, run=number)
            raise TimeoutError(f"{self.spec.instance_id}: the command did not end within {timeout:g} s") from None
        if answer["error"]:
            raise MachineError(f"{self.spec.instance_id}: the command did not start: {answer['error']}")
        return int(answer["code"])

    def _answer_mount(self, process: Process, message: channel.Message) -> None:
        found = self._find_mount(message["source"], message["target"])
        if isinstance(found, Refusal):
            process.send({"kind": "answer", "id": message["id"], "code": found.code, "stderr": found.text})
            return
        self._send_tree(process, message, found)

    def _answer_volume(self, process: Process, message: channel.Message) -> None:
        found = self._ask_volume(self.spec.instance_id, message)
        if isinstance(found, Said):
            said = {"code": found.code, "stdout": found.stdout, "stderr": found.stderr}
            process.send({"kind": "answer", "id": message["id"], **said})
        else:
            self._send_tree(process, message, found)

    @staticmethod
    def _send_tree(process: Process, message: channel.Message, folder: Path) -> None:
        """Answer with an open mount of a folder."""
        tree = syscalls.clone_tree(str(folder))
        try:
            process.send({"kind": "answer", "id": message["id"], "code": 0}, [tree])
        finally:
            channel.close_all([tree])

    def _finish(self) -> None:
        self.state = "stopped"
        self._dead.set()
        self._settled.set()
        if self._process is not None:
            self._process.close()
        with self._lock:
            left, self._runs = self._runs, {}
        for future in left.values():
            future.set_exception(MachineError(f"{self.spec.instance_id} went down while the command ran"))


def run_to_end(process: Process, *, timeout: float) -> int:
    """Let a command of an image build end; returns its exit code. Raises `MachineError` when it takes too long."""
    process.go()
    code = process.wait(timeout)
    if code is None:
        process.kill()
        process.wait(10)
        raise MachineError(f"a step of the image build did not end within {timeout:g} s")
    return code
