"""How policies, conditions and questions become a decision. Pure."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.local_cloud.aws.errors import NotModelled
from infra.local_cloud.aws.iam.conditions import arn_like, holds, like
from infra.local_cloud.aws.iam.policy import Decision, Question, decide

YES, NO, NEVER = Decision(True), Decision(False), Decision(False, explicit=True)
OBJECT = Question("s3:GetObject", "arn:aws:s3:::bucket/data/x")


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action: object = "s3:GetObject", resource: object = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        ([], NO),
        ([allow()], YES),
        ([allow("s3:getobject")], YES),
        ([allow("s3:Get*")], YES),
        ([allow("s3:GetObjec?")], YES),
        ([allow("s3:GetObject?")], NO),
        ([allow(["ec2:*", "s3:*"])], YES),
        ([allow("ec2:*")], NO),
        ([allow(resource="arn:aws:s3:::bucket/*")], YES),
        ([allow(resource="arn:aws:s3:::bucket")], NO),
        ([allow(resource="arn:aws:s3:::BUCKET/*")], NO),
        ([allow(resource=["arn:aws:s3:::other/*", "arn:aws:s3:::bucket/data/?"])], YES),
        ([{"Effect": "Allow", "NotAction": "s3:Put*", "Resource": "*"}], YES),
        ([{"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}], NO),
        ([{"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:s3:::bucket/*"}], NO),
        ([allow(), {"Effect": "Deny", "Action": "s3:*", "Resource": "*"}], NEVER),
        ([allow(), {"Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::other/*"}], YES),
        ([allow(Condition={"Bool": {"aws:SecureTransport": "true"}})], NO),  # the question brings no such key
    ],
)
def test_decisions(statements: list[dict[str, Any]], expected: Decision) -> None:
    assert decide([policy(*statements)], OBJECT) == expected


def test_any_of_several_policies_allows_and_any_denies() -> None:
    deny = policy({"Effect": "Deny", "Action": "*", "Resource": "*"})
    assert decide([policy(), policy(allow())], OBJECT) == YES
    assert decide([policy(allow()), deny], OBJECT) == NEVER


def test_a_single_statement_may_stand_without_a_list() -> None:
    assert decide([json.dumps({"Statement": allow()})], OBJECT) == YES


def test_an_action_without_resources_needs_a_statement_on_all() -> None:
    question = Question("ec2:DescribeInstances")
    assert decide([policy(allow("ec2:*", "*"))], question) == YES
    assert decide([policy(allow("ec2:*", "arn:aws:ec2:*:*:instance/*"))], question) == NO


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"StringEquals": {"aws:RequestTag/role": "compute"}}, True),
        ({"StringEquals": {"AWS:requesttag/ROLE": ["head", "compute"]}}, True),
        ({"StringEquals": {"aws:RequestTag/role": "Compute"}}, False),
        ({"StringEqualsIgnoreCase": {"aws:RequestTag/role": "Compute"}}, True),
        ({"StringNotEquals": {"aws:RequestTag/role": ["compute", "head"]}}, False),
        ({"StringNotEquals": {"aws:RequestTag/none": "compute"}}, True),  # an absent key is not equal
        ({"StringLike": {"aws:RequestTag/role": "comp*"}}, True),
        ({"StringEquals": {"aws:RequestTag/role": "comp*"}}, False),
        ({"StringNotLike": {"aws:RequestTag/role": "comp*"}}, False),
        ({"StringEquals": {"aws:RequestTag/none": "x"}}, False),
        ({"StringEqualsIfExists": {"aws:RequestTag/none": "x"}}, True),
        ({"StringEqualsIfExists": {"aws:RequestTag/role": "x"}}, False),
        ({"Null": {"aws:RequestTag/none": "true"}}, True),
        ({"Null": {"aws:RequestTag/role": True}}, False),
        ({"Null": {"aws:RequestTag/role": "false"}}, True),
        ({"Bool": {"aws:SecureTransport": True}}, True),
        ({"Bool": {"aws:SecureTransport": "false"}}, False),
        ({"ArnEquals": {"ec2:LaunchTemplate": "arn:aws:ec2:*:1:launch-template/lt-1"}}, True),
        ({"ArnLike": {"ec2:LaunchTemplate": "arn:aws:ec2:*:launch-template/lt-1"}}, False),
        ({"ArnNotLike": {"ec2:LaunchTemplate": "arn:aws:ec2:*:1:launch-template/*"}}, False),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b", "c"]}}, True),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["a"]}}, False),
        ({"ForAnyValue:StringEquals": {"aws:TagKeys": ["a"]}}, True),
        ({"ForAnyValue:StringEquals": {"aws:TagKeys": ["c"]}}, False),
        ({"StringEquals": {"aws:RequestTag/role": "compute"}, "Bool": {"aws:SecureTransport": "false"}}, False),
    ],
)
def test_conditions(condition: dict[str, Any], expected: bool) -> None:
    context = {
        "aws:requesttag/role": ("compute",),
        "aws:securetransport": ("true",),
        "aws:tagkeys": ("a", "b"),
        "ec2:launchtemplate": ("arn:aws:ec2:us-east-1:1:launch-template/lt-1",),
    }
    assert holds(condition, action="ec2:RunInstances", context=context) is expected


@pytest.mark.parametrize(
    ("condition", "named"),
    [
        ({"StringEquals": {"aws:SourceVpce": "vpce-1"}}, "aws:sourcevpce"),
        ({"StringEquals": {"ec2:CreateAction": "RunInstances"}}, "ec2:createaction for s3:GetObject"),
        ({"NumericLessThan": {"aws:RequestedRegion": "1"}}, "NumericLessThan"),
        ({"ForMostValues:StringEquals": {"aws:RequestedRegion": "1"}}, "ForMostValues"),
        ({"StringEquals": {"aws:RequestedRegion": "${aws:username}"}}, "policy variables"),
        # also behind a test that fails
        ({"Bool": {"aws:SecureTransport": "false"}, "IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, "aws:sourceip"),
    ],
)
@pytest.mark.parametrize("effect", ["Allow", "Deny"])
def test_what_is_not_known_of_a_condition_fails_loudly(condition: dict[str, Any], named: str, effect: str) -> None:
    with pytest.raises(NotModelled, match=named.replace("$", r"\$").replace("{", r"\{")):
        decide([policy({**allow(Condition=condition), "Effect": effect})], OBJECT)


def test_policy_variables_in_resources_fail_loudly() -> None:
    with pytest.raises(NotModelled, match="policy variables"):
        decide([policy(allow(resource="arn:aws:s3:::${aws:username}/*"))], OBJECT)


def test_patterns_are_no_regular_expressions() -> None:
    assert like("a.b", "a.b") and not like("axb", "a.b")
    assert like("a[1]\nb", "a[1]*")
    assert arn_like("arn:aws:s3:::b/k:v", "arn:aws:s3:::b/*")
    assert not arn_like("arn:aws:s3:::b/k", "arn:*")
