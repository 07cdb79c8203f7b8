"""One service of a machine: started, watched, restarted and stopped as its unit file says.

A service's processes are found by the INVOCATION_ID in their environment, which systemd sets too; there is no control
group of our own to keep them in.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from infra.local_cloud.machines.inside.children import Children, alive, signal_all

from . import execution
from .units import ExecLine, Unit, UnitError

DEFAULT_TIMEOUT = 90.0
_LIVE = ("active", "activating", "reloading", "deactivating")


class Service:
    """The state of one unit. Methods that change it hold `lock` and may wait; the rest may be called at any time."""

    def __init__(
        self, unit: Unit, children: Children, *, environment: Mapping[str, str], log: Callable[[str], None]
    ) -> None:
        self.unit = unit
        self.lock = threading.RLock()
        self.active, self.sub, self.result = "inactive", "dead", "success"
        self.main_pid, self.exit_code, self.restarts = 0, 0, 0
        self.since = time.time()
        self.status_text = ""
        self._children, self._base, self._log = children, environment, log
        self._invocation = ""
        self._starts: list[float] = []
        self._wanted = threading.Event()

    def is_live(self) -> bool:
        """Whether it runs or is about to."""
        return self.active in _LIVE

    def start(self) -> None:
        """Start it and wait until it counts as started. Raises `UnitError` when it fails. Does nothing when active."""
        with self.lock:
            if self.active == "active":
                return
            self._count_start()
            self._wanted.set()
            self._invocation = uuid.uuid4().hex
            self._set("activating", "start")
            try:
                self._prepare()
                self._launch()
            except (UnitError, OSError) as error:
                self._log(f"{self.unit.name}: {error}")
                self._fail("exit-code" if self.result == "success" else self.result)
                self._kill_rest()
                raise UnitError(self._job_failed()) from error
            if self.active == "activating":
                self._set("active", "running" if self.main_pid else "exited")

    def stop(self) -> None:
        """Stop it and wait until it is gone."""
        self._wanted.clear()
        with self.lock:
            if self.active not in _LIVE:
                if self.active == "failed":
                    self._set("inactive", "dead")
                return
            self._set("deactivating", "stop")
            timeout = self.unit.seconds("TimeoutStopSec", self.unit.seconds("TimeoutSec", DEFAULT_TIMEOUT))
            with contextlib.suppress(UnitError, OSError):
                self._run_all("ExecStop", timeout=timeout)
            self._kill_rest(timeout=timeout)
            self._run_post()
            self._clean_directories()
            self.main_pid = 0
            self._set("inactive", "dead")

    def reload(self) -> None:
        """Run ExecReload=. Raises `UnitError` without one, or when it fails."""
        with self.lock:
            if self.active != "active":
                raise UnitError(f"{self.unit.name} is not active, cannot reload.")
            if not self.unit.lists("Service", "ExecReload"):
                raise UnitError(f"Failed to reload {self.unit.name}: Job type reload is not applicable.")
            self._run_all("ExecReload", timeout=DEFAULT_TIMEOUT)

    def reset(self) -> None:
        """Forget that it failed and how often it was started."""
        with self.lock:
            self._starts.clear()
            if self.active == "failed":
                self._set("inactive", "dead")

    def processes(self) -> list[int]:
        """Every process that this service started, directly or not, as long as it keeps its environment."""
        mark = f"INVOCATION_ID={self._invocation}".encode()
        found = set()
        for name in os.listdir("/proc"):  # noqa: PTH208 - pid 1 avoids thousands of Path objects
            if name.isdigit() and int(name) > 1:
                with contextlib.suppress(OSError):
                    if self._invocation and mark in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                        found.add(int(name))
        if self.main_pid and alive(self.main_pid):
            found.add(self.main_pid)
        return sorted(pid for pid in found if alive(pid))

    # --- starting

    def _count_start(self) -> None:
        window = self.unit.seconds("StartLimitIntervalSec", 10.0, section="Unit")
        burst = int(self.unit.value("StartLimitBurst", "5", section="Unit"))
        now = time.monotonic()
        self._starts = [moment for moment in self._starts if now - moment < window]
        if burst and len(self._starts) >= burst:
            self._fail("start-limit-hit")
            raise UnitError(self._job_failed())
        self._starts.append(now)

    def _job_failed(self) -> str:
        return (
            f"Job for {self.unit.name} failed (Result: {self.result}).\n"
            f'See "systemctl status {self.unit.name}" and "journalctl -u {self.unit.name}" for details.'
        )

    def _prepare(self) -> None:
        self.result = "success"
        execution.make_directories(self.unit)
        self._run_all("ExecStartPre", timeout=self._start_timeout())

    def _start_timeout(self) -> float:
        default = float("inf") if self.unit.kind == "oneshot" else DEFAULT_TIMEOUT
        return self.unit.seconds("TimeoutStartSec", self.unit.seconds("TimeoutSec", default))

    def _launch(self) -> None:
        kind, timeout = self.unit.kind, self._start_timeout()
        if kind == "oneshot":
            self._run_all("ExecStart", timeout=timeout)
            if not self.unit.flag("RemainAfterExit"):
                self._run_post()
                self._set("inactive", "dead")
            return
        line = self.unit.commands("ExecStart")[0]
        if kind == "notify":
            with self._notify_socket() as notifications:
                self.main_pid = self._spawn(line)
                self._await_ready(notifications, timeout)
        elif kind == "forking":
            self._run(line, timeout=timeout)
            self.main_pid = self._find_main(timeout)
            if not self._children.adopt(self.main_pid):
                raise UnitError(f"the main process {self.main_pid} ended at once")
        else:
            self.main_pid = self._spawn(line)
        self._run_all("ExecStartPost", timeout=timeout)
        threading.Thread(target=self._watch, args=(self.main_pid,), daemon=True).start()

    @contextlib.contextmanager
    def _notify_socket(self) -> Iterator[socket.socket]:
        path = Path(self._notify_path())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        notifications = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notifications.bind(str(path))
        path.chmod(0o777)  # the service may run as anybody
        try:
            yield notifications
        finally:
            threading.Thread(target=self._keep_listening, args=(notifications,), daemon=True).start()

    def _notify_path(self) -> str:
        return f"/run/systemd/notify/{self.unit.name}"

    def _await_ready(self, notifications: socket.socket, timeout: float) -> None:
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            notifications.settimeout(0.1)
            with contextlib.suppress(TimeoutError):
                if self._heed(notifications.recv(4096).decode(errors="replace")):
                    return
            if not self._children.running(self.main_pid):
                self.exit_code = self._children.wait(self.main_pid, timeout=0) or 0
                self.result = "protocol" if self.exit_code == 0 else "exit-code"
                raise UnitError(f"the main process ended with {self.exit_code} before it was ready")
        self.result = "timeout"
        raise UnitError(f"not ready after {timeout:g} s")

    def _heed(self, message: str) -> bool:
        fields = dict(line.partition("=")[::2] for line in message.splitlines())
        self.status_text = fields.get("STATUS", self.status_text)
        if fields.get("MAINPID", "").isdigit():
            self.main_pid = int(fields["MAINPID"])
            self._children.adopt(self.main_pid)
        return fields.get("READY") == "1"

    def _keep_listening(self, notifications: socket.socket) -> None:
        pid = self.main_pid
        with notifications:
            notifications.settimeout(1.0)
            while self._wanted.is_set() and self.main_pid == pid and alive(pid):
                with contextlib.suppress(TimeoutError):
                    self._heed(notifications.recv(4096).decode(errors="replace"))

    def _find_main(self, timeout: float) -> int:
        """The pid of a daemon that has forked: from PIDFile=, else the only process of the service whose parent is
        us.
        """
        end = time.monotonic() + min(timeout, 10.0)
        pid_file = self.unit.value("PIDFile")
        while True:
            if pid_file:
                with contextlib.suppress(OSError, ValueError):
                    pid = int(Path("/run", pid_file).read_text())
                    if alive(pid):
                        return pid
            elif candidates := [pid for pid in self.processes() if execution.parent_of(pid) == 1]:
                return candidates[0]
            if time.monotonic() > end:
                self.result = "protocol"
                raise UnitError(f"no main process found ({'PIDFile=' + pid_file if pid_file else 'no PIDFile='})")
            time.sleep(0.02)

    def _spawn(self, line: ExecLine) -> int:
        extra = {"INVOCATION_ID": self._invocation, "SYSTEMD_EXEC_PID": ""}
        if self.unit.kind == "notify":
            extra["NOTIFY_SOCKET"] = self._notify_path()
        if self.main_pid:
            extra["MAINPID"] = str(self.main_pid)
        return execution.spawn(self._children, self.unit, line, environment={**self._base, **extra})

    def _run(self, line: ExecLine, *, timeout: float) -> None:
        pid = self._spawn(line)
        code = self._children.wait(pid, timeout=None if timeout == float("inf") else timeout)
        if code is None:
            self.result = "timeout"
            signal_all([pid], signal.SIGKILL)
            self._children.wait(pid, timeout=5)
            raise UnitError(f"{line.words[0]} did not end within {timeout:g} s")
        if code and not line.ignore_failure and not execution.counts_as_success(self.unit, code):
            self.exit_code, self.result = code, "signal" if code > 128 else "exit-code"
            raise UnitError(f"{line.words[0]} ended with {code}")

    def _run_all(self, key: str, *, timeout: float) -> None:
        for line in self.unit.commands(key):
            self._run(line, timeout=timeout)

    def _run_post(self) -> None:
        with contextlib.suppress(UnitError, OSError):
            self._run_all("ExecStopPost", timeout=DEFAULT_TIMEOUT)

    # --- ending

    def _watch(self, pid: int) -> None:
        """Wait for the main process; when it ends by itself, clean up and restart if the unit says so."""
        code = self._children.wait(pid)
        if not self._wanted.is_set():
            return
        with self.lock:
            if not self._wanted.is_set() or self.main_pid != pid:
                return
            self.exit_code = code or 0
            clean = execution.counts_as_success(self.unit, self.exit_code)
            self._log(f"{self.unit.name}: main process {pid} ended with {self.exit_code}")
            self.main_pid = 0
            self._kill_rest()
            self._run_post()
            restart = execution.restarts(self.unit, self.exit_code)
            if restart:
                self._set("activating", "auto-restart")
            elif clean:
                self._set("inactive", "dead")
            else:
                self._fail("signal" if self.exit_code > 128 else "exit-code")
            self._clean_directories()
        if restart:
            self._restart_later()

    def _restart_later(self) -> None:
        end = time.monotonic() + self.unit.seconds("RestartSec", 0.1)
        while time.monotonic() < end:
            if not self._wanted.is_set():
                return
            time.sleep(min(0.05, max(0.0, end - time.monotonic())))
        self.restarts += 1
        with contextlib.suppress(UnitError), self.lock:  # a failure was logged, and the state says it
            if self._wanted.is_set() and self.sub == "auto-restart":
                self.start()

    def _kill_rest(self, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Signal what is left: the main process alone with KillMode=process, everything otherwise."""
        only_main = self.unit.value("KillMode", "control-group") in ("process", "mixed")
        first = getattr(signal, self.unit.value("KillSignal", "SIGTERM"), signal.SIGTERM)
        if self.unit.value("KillMode") == "none":
            return
        targets = [self.main_pid] if only_main and self.main_pid else [] if only_main else self.processes()
        signal_all(targets, first)
        end = time.monotonic() + timeout
        while any(alive(pid) for pid in targets) and time.monotonic() < end:
            time.sleep(0.01)
        if self.unit.value("KillMode") != "process":
            signal_all(self.processes(), signal.SIGKILL)
        else:
            signal_all([pid for pid in targets if alive(pid)], signal.SIGKILL)

    def _clean_directories(self) -> None:
        if self.unit.value("RuntimeDirectoryPreserve", "no") == "no":
            for folder in self.unit.directories():
                if folder.kind == "Runtime":
                    shutil.rmtree(folder.path, ignore_errors=True)

    def _fail(self, result: str) -> None:
        self.result, self.main_pid = result, 0
        self._wanted.clear()
        self._set("failed", "failed")

    def _set(self, active: str, sub: str) -> None:
        self.active, self.sub, self.since = active, sub, time.time()
