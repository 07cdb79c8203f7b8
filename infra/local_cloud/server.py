"""One local cloud, composed: the machines, the AWS API over them, and the two places where it is served."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from werkzeug.serving import WSGIRequestHandler, make_server

from .machines import host, local, ownership
from .machines.api import WsgiApp
from .machines.inside.plan import Bind
from .machines.root import Host
from .state import State

STATUS_PATH = "/_local_cloud/status"


class ServerError(Exception):
    """The local cloud can't be served as asked; says what to do."""


@dataclass(frozen=True)
class Options:
    """What `up` was asked for. `binds` are shown read-only in every machine, as an AMI's content."""

    state: Path
    port: int
    repository: Path
    binds: Sequence[tuple[Path, str]]
    unprivileged: bool = False
    enforce_iam: bool = True


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: Any) -> None:
        """Only errors: the record of requests is the AWS side's own."""
        if type == "error":
            print(message % args, file=sys.stderr, flush=True)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing."""


def serve_on(listener: socket.socket, app: WsgiApp) -> None:
    """Serve an app on a socket that already listens, in whatever network namespace that is; returns at once."""
    address, port = listener.getsockname()[:2]
    server = make_server(address, port, app, threaded=True, request_handler=_Handler, fd=listener.fileno())
    server.daemon_threads = True  # type: ignore[attr-defined]
    listener.detach()
    threading.Thread(target=server.serve_forever, name=f"api {address}", daemon=True).start()


def listen(port: int) -> socket.socket:
    """A socket on the host's 127.0.0.1. Raises `ServerError`."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        raise ServerError(
            f"port {port} of 127.0.0.1 can't be had ({error.strerror}): stop what uses it, or take a free one with "
            "--port 0"
        ) from error
    listener.listen(128)
    return listener


def with_status(app: WsgiApp, describe: Callable[[], Any]) -> WsgiApp:
    """The app, and beside it what `status` asks for."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if environ.get("PATH_INFO") != STATUS_PATH:
            return app(environ, start_response)
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(describe()).encode()]

    return answer


def run(options: Options, *, say: Callable[[str], None]) -> None:
    """Run a local cloud until SIGTERM or SIGINT. Call it in the main thread of a process that does nothing else."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    state = State(options.state)
    with state.own():
        listener = listen(options.port)
        port = listener.getsockname()[1]
        local.clean(options.state)
        host.own_mounts()
        machines = _machines(options, port)
        for text in absent(options):
            say(f"warning: {text}")
        try:
            say("making the machines' image and network")
            machines.start()
            say("loading the AWS API")
            _serve_api(machines, listener, options, port)
            say(f"ready at http://127.0.0.1:{port}")
            state.publish(
                {
                    "endpoint": f"http://127.0.0.1:{port}",
                    "port": port,
                    "pid": os.getpid(),
                    "started": time.time(),
                    "unprivileged": options.unprivileged,
                    "state": str(options.state),
                }
            )
            stop.wait()
            say("stopping")
        finally:
            machines.stop()
            if options.unprivileged:
                for name in ("machines", "fsx", "volumes", "image"):
                    ownership.hand_back(options.state / name)


def absent(options: Options) -> list[str]:
    """What an AMI would hold and this repository does not have yet."""
    found = [
        f"{source} is missing: machines have no {target}" for source, target in options.binds if not source.is_dir()
    ]
    if not (options.repository / "ami" / "install.sh").exists():
        found.append("ami/install.sh is missing: machines have none of our own programs")
    return found


def _host(options: Options) -> Host:
    return host.look(
        state=options.state,
        repository=options.repository,
        environments=[source for source, _ in options.binds],
        unprivileged=options.unprivileged,
    )


def _machines(options: Options, port: int) -> local.LocalMachines:
    binds = [Bind(os.path.realpath(source), target) for source, target in options.binds if source.is_dir()]
    return local.LocalMachines(
        state=options.state,
        port=port,
        host=_host(options),
        repository=options.repository,
        binds=binds,
        serve=serve_on,
    )


def _serve_api(machines: local.LocalMachines, listener: socket.socket, options: Options, port: int) -> None:
    from .aws import build_app  # late: it loads moto, and the image is made meanwhile

    app = build_app(machines, state=options.state, port=port, enforce_iam=options.enforce_iam)
    machines.serve_api(app)
    serve_on(listener, with_status(app, machines.describe))
