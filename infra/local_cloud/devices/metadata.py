"""The instance metadata service, as machines find it at 169.254.169.254: who asks is told by the source address.

Version 2 (a token by PUT, with a time to live, its answer travelling `hop_limit` hops) always, version 1 unless the
instance requires tokens. Source: "Use IMDS" in the EC2 user guide.
"""

from __future__ import annotations

import base64
import os
import re
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from infra.local_cloud.machines.api import MachineSpec, MetadataTree

TOKEN_PATH = "/latest/api/token"
TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"
TOKEN_HEADER = "X-aws-ec2-metadata-token"
LONGEST_TTL = 21600
_VERSION = re.compile(r"/(latest|20\d\d-\d\d-\d\d|1\.0)(/.*)?")

FindMachine = Callable[[str], MachineSpec | None]


class Tokens:
    """The session tokens of every machine: each good for the machine that asked for it, until its time is over."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._until: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def issue(self, instance_id: str, ttl: int) -> str:
        """A new token."""
        token = base64.urlsafe_b64encode(os.urandom(40)).decode()
        now = self._now()
        with self._lock:
            self._until = {key: until for key, until in self._until.items() if until > now}
            self._until[instance_id, token] = now + ttl
        return token

    def holds(self, instance_id: str, token: str) -> bool:
        """Whether a machine may use this token now."""
        with self._lock:
            return self._until.get((instance_id, token), 0.0) > self._now()


def lookup(tree: MetadataTree, path: str) -> bytes | None:
    """What lies at a path (without `/latest/`): a value, or the names below it, folders with a slash, or None."""
    key = path.strip("/")
    value = tree.get(key)
    if value is not None and not path.endswith("/"):
        return value.encode() if isinstance(value, str) else value
    prefix = f"{key}/" if key else ""
    names = {rest.partition("/") for rest in (name[len(prefix) :] for name in tree if name.startswith(prefix))}
    if names:
        folders = {name for name, slash, _ in names if slash}
        values = {name for name, slash, _ in names if not slash and name not in folders}
        return "\n".join(sorted(values | {f"{name}/" for name in folders})).encode()
    if value is not None:
        return value.encode() if isinstance(value, str) else value
    return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "EC2ws", ""
    timeout = 60
    server: MetadataServer

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: requests are not worth a line each."""

    def do_PUT(self) -> None:
        spec = self._machine()
        if spec is None:
            return
        if self.path != TOKEN_PATH:
            self._answer(404)
        elif self.headers.get("X-Forwarded-For"):
            self._answer(403)
        else:
            ttl = self.headers.get(TTL_HEADER, "")
            if not ttl.isascii() or not ttl.isdigit() or not 1 <= int(ttl) <= LONGEST_TTL:
                self._answer(400)
                return
            self.connection.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, spec.hop_limit)
            self._answer(200, self.server.tokens.issue(spec.instance_id, int(ttl)).encode(), {TTL_HEADER: ttl})

    def do_GET(self) -> None:
        spec = self._machine()
        if spec is None:
            return
        token = self.headers.get(TOKEN_HEADER)
        allowed = not spec.tokens_required if token is None else self.server.tokens.holds(spec.instance_id, token)
        if not allowed:
            self._answer(401)
        elif self.path == "/":
            self._answer(200, b"latest")
        elif (match := _VERSION.fullmatch(self.path.partition("?")[0])) is None:
            self._answer(404)
        else:
            found = lookup(spec.metadata(), match[2] or "/")
            self._answer(404) if found is None else self._answer(200, found)

    do_HEAD = do_GET

    def _machine(self) -> MachineSpec | None:
        spec = self.server.find(self.client_address[0])
        if spec is None:
            self._answer(404)
        elif not spec.metadata_enabled:
            self._answer(403)
            return None
        return spec

    def _answer(self, code: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length:
            self.rfile.read(min(length, 1 << 16))
        self.send_response(code)
        for key, value in {"Content-Type": "text/plain", "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class MetadataServer(ThreadingHTTPServer):
    """Serves on a socket that already listens (in the machines' network), until `shutdown`."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, find: FindMachine, *, now: Callable[[], float] = time.time) -> None:
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.find, self.tokens = find, Tokens(now)
