"""A connection to a real ssh server in this process: keys that are checked, and errors that say what to do."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from cluster_scripts.backends.ssh.connection import Address, Connection, address_of
from cluster_scripts.jobs.errors import InvalidArgument, Refused, Unreachable


class Server(paramiko.ServerInterface):
    """Lets in whoever has `client_key`; runs what it is told in a shell, as sshd does."""

    def __init__(self, client_key: paramiko.PKey) -> None:
        self.client_key = client_key

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        right = username == "kim" and key == self.client_key
        return paramiko.common.AUTH_SUCCESSFUL if right else paramiko.common.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.common.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=self._run, args=(channel, command.decode()), daemon=True).start()
        return True

    def _run(self, channel: paramiko.Channel, command: str) -> None:
        stdin = b""
        while part := channel.recv(65536):
            stdin += part
        done = subprocess.run(command, shell=True, input=stdin, capture_output=True, check=False)  # noqa: S602
        channel.sendall(done.stdout)
        channel.sendall_stderr(done.stderr)
        channel.send_exit_status(done.returncode)
        channel.close()


class SshServer:
    """A listener on this machine that serves one connection after the other."""

    def __init__(self, host_key: paramiko.PKey, client_key: paramiko.PKey) -> None:
        self.host_key, self.client_key = host_key, client_key
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._transports: list[paramiko.Transport] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transport.add_server_key(self.host_key)
            self._transports.append(transport)
            try:
                transport.start_server(server=Server(self.client_key))
            except (paramiko.SSHException, EOFError, OSError):  # a client that refuses us leaves as it likes
                transport.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for transport in self._transports:
            transport.close()
        self._thread.join(5)


@pytest.fixture
def keys(tmp_path: Path) -> tuple[paramiko.PKey, paramiko.PKey]:
    host, mine = paramiko.ECDSAKey.generate(), paramiko.ECDSAKey.generate()
    mine.write_private_key_file(str(tmp_path / "id"))
    return host, mine


@pytest.fixture
def server(keys: tuple[paramiko.PKey, paramiko.PKey]) -> Iterator[SshServer]:
    running = SshServer(*keys)
    yield running
    running.close()


@pytest.fixture
def config(server: SshServer, tmp_path: Path) -> Path:
    path = tmp_path / "config"
    path.write_text(
        f"Host cluster\n  HostName 127.0.0.1\n  Port {server.port}\n  User kim\n"
        f"  IdentityFile {tmp_path / 'id'}\n  UserKnownHostsFile {tmp_path / 'known_hosts'}\n"
    )
    return path


def know(tmp_path: Path, port: int, key: paramiko.PKey) -> None:
    line = f"[127.0.0.1]:{port} {key.get_name()} {key.get_base64()}\n"
    (tmp_path / "known_hosts").write_text(line)


@pytest.fixture(autouse=True)
def no_agent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_a_known_host_lets_us_run_programs(server: SshServer, config: Path, tmp_path: Path) -> None:
    know(tmp_path, server.port, server.host_key)
    with Connection.open("cluster", config_path=config) as connection:
        result = connection.run(["printf", "%s|", "a b", "$HOME", "'; exit 9", "한글\n"])
        assert (result.code, result.stdout) == (0, "a b|$HOME|'; exit 9|한글\n|")
        assert connection.run(["cat"], stdin="in\n").stdout == "in\n"
        failed = connection.run(["sh", "-c", "echo why >&2; exit 7"])
        assert (failed.code, failed.stderr) == (7, "why\n")


def test_a_proxy_command_carries_the_connection_and_ends_with_it(
    server: SshServer, config: Path, tmp_path: Path
) -> None:
    know(tmp_path, server.port, server.host_key)
    relay = (
        "import os, select, socket, sys\n"
        "open(sys.argv[3], 'w').write(str(os.getpid()))\n"
        "s = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "while True:\n"
        "    for ready in select.select([0, s], [], [])[0]:\n"
        "        part = os.read(0, 65536) if ready == 0 else s.recv(65536)\n"
        "        if not part: sys.exit()\n"
        "        s.sendall(part) if ready == 0 else os.write(1, part)\n"
    )
    (tmp_path / "relay.py").write_text(relay)
    line = f"  ProxyCommand {sys.executable} {tmp_path}/relay.py %h %p {tmp_path}/pid\n"
    config.write_text(config.read_text() + line)
    with Connection.open("cluster", config_path=config) as connection:
        assert connection.run(["echo", "through"]).stdout == "through\n"
        pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_an_unknown_host_is_refused_with_its_fingerprint(server: SshServer, config: Path) -> None:
    with pytest.raises(Refused) as refused:
        Connection.open("cluster", config_path=config)
    assert server.host_key.fingerprint in str(refused.value)
    assert f"ssh -p {server.port} kim@127.0.0.1" in str(refused.value)


def test_a_changed_host_key_is_refused_loudly(server: SshServer, config: Path, tmp_path: Path) -> None:
    know(tmp_path, server.port, paramiko.ECDSAKey.generate())
    with pytest.raises(Refused, match="CHANGED"):
        Connection.open("cluster", config_path=config)


def test_a_key_that_the_host_does_not_take_is_refused(server: SshServer, config: Path, tmp_path: Path) -> None:
    know(tmp_path, server.port, server.host_key)
    with pytest.raises(Refused, match="does not let you in"):
        Connection.open("lee@cluster", config_path=config)


def test_a_host_that_does_not_answer_is_unreachable(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    with pytest.raises(Unreachable, match="is sshd up"):
        Connection.open(f"kim@127.0.0.1:{port}", config_path=tmp_path / "none")


def test_a_host_that_is_no_ssh_server_is_one_line_of_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        closer = threading.Thread(target=lambda: other.accept()[0].close())
        closer.start()
        program = "import sys; from cluster_scripts.cli.main import main; sys.exit(main(sys.argv[1:]))"
        words = ["jobs", "--ssh", f"kim@127.0.0.1:{other.getsockname()[1]}"]
        done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)
        closer.join()
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("dure: kim@127.0.0.1")


def lookup(text: str, config: str = "") -> Address:
    return address_of(text, config=paramiko.SSHConfig.from_text(config), user="me")


def test_addresses_are_completed_by_the_configuration() -> None:
    assert lookup("login.example.com").user == "me"
    assert lookup("kim@login:2222").port == 2222
    assert str(lookup("kim@login:2222")) == "kim@login:2222"
    found = lookup("c", "Host c\n HostName 10.0.0.1\n User lee\n ProxyJump bastion\n")
    assert (found.user, found.host, found.proxy) == ("lee", "10.0.0.1", "ssh -W 10.0.0.1:22 bastion")
    assert lookup("c", "Host c\n ProxyCommand nc %h %p\n").proxy == "nc c 22"
    assert lookup("kim@c", "Host c\n User lee\n").user == "kim"
    assert lookup("[::1]:22").host == "::1"


@pytest.mark.parametrize("text", ["", "a b", "-oProxyCommand=x", "kim@", "@host", "host:port", "a@b@c", "host\n"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        lookup(text)
