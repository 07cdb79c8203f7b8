"""Templates: parsing and evaluation, without a cloud."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local_cloud.aws.cloudformation.template import Evaluator, Lookups, dependencies, in_order, load
from infra.local_cloud.aws.errors import AwsError


def evaluator(resources: dict[str, Any], *, parameters: dict[str, Any] | None = None, **sections: Any) -> Evaluator:
    lookups = Lookups(
        ref=lambda name: f"id-of-{name}",
        attribute=lambda name, key: f"{key}-of-{name}",
        export=lambda name: f"export {name}",
        zones=lambda: ["us-east-1a", "us-east-1b"],
        dynamic=lambda service, rest: f"{service}({rest})",
    )
    return Evaluator({"Resources": resources, **sections}, {"AWS::Region": "us-east-1", **(parameters or {})}, lookups)


@pytest.mark.parametrize(
    ("node", "value"),
    [
        ({"Ref": "A"}, "id-of-A"),
        ({"Ref": "AWS::Region"}, "us-east-1"),
        ({"Fn::GetAtt": ["A", "Arn"]}, "Arn-of-A"),
        ({"Fn::GetAtt": "A.Nested.Arn"}, "Nested.Arn-of-A"),
        ({"Fn::Join": ["-", ["x", {"Ref": "A"}]]}, "x-id-of-A"),
        ({"Fn::Sub": "${A}/${A.Arn}/${AWS::Region}/${!A}"}, "id-of-A/Arn-of-A/us-east-1/${A}"),
        ({"Fn::Sub": ["${x}${A}", {"x": {"Ref": "AWS::Region"}}]}, "us-east-1id-of-A"),
        ({"Fn::Select": ["1", {"Fn::Split": [",", "a,b,c"]}]}, "b"),
        ({"Fn::Select": [0, {"Fn::GetAZs": ""}]}, "us-east-1a"),
        ({"Fn::Base64": "hi"}, "aGk="),
        ({"Fn::ImportValue": {"Fn::Sub": "x-${AWS::Region}"}}, "export x-us-east-1"),
        ({"Fn::FindInMap": ["M", {"Ref": "AWS::Region"}, "k"]}, "v"),
        ({"Fn::If": ["Yes", 1, 2]}, 1),
        ({"Fn::If": ["No", 1, {"Ref": "A"}]}, "id-of-A"),
        (
            {"keep": 1, "drop": {"Ref": "AWS::NoValue"}, "list": [{"Fn::If": ["No", 1, {"Ref": "AWS::NoValue"}]}]},
            {"keep": 1, "list": []},
        ),
        ("{{resolve:ssm:/a/b}}!", "ssm(/a/b)!"),
        ({"Fn::Cidr": ["10.0.0.0/16", 2, 8]}, ["10.0.0.0/24", "10.0.1.0/24"]),
    ],
)
def test_functions(node: Any, value: Any) -> None:
    conditions = {"Yes": {"Fn::Equals": ["a", "a"]}, "No": {"Fn::Not": [{"Condition": "Yes"}]}}
    found = evaluator({"A": {"Type": "T"}}, Conditions=conditions, Mappings={"M": {"us-east-1": {"k": "v"}}})
    assert found.value(node) == value


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"Ref": "B"}, "Unresolved resource dependencies [B]"),
        ({"Fn::GetAtt": ["B", "Arn"]}, "undefined resource B"),
        ({"Fn::Select": [3, ["a"]]}, "nonexistent value at index 3"),
        ({"Fn::If": ["Maybe", 1, 2]}, "condition Maybe is not defined"),
        ({"Fn::Transform": {"Name": "x"}}, "does not model the intrinsic function Fn::Transform"),
    ],
)
def test_what_cannot_be_evaluated_says_so(node: Any, message: str) -> None:
    with pytest.raises(AwsError) as error:
        evaluator({"A": {"Type": "T"}}).value(node)
    assert message in error.value.message


def test_resources_come_after_what_they_need_in_taken_branches_only() -> None:
    found = evaluator(
        {
            "Last": {"Type": "T", "DependsOn": "Middle"},
            "Middle": {"Type": "T", "Properties": {"p": {"Fn::Sub": "${First.Arn}"}}},
            "First": {"Type": "T", "Properties": {"p": {"Fn::If": ["No", {"Ref": "Last"}, "x"]}}},
            "Off": {"Type": "T", "Condition": "No"},
        },
        Conditions={"No": {"Fn::Equals": ["a", "b"]}},
    )
    assert in_order(found) == ["First", "Middle", "Last"]
    assert dependencies(found, "Middle") == {"First"}


def test_circles_are_refused() -> None:
    found = evaluator({"A": {"Type": "T", "DependsOn": ["B"]}, "B": {"Type": "T", "Properties": {"x": {"Ref": "A"}}}})
    with pytest.raises(AwsError, match="Circular dependency between resources: \\['A', 'B'\\]"):
        in_order(found)


def test_yaml_with_short_tags_and_dates() -> None:
    found = load(
        """
        Resources:
          R:
            Type: AWS::IAM::Role
            Properties:
              AssumeRolePolicyDocument: {Version: 2012-10-17}
              RoleName: !Sub "${AWS::Region}-x"
              Path: !GetAtt A.Arn
              Tags: !If [C, !Ref A, !Ref AWS::NoValue]
        """
    )
    assert found["Resources"]["R"]["Properties"] == {
        "AssumeRolePolicyDocument": {"Version": "2012-10-17"},
        "RoleName": {"Fn::Sub": "${AWS::Region}-x"},
        "Path": {"Fn::GetAtt": ["A", "Arn"]},
        "Tags": {"Fn::If": ["C", {"Ref": "A"}, {"Ref": "AWS::NoValue"}]},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Template format error"),
        ("Resources: {}", "At least one Resources member"),
        ("Resources: {A: {Properties: {}}}", "Every Resources member must have a Type"),
        ('{"Resources": {"A": {"Type": "T"}}, "Stuff": 1}', "Invalid template property or properties ['Stuff']"),
        (
            '{"Resources": {"A": {"Type": "T"}}, "Transform": "AWS::Serverless"}',
            "does not model CloudFormation transforms",
        ),
    ],
)
def test_bad_templates(text: str, message: str) -> None:
    with pytest.raises(AwsError) as error:
        load(text)
    assert message in error.value.message
