"""The front door: what it refuses, in which words and in which form; what it records."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local_cloud.aws.loopback import Loopback
from tests.unit.infra.local_cloud_aws.conftest import Api


def code(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    response = error.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


@pytest.mark.parametrize(
    ("service", "operation", "request_"),
    [
        (
            "ec2",
            "create_fleet",
            {"LaunchTemplateConfigs": [], "TargetCapacitySpecification": {"TotalTargetCapacity": 1}},
        ),
        ("ssm", "start_session", {"Target": "i-1"}),
        ("iam", "create_login_profile", {"UserName": "x", "Password": "xxxxxxxx"}),
        ("s3", "get_bucket_website", {"Bucket": "b"}),
        ("dynamodb", "list_tables", {}),
        ("sqs", "list_queues", {}),
    ],
)
def test_unknown_apis_fail_at_once_and_name_themselves(
    api: Api, service: str, operation: str, request_: dict[str, Any]
) -> None:
    with pytest.raises(ClientError) as error:
        getattr(api.client(service), operation)(**request_)
    assert code(error) == ("NotImplemented", 501)
    assert service in error.value.response["Error"]["Message"]
    assert "does not model" in error.value.response["Error"]["Message"]


def test_requests_are_held_to_botocores_models(api: Api) -> None:
    ec2 = api.client("ec2")
    with pytest.raises(ClientError) as error:
        ec2.create_placement_group(GroupName="g", Strategy="close")
    assert code(error) == ("InvalidParameterValue", 400)
    assert "Strategy is 'close', allowed: cluster, spread, partition" in str(error.value)
    with pytest.raises(ClientError) as error:
        careless = Loopback(api.gateway, checked=False).client("logs", "us-east-1")
        careless.put_retention_policy(logGroupName="", retentionInDays=1)
    assert "valid min length: 1" in str(error.value)
    assert "logGroupName has 0 characters" in str(error.value)


def test_an_unsigned_request_is_refused(api: Api) -> None:
    seen: list[Any] = []
    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/", "CONTENT_LENGTH": "0", "QUERY_STRING": ""}
    body = b"".join(api.gateway(environ, lambda status, headers: seen.append(status)))
    assert seen == ["403 Error"]
    assert b"MissingAuthenticationToken" in body


def test_every_request_is_recorded_with_who_asked_and_what_came_of_it(api: Api) -> None:
    api.client("sts").get_caller_identity()
    with pytest.raises(ClientError):
        api.client("cloudformation").describe_stacks(StackName="nowhere")
    lines = [json.loads(line) for line in (api.cloud.state / "aws.jsonl").read_text().splitlines()]
    asked = [(r["service"], r["operation"], r["status"], r["access_key"]) for r in lines if r["event"] == "request"]
    assert asked == [
        ("sts", "GetCallerIdentity", 200, "local"),
        ("cloudformation", "DescribeStacks", 400, "local"),
    ]
    assert "nowhere does not exist" in lines[-1]["error"]


def test_compressed_metrics_arrive(api: Api) -> None:
    """botocore packs a PutMetricData of more than 10 KiB with gzip."""
    cloudwatch = api.client("cloudwatch")
    data = [
        {"MetricName": f"m{n}", "Value": float(n), "Dimensions": [{"Name": "Node", "Value": "x" * 200}]}
        for n in range(150)
    ]
    cloudwatch.put_metric_data(Namespace="Dure", MetricData=data)
    pages = cloudwatch.get_paginator("list_metrics").paginate(Namespace="Dure")
    assert {m["MetricName"] for page in pages for m in page["Metrics"]} == {f"m{n}" for n in range(150)}


def test_an_internal_failure_is_said_and_not_retried_for_ever(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(cloud: Any, call: Any) -> None:
        raise RuntimeError("the reason")

    monkeypatch.setitem(api.gateway._plugins["fsx"].handlers, "DescribeFileSystems", broken)
    with pytest.raises(ClientError) as error:
        api.client("fsx").describe_file_systems()
    assert code(error) == ("LocalCloudFailure", 501)
    assert "fsx:DescribeFileSystems: RuntimeError: the reason" in str(error.value)
