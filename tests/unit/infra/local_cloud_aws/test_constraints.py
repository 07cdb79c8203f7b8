"""Every pattern of every service that the local cloud answers for can be said in Python, and each rule refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from moto.core.utils import get_service_model

from infra.local_cloud.aws import coverage
from infra.local_cloud.aws.constraints import java_pattern, violations

COVERED = sorted({service for service, *_ in coverage.operations()})


def shapes(service: str) -> Iterator[Any]:
    """Every shape that a request of the service may hold."""
    model = get_service_model(service)
    seen: set[str] = set()
    waiting = [model.operation_model(name).input_shape for name in model.operation_names]
    while waiting:
        shape = waiting.pop()
        if shape is None or shape.name in seen:
            continue
        seen.add(shape.name)
        yield shape
        waiting += list(getattr(shape, "members", {}).values())
        waiting += [getattr(shape, name) for name in ("member", "key", "value") if hasattr(shape, name)]


def shape_of(service: str, operation: str, member: str) -> Any:
    return get_service_model(service).operation_model(operation).input_shape.members[member]


@pytest.mark.parametrize("service", COVERED)
def test_every_pattern_can_be_said_in_python(service: str) -> None:
    found = {shape.metadata["pattern"] for shape in shapes(service) if "pattern" in shape.metadata}
    refused = []
    for pattern in found:
        try:
            java_pattern(pattern)
        except re.error as error:
            refused.append(f"{pattern}: {error}")
    assert refused == []


@pytest.mark.parametrize(
    ("service", "operation", "member", "good", "bad", "said"),
    [
        ("iam", "CreateRole", "RoleName", "dure-head", "dure head", "does not match"),
        ("iam", "CreateRole", "RoleName", "r" * 64, "r" * 65, "has 65 characters, allowed: 1 to 64"),
        ("iam", "CreateRole", "Tags", [{"Key": "ä:ö", "Value": "x y"}], [{"Key": "a!", "Value": ""}], "Tags[0].Key"),
        ("logs", "PutLogEvents", "logStreamName", "job/12", "a:b", "does not match"),
        ("ec2", "CreatePlacementGroup", "Strategy", "cluster", "close", "allowed: cluster, spread, partition"),
        ("ec2", "RunInstances", "MetadataOptions", {"HttpTokens": "required"}, {"HttpTokens": "yes"}, "HttpTokens is"),
        ("ssm", "SendCommand", "TimeoutSeconds", 30, 29, "is 29, allowed: 30 to 2592000"),
        ("ssm", "SendCommand", "InstanceIds", ["i-0123456789abcdef0"], ["head"], "InstanceIds[0] is 'head'"),
        ("fsx", "CreateFileSystem", "StorageCapacity", 1200, -1, "is -1"),
        ("kms", "ScheduleKeyDeletion", "PendingWindowInDays", 7, 0, "is 0, allowed: 1 to 365"),
    ],
)
def test_a_value_that_the_model_does_not_allow_is_named(
    service: str, operation: str, member: str, good: Any, bad: Any, said: str
) -> None:
    shape = shape_of(service, operation, member)
    assert violations(good, shape, member) == []
    problems = violations(bad, shape, member)
    assert any(said in line and line.startswith(member) for line in problems), problems
