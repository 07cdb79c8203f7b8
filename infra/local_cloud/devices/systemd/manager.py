"""The service manager in pid 1: the units of a machine, what they need of each other, and the verbs of systemctl."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.local_cloud.machines.inside.children import Children

from . import report
from .service import Service
from .units import SEARCH_PATH, Unit, UnitError, UnitNotFound, full_name, load

Answer = dict[str, Any]
WANTS_FOLDER = "/etc/systemd/system/multi-user.target.wants"
MOST_OUTPUT = 100_000  # characters; an answer is one packet
_REQUIREMENTS = ("Requires", "BindsTo", "Requisite")


class Manager:
    """Loads units when they are first named. `command` may be called from any thread."""

    def __init__(
        self,
        children: Children,
        *,
        environment: Mapping[str, str],
        log: Callable[[str], None],
        root: Path = Path("/"),
        search: Sequence[str] = SEARCH_PATH,
    ) -> None:
        self._children, self._environment, self._log = children, environment, log
        self._root, self._search = root, search
        self._services: dict[str, Service] = {}
        self._lock = threading.Lock()

    def command(self, arguments: Sequence[str]) -> Answer:
        """Carry out one systemctl command line; {"code", "stdout", "stderr"} as the real one would answer."""
        try:
            request = report.Request.parse(arguments)
            handler = self._verbs().get(request.verb)
            if handler is None:
                known = ", ".join(sorted(self._verbs()))
                raise UnitError(
                    f"the verb {request.verb!r} is not known to this machine's systemctl; there are {known}"
                )
            answer = handler(request)
            return {**answer, "stdout": answer.get("stdout", "")[-MOST_OUTPUT:]}
        except UnitNotFound as error:
            return {"code": 5, "stderr": f"{error}\n"}
        except UnitError as error:
            return {"code": 1, "stderr": f"{error}\n"}

    def _verbs(self) -> dict[str, Callable[[report.Request], Answer]]:
        return {
            "start": self._start_verb,
            "stop": self._stop_verb,
            "restart": self._restart_verb,
            "try-restart": self._try_restart_verb,
            "reload": self._reload_verb,
            "reload-or-restart": self._reload_or_restart_verb,
            "status": self._status_verb,
            "show": self._show_verb,
            "is-active": self._is_active_verb,
            "is-failed": self._is_failed_verb,
            "is-enabled": self._is_enabled_verb,
            "enable": self._enable_verb,
            "disable": self._disable_verb,
            "daemon-reload": self._daemon_reload_verb,
            "reset-failed": self._reset_failed_verb,
            "cat": self._cat_verb,
            "list-units": self._list_units_verb,
            "is-system-running": self._is_system_running_verb,
        }

    # --- units

    def service(self, name: str) -> Service:
        """The service of that name, loaded if it is not yet. Raises `UnitError`."""
        name = full_name(name)
        if not name.endswith(".service"):
            raise UnitError(f"{name}: only services are known to this machine's systemctl.")
        with self._lock:
            known = self._services.get(name)
        if known is not None:
            return known
        unit = load(name, root=self._root, search=self._search)
        with self._lock:
            return self._services.setdefault(
                name, Service(unit, self._children, environment=self._environment, log=self._log)
            )

    def start(self, name: str, *, seen: frozenset[str] = frozenset()) -> None:
        """Start a unit after what it requires and wants. Raises `UnitError`."""
        service = self.service(name)
        if service.unit.name in seen:
            return
        for other in _needs(service.unit, _REQUIREMENTS):
            try:
                self.start(other, seen=seen | {service.unit.name})
            except UnitError as error:
                raise UnitError(f"A dependency job for {service.unit.name} failed: {error}") from error
        for other in _needs(service.unit, ("Wants",)):
            with contextlib.suppress(UnitError):  # that is what Wants= means; the console has it
                self.start(other, seen=seen | {service.unit.name})
        service.start()

    def stop(self, name: str) -> None:
        """Stop a unit, those that require it first."""
        service = self.service(name)
        for other in self._live():
            if other is not service and service.unit.name in _needs(other.unit, _REQUIREMENTS):
                self.stop(other.unit.name)
        service.stop()

    def start_enabled(self) -> None:
        """What enabled units ask for at boot; failures are told on the console."""
        folder = self._root / WANTS_FOLDER.lstrip("/")
        for link in sorted(folder.iterdir()) if folder.is_dir() else []:
            if link.name.endswith(".service"):
                try:
                    self.start(link.name)
                except UnitError as error:
                    self._log(f"{link.name}: {error}")

    def stop_all(self) -> None:
        """Stop every live unit, the last started ones first."""
        for service in sorted(self._live(), key=lambda item: item.since, reverse=True):
            with contextlib.suppress(UnitError):
                self.stop(service.unit.name)

    def _live(self) -> list[Service]:
        with self._lock:
            return [service for service in self._services.values() if service.is_live()]

    # --- verbs

    def _each(self, names: Sequence[str], action: Callable[[str], None]) -> Answer:
        if not names:
            raise UnitError("Too few arguments.")
        errors, code = [], 0
        for name in names:
            try:
                action(name)
            except UnitError as error:
                errors.append(f"{error}\n")
                code = max(code, 5 if isinstance(error, UnitNotFound) else 1)
        return {"code": code, "stderr": "".join(errors)}

    def _start_verb(self, request: report.Request) -> Answer:
        if not request.no_block:
            return self._each(request.names, self.start)
        for name in request.names:
            self.service(name)
            threading.Thread(target=self._each, args=([name], self.start), daemon=True).start()
        return {"code": 0}

    def _stop_verb(self, request: report.Request) -> Answer:
        return self._each(request.names, self.stop)

    def _restart(self, name: str) -> None:
        with contextlib.suppress(UnitNotFound):
            self.stop(name)
        self.start(name)

    def _restart_verb(self, request: report.Request) -> Answer:
        return self._each(request.names, self._restart)

    def _try_restart_verb(self, request: report.Request) -> Answer:
        active = [name for name in request.names if self.service(name).active == "active"]
        return self._each(active, self._restart) if active else {"code": 0}

    def _reload_verb(self, request: report.Request) -> Answer:
        return self._each(request.names, lambda name: self.service(name).reload())

    def _reload_or_restart_verb(self, request: report.Request) -> Answer:
        def act(name: str) -> None:
            service = self.service(name)
            if service.active == "active" and service.unit.lists("Service", "ExecReload"):
                service.reload()
            else:
                self._restart(name)

        return self._each(request.names, act)

    def _status_verb(self, request: report.Request) -> Answer:
        if not request.names:
            return self._list_units_verb(request)
        texts: list[str] = []
        code = 0
        for name in request.names:
            try:
                service = self.service(name)
            except UnitNotFound as error:
                return {"code": 4, "stdout": "".join(texts), "stderr": f"{error}\n"}
            texts.append(report.status(service, enabled=self._enabled(service.unit), lines=request.lines))
            code = code or (0 if service.active in ("active", "reloading") else 3)
        return {"code": code, "stdout": "\n".join(texts)}

    def _show_verb(self, request: report.Request) -> Answer:
        texts = []
        for name in request.names:
            try:
                service = self.service(name)
                values = report.properties(service, enabled=self._enabled(service.unit))
            except UnitNotFound:
                values = report.missing(full_name(name))
            texts.append(report.show(values, request))
        return {"code": 0, "stdout": "\n".join(texts)}

    def _is_active_verb(self, request: report.Request) -> Answer:
        states = [self._state(name) for name in request.names]
        return {
            "code": 0 if "active" in states else 3,
            "stdout": "" if request.quiet else "".join(f"{s}\n" for s in states),
        }

    def _is_failed_verb(self, request: report.Request) -> Answer:
        states = [self._state(name) for name in request.names]
        return {
            "code": 0 if "failed" in states else 1,
            "stdout": "" if request.quiet else "".join(f"{s}\n" for s in states),
        }

    def _state(self, name: str) -> str:
        try:
            return self.service(name).active
        except UnitNotFound:
            return "inactive"

    def _is_enabled_verb(self, request: report.Request) -> Answer:
        states = [self._enabled(self.service(name).unit) for name in request.names]
        code = 0 if any(state in ("enabled", "static") for state in states) else 1
        return {"code": code, "stdout": "" if request.quiet else "".join(f"{state}\n" for state in states)}

    def _links(self, unit: Unit) -> list[Path]:
        base = self._root / "etc/systemd/system"
        wanted = [base / f"{target}.wants" / unit.name for target in unit.words("Install", "WantedBy")]
        required = [base / f"{target}.requires" / unit.name for target in unit.words("Install", "RequiredBy")]
        return wanted + required + [base / alias for alias in unit.words("Install", "Alias")]

    def _enabled(self, unit: Unit) -> str:
        links = self._links(unit)
        if not links:
            return "static"
        return "enabled" if any(link.is_symlink() for link in links) else "disabled"

    def _enable_verb(self, request: report.Request) -> Answer:
        told = []
        for name in request.names:
            unit = self.service(name).unit
            for link in self._links(unit):
                if not link.is_symlink():
                    link.parent.mkdir(parents=True, exist_ok=True)
                    link.symlink_to(unit.path)
                    told.append(f"Created symlink {link} → {unit.path}.\n")
        return self._also(told, request, self.start)

    def _disable_verb(self, request: report.Request) -> Answer:
        told = []
        for name in request.names:
            for link in self._links(self.service(name).unit):
                if link.is_symlink():
                    link.unlink()
                    told.append(f"Removed {link}.\n")
        return self._also(told, request, self.stop)

    def _also(self, told: Sequence[str], request: report.Request, action: Callable[[str], None]) -> Answer:
        """Tell of links made or removed; with --now act too."""
        answer = self._each(request.names, action) if request.now else {"code": 0}
        return {**answer, "stderr": "".join(told) + str(answer.get("stderr", ""))}

    def _daemon_reload_verb(self, request: report.Request) -> Answer:
        """Read every unit file again; one that is broken or gone stays as it was until it is next started."""
        with self._lock:
            known = list(self._services.values())
        told = []
        for service in known:
            try:
                service.unit = load(service.unit.name, root=self._root, search=self._search)
            except UnitNotFound:
                if not service.is_live():
                    with self._lock:
                        self._services.pop(service.unit.name, None)
            except UnitError as error:
                told.append(f"{error}\n")
        return {"code": 0, "stderr": "".join(told)}

    def _reset_failed_verb(self, request: report.Request) -> Answer:
        with self._lock:
            names = list(request.names) or list(self._services)
        for name in names:
            self.service(name).reset()
        return {"code": 0}

    def _cat_verb(self, request: report.Request) -> Answer:
        paths = [self.service(name).unit.path for name in request.names]
        return {"code": 0, "stdout": "\n".join(f"# {path}\n{Path(path).read_text()}" for path in paths)}

    def _list_units_verb(self, request: report.Request) -> Answer:
        with self._lock:
            services = sorted(self._services.values(), key=lambda item: item.unit.name)
        return {"code": 0, "stdout": report.table(services)}

    def _is_system_running_verb(self, request: report.Request) -> Answer:
        with self._lock:
            failed = any(service.active == "failed" for service in self._services.values())
        return {"code": 1 if failed else 0, "stdout": "degraded\n" if failed else "running\n"}


def _needs(unit: Unit, keys: Sequence[str]) -> list[str]:
    """The services that a unit names there; targets, sockets and mounts count as reached."""
    return [name for key in keys for name in unit.words("Unit", key) if name.endswith(".service")]
