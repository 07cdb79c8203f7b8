"""Every operation that the local cloud answers, of every service but S3: a wrong request is refused before anything.

The requests are made by a client that checks nothing, so what arrives is what anybody could send.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore import xform_name
from botocore.exceptions import ClientError
from moto.core.utils import get_service_model

from infra.local_cloud.aws import coverage
from infra.local_cloud.aws.loopback import Loopback
from tests.unit.infra.local_cloud_aws.conftest import REGION, Api

SERVICES = sorted({service for service, *_ in coverage.operations()} - {"s3"})
REFUSALS = {
    "ec2": "InvalidParameterValue",
    "iam": "ValidationError",
    "cloudformation": "ValidationError",
}


def operations(service: str) -> Iterator[tuple[str, Any]]:
    """The covered operations of a service that take something, with their input shapes."""
    for name, operation, _ in coverage.operations():
        shape = get_service_model(service).operation_model(operation).input_shape if name == service else None
        if shape is not None:
            yield operation, shape


def wrong(member: Any) -> Any:
    """A value that the member's shape does not allow; None where every value of its kind is allowed."""
    rules = member.metadata
    if member.type_name == "string":
        if rules.get("enum"):
            return "no such word"
        if int(rules.get("max", 10**9)) < 10_000:
            return "x" * (int(rules["max"]) + 1)
    if member.type_name in ("integer", "long") and rules.get("max") is not None:
        return int(rules["max"]) + 1
    return None


def answer(client: Any, operation: str, request: dict[str, Any]) -> tuple[str, str]:
    """Code and message of the refusal; empty when there is none."""
    try:
        getattr(client, xform_name(operation))(**request)
    except ClientError as error:
        return error.response["Error"]["Code"], error.response["Error"]["Message"]
    return "", ""


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_missing_is_named(api: Api, service: str) -> None:
    client = Loopback(api.gateway, access_key="local", checked=False).client(service, REGION)
    code = REFUSALS.get(service, "ValidationException")
    passed = {
        operation: found
        for operation, shape in operations(service)
        if shape.required_members
        and not (
            (found := answer(client, operation, {}))[0] == code and all(m in found[1] for m in shape.required_members)
        )
    }
    assert passed == {}


@pytest.mark.parametrize("service", SERVICES)
def test_a_value_that_is_not_allowed_is_named(api: Api, service: str) -> None:
    client = Loopback(api.gateway, access_key="local", checked=False).client(service, REGION)
    code = REFUSALS.get(service, "ValidationException")
    passed = {}
    for operation, shape in operations(service):
        for name, member in shape.members.items():
            if (value := wrong(member)) is None:
                continue
            found = answer(client, operation, {name: value})
            if found[0] != code or f"{name} " not in found[1]:
                passed[f"{operation}.{name}"] = found
    assert passed == {}
