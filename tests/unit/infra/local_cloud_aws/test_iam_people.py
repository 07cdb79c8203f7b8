"""Users, trust policies, key policies, and CloudFormation's role, through the front door."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local_cloud.aws.iam.policy import Question
from infra.local_cloud.aws.iam.resource_policy import Principal, Reach, Verdict, judge
from infra.local_cloud.aws.loopback import Loopback
from tests.unit.infra.local_cloud_aws.conftest import REGION, Api

ACCOUNT = "123456789012"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"


def refused(call: Callable[..., Any], **params: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as error:
        call(**params)
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


def policy(*statements: dict[str, Any], resource: bool = True) -> str:
    common = {"Effect": "Allow", **({"Resource": "*"} if resource else {})}
    return json.dumps({"Version": "2012-10-17", "Statement": [{**common, **each} for each in statements]})


def trust(principal: dict[str, Any] | str, **more: Any) -> str:
    return policy({"Principal": principal, "Action": "sts:AssumeRole", **more}, resource=False)


def user(api: Api, name: str = "ada") -> tuple[str, Callable[[str], Any]]:
    """A user's ARN, and clients with its access key."""
    iam = api.client("iam")
    arn = iam.create_user(UserName=name)["User"]["Arn"]
    key = iam.create_access_key(UserName=name)["AccessKey"]["AccessKeyId"]
    loopback = Loopback(api.gateway, access_key=key)
    return arn, lambda service: loopback.client(service, REGION)


# ---- users


def test_a_user_has_its_own_policies_its_groups_and_attached_ones(api: Api) -> None:
    arn, as_user = user(api)
    iam, ec2 = api.client("iam"), as_user("ec2")
    assert as_user("sts").get_caller_identity()["Arn"] == arn
    assert refused(ec2.describe_vpcs)[1].startswith("You are not authorized to perform this operation. User: " + arn)
    iam.put_user_policy(UserName="ada", PolicyName="p", PolicyDocument=policy({"Action": "ec2:DescribeVpcs"}))
    ec2.describe_vpcs()
    iam.create_group(GroupName="people")
    iam.put_group_policy(GroupName="people", PolicyName="p", PolicyDocument=policy({"Action": "ec2:DescribeSubnets"}))
    refused(ec2.describe_subnets)
    iam.add_user_to_group(GroupName="people", UserName="ada")
    ec2.describe_subnets()
    iam.attach_user_policy(UserName="ada", PolicyArn="arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess")
    as_user("s3").list_buckets()
    made = iam.create_policy(PolicyName="no", PolicyDocument=policy({"Action": "*", "Effect": "Deny"}))["Policy"]["Arn"]
    iam.attach_group_policy(GroupName="people", PolicyArn=made)
    assert "explicit deny" in refused(ec2.describe_vpcs)[1]


def test_a_key_that_is_switched_off_or_unknown_is_refused(api: Api) -> None:
    _, as_user = user(api)
    iam = api.client("iam")
    (key,) = iam.list_access_keys(UserName="ada")["AccessKeyMetadata"]
    iam.update_access_key(UserName="ada", AccessKeyId=key["AccessKeyId"], Status="Inactive")
    assert refused(as_user("ec2").describe_vpcs)[0] == "InvalidClientTokenId"
    stranger = Loopback(api.gateway, access_key="AKIAEXAMPLEEXAMPLE00").client("ec2", REGION)
    assert refused(stranger.describe_vpcs)[0] == "InvalidClientTokenId"


# ---- trust


def role(api: Api, document: str) -> str:
    made = api.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument=document)
    return str(made["Role"]["Arn"])


def test_a_role_that_names_the_account_leaves_it_to_iam(api: Api) -> None:
    _, as_user = user(api)
    arn = role(api, trust({"AWS": ROOT}))
    take = as_user("sts").assume_role
    assert "no identity-based policy allows the sts:AssumeRole" in refused(take, RoleArn=arn, RoleSessionName="me")[1]
    allow = policy({"Action": "sts:AssumeRole", "Resource": arn})
    api.client("iam").put_user_policy(UserName="ada", PolicyName="p", PolicyDocument=allow)
    take(RoleArn=arn, RoleSessionName="me")


def test_a_role_that_names_the_user_needs_no_policy_of_his(api: Api) -> None:
    arn, as_user = user(api)
    named = role(api, trust({"AWS": arn}))
    as_user("sts").assume_role(RoleArn=named, RoleSessionName="me")
    deny = policy({"Action": "sts:*", "Effect": "Deny"})
    api.client("iam").put_user_policy(UserName="ada", PolicyName="p", PolicyDocument=deny)
    assert "explicit deny" in refused(as_user("sts").assume_role, RoleArn=named, RoleSessionName="me")[1]


def test_even_an_administrator_takes_on_no_role_that_does_not_trust_him(api: Api) -> None:
    take = api.client("sts").assume_role
    arn = role(api, trust({"Service": "ec2.amazonaws.com"}))
    assert "no resource-based policy allows" in refused(take, RoleArn=arn, RoleSessionName="me")[1]
    gone = f"arn:aws:iam::{ACCOUNT}:role/gone"
    assert refused(take, RoleArn=gone, RoleSessionName="me")[0] == "AccessDenied"


def test_an_external_id_is_asked_for(api: Api) -> None:
    take = api.client("sts").assume_role
    arn = role(api, trust({"AWS": ROOT}, Condition={"StringEquals": {"sts:ExternalId": "secret"}}))
    refused(take, RoleArn=arn, RoleSessionName="me")
    refused(take, RoleArn=arn, RoleSessionName="me", ExternalId="guess")
    take(RoleArn=arn, RoleSessionName="me", ExternalId="secret")


def test_an_instance_gets_no_credentials_of_a_role_that_does_not_trust_ec2(api: Api) -> None:
    (spec,) = [api.machines.specs[api.instance()["InstanceId"]]]
    path = "meta-data/iam/security-credentials/node"
    assert json.loads(spec.metadata()[path])["Code"] == "Success"
    document = trust({"Service": "lambda.amazonaws.com"})
    api.client("iam").update_assume_role_policy(RoleName="node", PolicyDocument=document)
    assert json.loads(spec.metadata()[path])["Code"] == "AssumeRoleUnauthorizedAccess"


# ---- keys


def a_key(api: Api, *statements: dict[str, Any]) -> str:
    return str(api.client("kms").create_key(Policy=policy(*statements))["KeyMetadata"]["Arn"])


def encrypted_bucket(api: Api, key: str) -> None:
    s3 = api.client("s3")
    s3.create_bucket(Bucket="bucket")
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}}
    s3.put_bucket_encryption(Bucket="bucket", ServerSideEncryptionConfiguration={"Rules": [rule]})


def test_a_key_lets_in_whom_its_policy_names_and_iam_the_rest_of_the_account(api: Api) -> None:
    arn, as_user = user(api)
    use = {"Action": ["kms:GenerateDataKey", "kms:Decrypt"]}
    key = a_key(api, {"Principal": {"AWS": ROOT}, "Action": "kms:*"})
    encrypted_bucket(api, key)
    put = {"Bucket": "bucket", "Key": "k", "Body": b"1"}
    iam = api.client("iam")
    iam.put_user_policy(UserName="ada", PolicyName="p", PolicyDocument=policy({"Action": "s3:*"}))
    assert "no identity-based policy allows the kms:GenerateDataKey" in refused(as_user("s3").put_object, **put)[1]
    iam.put_user_policy(UserName="ada", PolicyName="p", PolicyDocument=policy({"Action": "s3:*"}, use))
    as_user("s3").put_object(**put)
    kms = api.client("kms")
    other = {"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/other"}, "Action": "kms:*"}
    manage = {"Principal": {"AWS": ROOT}, "Action": ["kms:Put*", "kms:Get*"]}
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=policy(other, manage))
    assert "no resource-based policy allows the kms:GenerateDataKey" in refused(as_user("s3").put_object, **put)[1]
    assert "kms:GenerateDataKey" in refused(api.client("s3").put_object, **put)[1]  # nor is an administrator let in
    iam.put_user_policy(UserName="ada", PolicyName="p", PolicyDocument=policy({"Action": "s3:*"}))
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=policy(manage, {"Principal": {"AWS": arn}, **use}))
    as_user("s3").put_object(**put)


def test_a_log_group_needs_a_key_that_lets_cloudwatch_logs_in(api: Api) -> None:
    logs, kms = api.client("logs"), api.client("kms")
    admin = {"Principal": {"AWS": ROOT}, "Action": "kms:*"}
    key = a_key(api, admin)
    assert "logs.us-east-1.amazonaws.com" in refused(logs.create_log_group, logGroupName="/a/b", kmsKeyId=key)[1]
    service = {
        "Principal": {"Service": f"logs.{REGION}.amazonaws.com"},
        "Action": ["kms:GenerateDataKey*", "kms:Decrypt*"],
        "Condition": {
            "ArnLike": {"kms:EncryptionContext:aws:logs:arn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/a/*"}
        },
    }
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=policy(admin, service))
    logs.create_log_group(logGroupName="/a/b", kmsKeyId=key)
    assert refused(logs.create_log_group, logGroupName="/c", kmsKeyId=key)[0] == "InvalidParameterException"
    logs.create_log_stream(logGroupName="/a/b", logStreamName="s")
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=policy(admin))
    refused(logs.get_log_events, logGroupName="/a/b", logStreamName="s")


@pytest.mark.parametrize(
    ("service", "action", "status"),
    [
        ("vpc-flow-logs.amazonaws.com", "logs:*", "SUCCESS"),
        ("vpc-flow-logs.amazonaws.com", "logs:PutLogEvents", "FAILED"),
        ("ec2.amazonaws.com", "logs:*", "FAILED"),
    ],
)
def test_a_flow_log_says_that_its_role_may_not_write(api: Api, service: str, action: str, status: str) -> None:
    arn = role(api, trust({"Service": service}))
    api.client("iam").put_role_policy(RoleName="r", PolicyName="p", PolicyDocument=policy({"Action": action}))
    api.client("logs").create_log_group(logGroupName="/flow")
    vpc, _ = api.subnet()
    ec2 = api.client("ec2")
    ec2.create_flow_logs(
        ResourceIds=[vpc],
        ResourceType="VPC",
        TrafficType="ALL",
        LogGroupName="/flow",
        DeliverLogsPermissionArn=arn,
    )
    (found,) = ec2.describe_flow_logs()["FlowLogs"]
    assert found["DeliverLogsStatus"] == status


# ---- CloudFormation


STACK = {"A": {"Type": "AWS::SSM::Parameter", "Properties": {"Type": "String", "Value": "1", "Name": "/a/b"}}}


def test_cloudformation_acts_in_the_name_of_its_role(api: Api) -> None:
    iam, cfn = api.client("iam"), api.client("cloudformation")
    arn = role(api, trust({"Service": "ec2.amazonaws.com"}))
    stack = {"StackName": "s", "TemplateBody": json.dumps({"Resources": STACK}), "RoleARN": arn}
    assert "is invalid or cannot be assumed" in refused(cfn.create_stack, **stack)[1]
    iam.update_assume_role_policy(RoleName="r", PolicyDocument=trust({"Service": "cloudformation.amazonaws.com"}))
    cfn.create_stack(**stack)
    assert api.settled("s")["StackStatus"] == "ROLLBACK_COMPLETE"
    (said,) = [reason for name, status, reason in api.events("s") if (name, status) == ("A", "CREATE_FAILED")]
    assert "assumed-role/r/AWSCloudFormation is not authorized to perform: ssm:PutParameter on resource" in said
    assert api.destroy("s") == "DELETE_COMPLETE"
    iam.put_role_policy(
        RoleName="r", PolicyName="p", PolicyDocument=policy({"Action": ["ssm:PutParameter", "ssm:AddTagsToResource"]})
    )
    cfn.create_stack(**stack)
    assert api.settled("s")["StackStatus"] == "CREATE_COMPLETE"
    cfn.delete_stack(StackName="s")  # the role stays with the stack
    assert api.settled("s")["StackStatus"] == "DELETE_FAILED"


def test_without_a_role_it_acts_in_the_name_of_who_asks(api: Api) -> None:
    _, as_user = user(api)
    allow = policy({"Action": "cloudformation:*"})
    api.client("iam").put_user_policy(UserName="ada", PolicyName="p", PolicyDocument=allow)
    as_user("cloudformation").create_stack(StackName="s", TemplateBody=json.dumps({"Resources": STACK}))
    api.settled("s")
    reasons = " ".join(reason for _, _, reason in api.events("s"))
    assert "user/ada is not authorized to perform: ssm:PutParameter" in reasons


# ---- who is meant, by itself

ADA = Principal(
    account=ACCOUNT, arn=f"arn:aws:iam::{ACCOUNT}:role/ada", session=f"arn:aws:sts::{ACCOUNT}:assumed-role/ada/s"
)
EC2 = Principal(account=ACCOUNT, service="ec2.amazonaws.com")


@pytest.mark.parametrize(
    ("principal", "who", "reach"),
    [
        ("*", ADA, Reach.PRINCIPAL),
        ({"AWS": "*"}, ADA, Reach.PRINCIPAL),
        ({"AWS": ACCOUNT}, ADA, Reach.ACCOUNT),
        ({"AWS": [ROOT, ADA.arn]}, ADA, Reach.PRINCIPAL),
        ({"AWS": ADA.session}, ADA, Reach.PRINCIPAL),
        ({"AWS": "210987654321"}, ADA, Reach.NOBODY),
        ({"Service": "ec2.amazonaws.com"}, ADA, Reach.NOBODY),
        ({"Service": ["x", "ec2.amazonaws.com"]}, EC2, Reach.PRINCIPAL),
        ({"AWS": ROOT}, EC2, Reach.NOBODY),
    ],
)
def test_whom_a_statement_names(principal: Any, who: Principal, reach: Reach) -> None:
    assert judge(trust(principal), Question("sts:AssumeRole", "r"), who) == Verdict(reach)


def test_a_deny_of_a_resource_wins(api: Api) -> None:
    document = policy(
        {"Principal": "*", "Action": "kms:*"}, {"Principal": {"AWS": ROOT}, "Action": "kms:Decrypt", "Effect": "Deny"}
    )
    assert judge(document, Question("kms:Decrypt", "k"), ADA).denied
    assert not judge(document, Question("kms:Encrypt", "k"), ADA).denied
