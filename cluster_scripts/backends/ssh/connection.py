"""One ssh connection: opened with the host's key checked, commands run, files put and read.

What `~/.ssh/config` says of the host counts (HostName, User, Port, IdentityFile, UserKnownHostsFile, ProxyCommand,
ProxyJump). A key that is not known is never accepted silently: the error says how to get to know it.
"""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path
from shlex import join

import paramiko

from cluster_scripts.jobs.errors import DureError, InvalidArgument, Refused, Unreachable

CONNECT_SECONDS = 10.0
COMMAND_SECONDS = 60.0
CLOSE_SECONDS = 5.0
# an answer may be long (squeue --json), but not endless
MAX_OUTPUT = 64 << 20

_HOST = r"[A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\]"
_ADDRESS = re.compile(rf"(?:([A-Za-z0-9._-]+)@)?({_HOST})(?::([0-9]{{1,5}}))?", re.ASCII)
# what paramiko logs beside what it raises would reach the user's terminal as a traceback
logging.getLogger("paramiko").addHandler(logging.NullHandler())

_SYSTEM_KNOWN_HOSTS = Path("/etc/ssh/ssh_known_hosts")


@dataclass(frozen=True)
class Address:
    """Where to: what the user typed, completed by the ssh configuration. `proxy`: the command to go through."""

    user: str
    host: str
    port: int
    identities: tuple[str, ...] = ()
    known_hosts: tuple[str, ...] = ()
    proxy: str | None = None

    def __str__(self) -> str:
        return f"{self.user}@{self.host}" + (f":{self.port}" if self.port != 22 else "")


@dataclass(frozen=True)
class Result:
    """How a remote command ended."""

    code: int
    stdout: str
    stderr: str


def address_of(text: str, *, config: paramiko.SSHConfig, user: str) -> Address:
    """Read [USER@]HOST[:PORT] and complete it. `user` is who it is when nobody says. Raises InvalidArgument."""
    match = _ADDRESS.fullmatch(text)
    if not match:
        raise InvalidArgument(f"{text!r} is no ssh address; write [USER@]HOST[:PORT]")
    typed_user, alias, port = match.groups()
    alias = alias.strip("[]")
    said = config.lookup(alias)
    number = int(port or said.get("port", "22"))
    host, who = said.get("hostname", alias), typed_user or said.get("user", user)
    proxy = said.get("proxycommand")
    if proxy is None and (jump := said.get("proxyjump", "none")) != "none":
        proxy = join(["ssh", "-W", f"{host}:{number}", jump])
    return Address(
        user=who,
        host=host,
        port=number,
        identities=tuple(said.get("identityfile", ())),
        known_hosts=tuple(str(said.get("userknownhostsfile", "~/.ssh/known_hosts")).split()),
        proxy=None if proxy in (None, "none") else proxy,
    )


def read_config(path: Path) -> paramiko.SSHConfig:
    """The ssh configuration file, or an empty one where there is none."""
    if path.is_file():
        with contextlib.suppress(OSError):
            return paramiko.SSHConfig.from_path(str(path))
    return paramiko.SSHConfig()


class _UnknownKey(Exception):
    """The server showed a key that no known_hosts file has."""

    def __init__(self, key: paramiko.PKey) -> None:
        super().__init__(key.get_name())
        self.key = key


class _RefuseUnknown(paramiko.MissingHostKeyPolicy):
    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        raise _UnknownKey(key)


class _Proxy:
    """A command that carries the connection, as ssh's ProxyCommand does; `socket` is our end of it.

    paramiko has one of its own, which leaves the process and its pipes behind when it is closed.
    """

    def __init__(self, command: str) -> None:
        self.socket, theirs = socket.socketpair()
        with theirs:
            # ssh, too, gives it to a shell; stderr stays the user's: what the command has to say is for them
            words = ["/bin/sh", "-c", f"exec {command}"]
            self._process = subprocess.Popen(words, stdin=theirs.fileno(), stdout=theirs.fileno())

    def close(self) -> None:
        """End the command and wait for it."""
        self.socket.close()
        self._process.terminate()
        try:
            self._process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Connection:
    """An open connection. Close it, or use it in a `with` block. One command at a time."""

    def __init__(self, client: paramiko.SSHClient, address: Address, proxy: _Proxy | None = None) -> None:
        self._client = client
        self._proxy = proxy
        self._sftp: paramiko.SFTPClient | None = None
        self.address = address

    @classmethod
    def open(cls, text: str, *, config_path: Path | None = None) -> Connection:
        """Connect to [USER@]HOST[:PORT].

        Raises InvalidArgument, Refused (the host's key or ours) and Unreachable.
        """
        config = read_config(config_path or Path.home() / ".ssh" / "config")
        address = address_of(text, config=config, user=getuser())
        proxy = None if address.proxy is None else _Proxy(address.proxy)
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(_RefuseUnknown())
        for name in (str(_SYSTEM_KNOWN_HOSTS), *address.known_hosts):
            path = Path(name).expanduser()
            if path.is_file():
                client.load_system_host_keys(str(path))
        try:
            client.connect(
                address.host,
                port=address.port,
                username=address.user,
                key_filename=[str(Path(name).expanduser()) for name in address.identities],  # type: ignore[arg-type]
                timeout=CONNECT_SECONDS,
                banner_timeout=CONNECT_SECONDS,
                auth_timeout=CONNECT_SECONDS,
                sock=None if proxy is None else proxy.socket,
            )
        except Exception as error:
            transport = client.get_transport()
            # paramiko raises what the last key file that it tried gave, which may be about that file's form
            greeted = transport is not None and transport.is_active()
            client.close()
            if proxy is not None:
                proxy.close()
            explained = _explained(error, address, greeted=greeted)
            if explained is None:
                raise
            raise explained from error
        return cls(client, address, proxy)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it; a second call does nothing."""
        self._client.close()
        if self._proxy is not None:
            self._proxy.close()

    def run(self, argv: Sequence[str], *, stdin: str | bytes = "") -> Result:
        """Run a program; every argument is quoted, none reaches a shell as words. Raises Unreachable."""
        with self._talking(f"running {argv[0]}"):
            source, sink, errors = self._client.exec_command(join(argv), timeout=COMMAND_SECONDS)
            if stdin:
                source.write(stdin)
            source.channel.shutdown_write()
            out, err = sink.read(MAX_OUTPUT), errors.read(MAX_OUTPUT)
            code = sink.channel.recv_exit_status()
        return Result(code=code, stdout=out.decode("utf-8", "replace"), stderr=err.decode("utf-8", "replace"))

    def read(self, path: str, *, offset: int, limit: int) -> tuple[bytes, int] | None:
        """Bytes of a remote file from `offset` (negative: from its end), and its size; None without such a file."""
        with self._talking(f"reading {path}"):
            try:
                with self._files().open(path, "rb") as file:
                    size = file.stat().st_size or 0
                    file.seek(max(0, size + offset) if offset < 0 else offset)
                    return file.read(limit), size
            except FileNotFoundError:
                return None

    def put(self, source: Path, path: str) -> None:
        """Send a file; it appears whole or not at all."""
        with self._talking(f"sending {source.name}"):
            part = f"{path}.part"
            self._files().put(str(source), part)
            self._files().posix_rename(part, path)

    def exists(self, path: str) -> bool:
        """Whether the remote path is there."""
        with self._talking(f"looking for {path}"):
            try:
                self._files().stat(path)
            except FileNotFoundError:
                return False
            return True

    def _files(self) -> paramiko.SFTPClient:
        if self._sftp is None:
            self._sftp = self._client.open_sftp()
            channel = self._sftp.get_channel()
            if channel is not None:
                channel.settimeout(COMMAND_SECONDS)
        return self._sftp

    @contextlib.contextmanager
    def _talking(self, doing: str) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise Unreachable(f"{doing} on {self.address}: no answer within {COMMAND_SECONDS:.0f} s") from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise Unreachable(f"{doing} on {self.address}: {error or type(error).__name__}; try again") from error


def _explained(error: Exception, address: Address, *, greeted: bool) -> DureError | None:
    """What went wrong while connecting, and what to do; None for an error that is none of the connection's.

    greeted: the host's key was right and the connection stands, so that only our own key can be at fault.
    """
    port = f" -p {address.port}" if address.port != 22 else ""
    if isinstance(error, _UnknownKey):
        key = error.key
        return Refused(
            f"the key of {address.host} is not known: it shows {key.get_name()} {key.fingerprint}. "
            f"Compare that with the administrator's, then connect once with `ssh{port} {address.user}@{address.host}`, "
            f"which writes it to {address.known_hosts[0]}"
        )
    if isinstance(error, paramiko.BadHostKeyException):
        return Refused(
            f"the key of {address.host} has CHANGED: somebody may be in between, or the machine was set up anew. Ask "
            f"its administrator; if it is right, forget the old key: ssh-keygen -R {_known_name(address)}"
        )
    if isinstance(error, paramiko.AuthenticationException) or (greeted and isinstance(error, paramiko.SSHException)):
        return Refused(
            f"{address} does not let you in ({error}); does `ssh{port} {address.user}@{address.host}` work without a "
            "password? Load your key into ssh-agent, or name it as IdentityFile in ~/.ssh/config"
        )
    if isinstance(error, paramiko.SSHException | EOFError | OSError):
        said = str(error) or type(error).__name__
        return Unreachable(f"{address} can't be reached: {said}; is the name right, is sshd up?")
    return None


def _known_name(address: Address) -> str:
    return address.host if address.port == 22 else f"'[{address.host}]:{address.port}'"
