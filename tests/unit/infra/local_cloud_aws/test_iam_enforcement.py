"""What roles may do, through the front door: a machine's credentials, its role's policies, AWS's own refusals."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cfnlint
import pytest
from botocore.exceptions import ClientError

from infra.local_cloud.aws.app import build_cloud
from infra.local_cloud.aws.coverage import operations
from infra.local_cloud.aws.iam.actions import action_of, questions
from infra.local_cloud.aws.loopback import Loopback
from infra.local_cloud.aws.operations import Call
from tests.unit.infra.local_cloud_aws.conftest import IMAGE, REGION, Api

ME = "arn:aws:sts::123456789012:assumed-role/node"
Machine = Callable[[str], Any]


def permit(api: Api, *statements: dict[str, Any]) -> None:
    """Makes these the whole of the machine's policy."""
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Resource": "*", **s} for s in statements]}
    api.client("iam").put_role_policy(RoleName="node", PolicyName="Machine", PolicyDocument=json.dumps(document))


@pytest.fixture
def machine(api: Api) -> Iterator[Machine]:
    """Clients with the credentials of a machine whose role is `node`; its id is `machine.id`."""
    (spec,) = [api.machines.specs[api.instance()["InstanceId"]]]
    shown = json.loads(spec.metadata()["meta-data/iam/security-credentials/node"])
    loopback = Loopback(api.gateway, access_key=shown["AccessKeyId"])

    def client(service: str) -> Any:
        return loopback.client(service, REGION)

    client.id = spec.instance_id  # type: ignore[attr-defined]
    yield client


def refused(call: Callable[..., Any], **params: Any) -> tuple[str, int, str]:
    with pytest.raises(ClientError) as error:
        call(**params)
    answer = error.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Message"]


def test_a_role_without_policies_may_only_ask_who_it_is(api: Api, machine: Any) -> None:
    assert machine("sts").get_caller_identity()["Arn"] == f"{ME}/{machine.id}"
    code, status, message = refused(machine("ec2").describe_instances)
    assert (code, status) == ("UnauthorizedOperation", 403)
    assert message == (
        f"You are not authorized to perform this operation. User: {ME}/{machine.id} is not authorized to perform: "
        "ec2:DescribeInstances on resource: * because no identity-based policy allows the ec2:DescribeInstances action"
    )


@pytest.mark.parametrize(
    ("service", "operation", "params", "code", "status", "named"),
    [
        ("ssm", "get_parameter", {"Name": "/a/b"}, "AccessDeniedException", 400, "parameter/a/b"),
        ("s3", "get_object", {"Bucket": "bucket", "Key": "k/x"}, "AccessDenied", 403, '"arn:aws:s3:::bucket/k/x"'),
        (
            "s3",
            "list_objects_v2",
            {"Bucket": "bucket"},
            "AccessDenied",
            403,
            's3:ListBucket on resource: "arn:aws:s3:::bucket"',
        ),
        ("cloudwatch", "list_metrics", {}, "AccessDenied", 403, "cloudwatch:ListMetrics"),
        ("secretsmanager", "get_secret_value", {"SecretId": "s"}, "AccessDeniedException", 400, "secret:s"),
        (
            "logs",
            "create_log_stream",
            {"logGroupName": "/g", "logStreamName": "s"},
            "AccessDeniedException",
            400,
            "log-group:/g:log-stream:s",
        ),
        ("iam", "list_roles", {}, "AccessDenied", 403, "iam:ListRoles"),
        ("sts", "assume_role", {"RoleArn": "arn:aws:iam::1:role/x", "RoleSessionName": "xx"}, "", 0, "role/x"),
    ],
)
def test_each_service_refuses_in_its_own_form(
    machine: Any, service: str, operation: str, params: dict[str, Any], code: str, status: int, named: str
) -> None:
    found = refused(getattr(machine(service), operation), **params)
    assert found[:2] == (code or "AccessDenied", status or 403)
    assert f"User: {ME}/{machine.id} is not authorized to perform: {service}:" in found[2]
    assert named in found[2]


def test_what_the_policy_allows_passes_and_a_change_counts_at_once(api: Api, machine: Any) -> None:
    api.client("ssm").put_parameter(Name="/a/b", Value="1", Type="String")
    permit(api, {"Action": "ssm:GetParameter", "Resource": f"arn:aws:ssm:{REGION}:123456789012:parameter/a/*"})
    assert machine("ssm").get_parameter(Name="/a/b")["Parameter"]["Value"] == "1"
    assert refused(machine("ssm").get_parameter, Name="/b/a")[0] == "AccessDeniedException"
    permit(api, {"Action": "ssm:*", "Effect": "Deny"}, {"Action": "*"})
    assert refused(machine("ssm").get_parameter, Name="/a/b")[2].endswith(
        "with an explicit deny in an identity-based policy"
    )


def test_aws_managed_policies_count(api: Api, machine: Any) -> None:
    api.client("iam").attach_role_policy(RoleName="node", PolicyArn="arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess")
    machine("s3").list_buckets()
    assert refused(machine("s3").create_bucket, Bucket="mine")[0] == "AccessDenied"


def test_an_object_that_is_not_there_is_403_to_who_may_not_list(api: Api, machine: Any) -> None:
    api.client("s3").create_bucket(Bucket="bucket")
    permit(api, {"Action": "s3:GetObject"})
    assert "perform: s3:ListBucket on" in refused(machine("s3").get_object, Bucket="bucket", Key="k")[2]
    permit(api, {"Action": ["s3:GetObject", "s3:ListBucket"]})
    assert refused(machine("s3").get_object, Bucket="bucket", Key="k")[0] == "NoSuchKey"


def test_a_copy_asks_for_its_source_and_deletion_of_a_version_for_itself(api: Api, machine: Any) -> None:
    s3 = api.client("s3")
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="from/x", Body=b"1")
    permit(api, {"Action": "s3:PutObject"})
    copy = {"Bucket": "bucket", "Key": "to", "CopySource": "bucket/from/x"}
    assert '"arn:aws:s3:::bucket/from/x"' in refused(machine("s3").copy_object, **copy)[2]
    permit(api, {"Action": ["s3:PutObject", "s3:GetObject"]})
    machine("s3").copy_object(**copy)
    permit(api, {"Action": "s3:DeleteObject"})
    gone = {"Bucket": "bucket", "Key": "to", "VersionId": "null"}
    assert "perform: s3:DeleteObjectVersion on" in refused(machine("s3").delete_object, **gone)[2]


def test_the_key_of_a_bucket_and_of_a_secret_is_asked_for_through_its_service(api: Api, machine: Any) -> None:
    key = api.client("kms").create_key()["KeyMetadata"]["Arn"]
    api.client("secretsmanager").create_secret(Name="s", SecretString="x", KmsKeyId=key)
    s3 = api.client("s3")
    s3.create_bucket(Bucket="bucket")
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}}
    s3.put_bucket_encryption(Bucket="bucket", ServerSideEncryptionConfiguration={"Rules": [rule]})
    use = {"Action": ["kms:Decrypt", "kms:GenerateDataKey"], "Resource": key}
    do = {"Action": ["s3:*", "secretsmanager:*"]}
    by_s3 = {"StringEquals": {"kms:ViaService": f"s3.{REGION}.amazonaws.com"}}
    permit(api, do)
    put = {"Bucket": "bucket", "Key": "k", "Body": b"1"}
    assert f'perform: kms:GenerateDataKey on resource: "{key}"' in refused(machine("s3").put_object, **put)[2]
    permit(api, do, {**use, "Condition": by_s3})
    machine("s3").put_object(**put)
    machine("s3").get_object(Bucket="bucket", Key="k")
    assert "perform: kms:Decrypt on" in refused(machine("secretsmanager").get_secret_value, SecretId="s")[2]
    permit(api, do, use)
    machine("secretsmanager").get_secret_value(SecretId="s")


def test_a_metric_is_bounded_by_its_namespace(api: Api, machine: Any) -> None:
    permit(api, {"Action": "cloudwatch:PutMetricData", "Condition": {"StringEquals": {"cloudwatch:namespace": "Ours"}}})
    data = [{"MetricName": "m", "Value": 1.0}]
    machine("cloudwatch").put_metric_data(Namespace="Ours", MetricData=data)
    assert refused(machine("cloudwatch").put_metric_data, Namespace="Theirs", MetricData=data)[0] == "AccessDenied"


def test_an_unknown_condition_key_is_said_and_nothing_is_done(api: Api, machine: Any) -> None:
    permit(api, {"Action": "ec2:*", "Condition": {"StringEquals": {"aws:SourceVpce": "x"}}})
    code, status, message = refused(machine("ec2").describe_instances)
    assert (code, status) == ("NotImplemented", 501)
    assert "the IAM condition key aws:sourcevpce for ec2:DescribeInstances" in message


def asked(api: Api, service: str, operation: str, **params: Any) -> list[tuple[str, str]]:
    call = Call(service, operation, REGION, "123456789012", "ASIA", params)
    return [(each.action, each.resource) for each in questions(api.cloud, call, {})]


def test_a_launch_asks_for_all_that_it_uses_makes_and_gives_away(api: Api) -> None:
    subnet, ec2 = api.subnet()[1], api.client("ec2")
    api.profile("given")
    data = {
        "ImageId": IMAGE,
        "InstanceType": "m5.large",
        "IamInstanceProfile": {"Name": "given"},
        "NetworkInterfaces": [{"DeviceIndex": 0, "SubnetId": subnet}],
        "BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": {"Encrypted": True, "KmsKeyId": "1-2"}}],
        "TagSpecifications": [{"ResourceType": "volume", "Tags": [{"Key": "a", "Value": "1"}]}],
    }
    made = ec2.create_launch_template(LaunchTemplateName="t", LaunchTemplateData=data)["LaunchTemplate"]
    template = made["LaunchTemplateId"]
    ours, key = f"arn:aws:ec2:{REGION}:123456789012", f"arn:aws:kms:{REGION}:123456789012:key/1-2"
    found = asked(api, "ec2", "RunInstances", LaunchTemplate={"LaunchTemplateId": template}, MinCount=1, MaxCount=1)
    assert sorted(found) == sorted(
        [
            *[("ec2:RunInstances", f"{ours}:{kind}/*") for kind in ("instance", "volume", "network-interface")],
            ("ec2:RunInstances", f"{ours}:subnet/{subnet}"),
            ("ec2:RunInstances", f"{ours}:launch-template/{template}"),
            ("ec2:RunInstances", f"arn:aws:ec2:{REGION}::image/{IMAGE}"),
            ("ec2:CreateTags", f"{ours}:volume/*"),
            ("iam:PassRole", "arn:aws:iam::123456789012:role/given"),
            ("kms:CreateGrant", key),
            ("kms:Decrypt", key),
            ("kms:DescribeKey", key),
            ("kms:GenerateDataKeyWithoutPlaintext", key),
        ]
    )


def test_ending_is_bounded_by_the_instances_tags(api: Api, machine: Any) -> None:
    permit(
        api, {"Action": "ec2:TerminateInstances", "Condition": {"StringEquals": {"aws:ResourceTag/role": "compute"}}}
    )
    end = machine("ec2").terminate_instances
    assert refused(end, InstanceIds=[machine.id])[0] == "UnauthorizedOperation"
    api.client("ec2").create_tags(Resources=[machine.id], Tags=[{"Key": "role", "Value": "compute"}])
    end(InstanceIds=[machine.id])


def test_the_record_says_who_was_refused_what(api: Api, machine: Any) -> None:
    refused(machine("ssm").get_parameter, Name="/a")
    (line,) = [
        entry
        for entry in map(json.loads, (api.cloud.state / "aws.jsonl").read_text().splitlines())
        if entry.get("caller")
    ]
    assert (line["caller"], line["status"]) == (f"{ME}/{machine.id}", 400)
    assert "not authorized to perform: ssm:GetParameter" in line["error"]


def test_temporary_credentials_that_nobody_gave_are_refused(api: Api) -> None:
    stranger = Loopback(api.gateway, access_key="ASIAEXAMPLEEXAMPLE00").client("ec2", REGION)
    assert refused(stranger.describe_instances)[:2] == ("InvalidClientTokenId", 403)


def test_it_can_be_off(api: Api, machine: Any, tmp_path: Path) -> None:
    cloud, gateway = build_cloud(api.machines, state=tmp_path / "off", port=0, enforce_iam=False)
    key = machine("ec2")._request_signer._credentials.access_key
    Loopback(gateway, access_key=key).client("ec2", REGION).describe_instances()
    cloud.close()


def test_every_operation_has_an_action_that_iam_knows(api: Api) -> None:
    """cfn-lint ships the actions of IAM; what the local cloud answers maps to them."""
    known = json.loads((Path(cfnlint.__file__).parent / "data/AdditionalSpecs/Policies.json").read_text())
    for service, operation, _ in operations():
        prefix, _, action = action_of(service, operation).partition(":")
        assert action.lower() in known[prefix]["Actions"], f"{service}:{operation}"
