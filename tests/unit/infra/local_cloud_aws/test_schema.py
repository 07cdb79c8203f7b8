"""Properties against AWS's provider schemas."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local_cloud.aws.cloudformation.resources import REGISTRY
from infra.local_cloud.aws.cloudformation.schema import Checker, provider_schema
from infra.local_cloud.aws.errors import AwsError


def check(kind: str, properties: dict[str, Any]) -> dict[str, Any]:
    found = REGISTRY.get(kind)
    assert found is not None
    return found.check(properties)


def test_texts_become_what_the_schema_says() -> None:
    assert check("AWS::Logs::LogGroup", {"RetentionInDays": "30"}) == {"RetentionInDays": 30}
    assert check("AWS::EC2::VPC", {"CidrBlock": "10.0.0.0/16", "EnableDnsSupport": "true"})["EnableDnsSupport"] is True
    found = check(
        "AWS::CloudWatch::Alarm",
        {"MetricName": "m", "ComparisonOperator": "LessThanThreshold", "EvaluationPeriods": "3", "Threshold": "1.5"},
    )
    assert (found["EvaluationPeriods"], found["Threshold"]) == (3, 1.5)


@pytest.mark.parametrize(
    ("kind", "properties", "message"),
    [
        ("AWS::EC2::VPC", {"CidrBlock": "10.0.0.0/16", "Cidr": "x"}, "#: extraneous key [Cidr] is not permitted"),
        ("AWS::EC2::Subnet", {"CidrBlock": "10.0.0.0/24"}, "#: required key [VpcId] not found"),
        ("AWS::FSx::FileSystem", {"FileSystemType": "LUSTRE"}, "required key [SubnetIds] not found"),
        ("AWS::Logs::LogGroup", {"RetentionInDays": 31}, "#/RetentionInDays: 31 is not a valid enum value"),
        ("AWS::EC2::VPC", {"CidrBlock": "10.0.0.0/16", "EnableDnsSupport": "perhaps"}, "expected type: boolean"),
        (
            "AWS::SSM::Parameter",
            {"Type": "SecureString", "Value": "x"},
            "#/Type: 'SecureString' is not a valid enum value",
        ),
        (
            "AWS::EC2::LaunchTemplate",
            {"LaunchTemplateData": {"NetworkInterfaces": [{"InterfaceTyp": "efa"}]}},
            "extraneous key [InterfaceTyp] is not permitted",
        ),
    ],
)
def test_what_aws_refuses(kind: str, properties: dict[str, Any], message: str) -> None:
    with pytest.raises(AwsError) as error:
        check(kind, properties)
    assert error.value.message.startswith("Properties validation failed")
    assert message in error.value.message


def test_what_we_do_not_honour_is_refused_by_name() -> None:
    with pytest.raises(AwsError, match="does not model the property HibernationOptions"):
        check("AWS::EC2::Instance", {"HibernationOptions": {"Configured": "true"}})


def test_every_modelled_type_is_aws_own_and_uses_properties_that_exist() -> None:
    for kind in REGISTRY.types.values():
        schema = provider_schema(kind.name)
        assert schema is not None, kind.name
        assert kind.uses <= set(schema["properties"]), (kind.name, kind.uses - set(schema["properties"]))


def test_unions_take_the_branch_that_fits() -> None:
    schema = {"properties": {"p": {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}}]}}}
    checker = Checker(schema)
    assert checker.properties({"p": ["1", 2]}) == {"p": [1, 2]}
    assert not checker.problems
