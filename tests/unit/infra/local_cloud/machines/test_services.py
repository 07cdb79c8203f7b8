"""Each service has an address of its own, in the SDKs' configuration too, and answers only there."""

from __future__ import annotations

import configparser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from infra.local_cloud.machines.services import OTHER_ADDRESS, SERVICES, only_its_own, sdk_config


def test_addresses_are_link_local_and_nobody_elses() -> None:
    addresses = [service.address for service in SERVICES.values()]
    assert len({*addresses, OTHER_ADDRESS, "169.254.169.254"}) == len(addresses) + 2
    assert all(address.startswith("169.254.") for address in addresses)


def test_the_sdk_finds_each_service_at_its_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config"
    file.write_text(sdk_config(5055))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    session = boto3.session.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1")
    called = {name: name for name, service in SERVICES.items() if service.sdk} | {"monitoring": "cloudwatch"}
    for name, client in called.items():
        assert session.client(client).meta.endpoint_url == f"http://{SERVICES[name].address}:5055"
    assert session.client("sqs").meta.endpoint_url == f"http://{OTHER_ADDRESS}:5055"
    assert configparser.ConfigParser().read_string(sdk_config(1)) is None, "and any reader of such files takes it"


def ask(address: str, **environ: str) -> str:
    """The status of a request that comes in at an address."""
    seen: list[str] = []
    here: Any = {"werkzeug.socket": SimpleNamespace(getsockname=lambda: (address, 5055)), **environ}

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return []

    list(only_its_own(app)(here, lambda status, headers: seen.append(status)))
    return seen[0][:3]


def signed(service: str) -> str:
    return (
        f"AWS4-HMAC-SHA256 Credential=AKIA/20261130/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
    )


@pytest.mark.parametrize(
    ("address", "service", "status"),
    [
        (SERVICES["s3"].address, "s3", "200"),
        (SERVICES["s3"].address, "ec2", "421"),
        (SERVICES["s3"].address, "sqs", "421"),
        (OTHER_ADDRESS, "sqs", "200"),
        (OTHER_ADDRESS, "ec2", "421"),
    ],
)
def test_a_service_answers_at_its_own_address_only(address: str, service: str, status: str) -> None:
    assert ask(address, HTTP_AUTHORIZATION=signed(service)) == status
    query = f"X-Amz-Credential=AKIA%2F20261130%2Fus-east-1%2F{service}%2Faws4_request&X-Amz-Expires=9"
    assert ask(address, QUERY_STRING=query) == status


def test_what_is_not_signed_is_left_to_the_api() -> None:
    assert ask(SERVICES["s3"].address) == "200"
