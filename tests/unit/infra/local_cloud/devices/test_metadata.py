"""The metadata service over a real socket of this machine."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from infra.local_cloud.devices.metadata import MetadataServer, Tokens, lookup
from infra.local_cloud.machines.api import MachineSpec

TREE: dict[str, str | bytes] = {
    "meta-data/instance-id": "i-1",
    "meta-data/tags/instance/dure:role": "head",
    "user-data": b"#!\xff",
}
SPEC = MachineSpec(
    instance_id="i-1", private_ip="127.0.0.1", prefix_length=8, gateway="127.0.0.1", mac="02:00:00:00:00:01",
    host_name="h", instance_type="t", gpus=0, user_data=b"", metadata=lambda: TREE, tokens_required=True)  # fmt: skip
TOKEN = "X-aws-ec2-metadata-token"
TTL = "X-aws-ec2-metadata-token-ttl-seconds"


class Service:
    """A server, whose machine and clock the test may change."""

    def __init__(self) -> None:
        self.spec: MachineSpec | None = SPEC
        self.now = 1000.0
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self.server = MetadataServer(listener, lambda address: self.spec, now=lambda: self.now)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def ask(self, path: str, *, method: str = "GET", **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        connection.request(method, path, headers={key.replace("_", "-"): value for key, value in headers.items()})
        answer = connection.getresponse()
        result = (answer.status, answer.read())
        connection.close()
        return result

    def token(self, ttl: str = "60") -> str:
        return self.ask("/latest/api/token", method="PUT", **{TTL: ttl})[1].decode()


@pytest.fixture
def service() -> Iterator[Service]:
    running = Service()
    yield running
    running.server.shutdown()
    running.server.server_close()
    running.thread.join()


def test_tree_and_folders(service: Service) -> None:
    token = {TOKEN: service.token()}
    assert service.ask("/latest/meta-data/instance-id", **token) == (200, b"i-1")
    assert service.ask("/2021-07-15/meta-data/tags/instance/dure:role", **token) == (200, b"head")
    assert service.ask("/latest/meta-data/", **token) == (200, b"instance-id\ntags/")
    assert service.ask("/latest/user-data", **token) == (200, b"#!\xff")
    assert service.ask("/latest/", **token) == (200, b"meta-data/\nuser-data")
    assert service.ask("/latest/meta-data/nothing", **token)[0] == 404
    assert service.ask("/elsewhere", **token)[0] == 404


def test_version_one_only_where_allowed(service: Service) -> None:
    assert service.ask("/latest/meta-data/instance-id")[0] == 401
    service.spec = replace(SPEC, tokens_required=False)
    assert service.ask("/latest/meta-data/instance-id") == (200, b"i-1")
    assert service.ask("/latest/meta-data/instance-id", **{TOKEN: "wrong"})[0] == 401


@pytest.mark.parametrize("ttl", ["0", "21601", "", "ten", "-1", "1²"])
def test_a_token_needs_a_sensible_life(service: Service, ttl: str) -> None:
    assert service.ask("/latest/api/token", method="PUT", **{TTL: ttl.encode("latin-1").decode("latin-1")})[0] == 400


def test_tokens_end_and_belong_to_one_machine(service: Service) -> None:
    token = service.token("60")
    service.now += 59
    assert service.ask("/latest/user-data", **{TOKEN: token})[0] == 200
    service.spec = replace(SPEC, instance_id="i-2")
    assert service.ask("/latest/user-data", **{TOKEN: token})[0] == 401
    service.spec = SPEC
    service.now += 2
    assert service.ask("/latest/user-data", **{TOKEN: token})[0] == 401


def test_forwarded_unknown_and_disabled(service: Service) -> None:
    assert service.ask("/latest/api/token", method="PUT", **{TTL: "60", "X_Forwarded_For": "1.2.3.4"})[0] == 403
    assert service.ask("/latest/api/other", method="PUT", **{TTL: "60"})[0] == 404
    service.spec = replace(SPEC, metadata_enabled=False)
    assert service.ask("/latest/api/token", method="PUT", **{TTL: "60"})[0] == 403
    service.spec = None
    assert service.ask("/latest/api/token", method="PUT", **{TTL: "60"})[0] == 404
    assert service.ask("/latest/meta-data/")[0] == 404


def test_a_value_that_is_a_folder_too() -> None:
    tree = {"iam/security-credentials/role": "{}", "iam/info": "x"}
    assert lookup(tree, "/iam") == b"info\nsecurity-credentials/"
    assert lookup(tree, "/iam/security-credentials/") == b"role"
    assert lookup(tree, "/i") is None


def test_old_tokens_are_forgotten() -> None:
    now = [0.0]
    tokens = Tokens(lambda: now[0])
    token = tokens.issue("i-1", 10)
    assert tokens.holds("i-1", token)
    now[0] = 11.0
    tokens.issue("i-1", 10)
    assert not tokens.holds("i-1", token) and len(tokens._until) == 1
