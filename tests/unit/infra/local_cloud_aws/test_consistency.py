"""EC2 does not know at once what was made, and some requests are carried out in part: as on AWS, by default."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cluster_scripts.backends.aws.node_services import NodeServices
from cluster_scripts.backends.aws.teardown import empty_bucket
from cluster_scripts.backends.aws.telemetry import MetricValue, Telemetry
from cluster_scripts.jobs.errors import Unreachable
from cluster_scripts.jobs.model import LogEvent
from infra.local_cloud.aws.ec2 import consistency
from infra.local_cloud.aws.ec2.consistency import Consistency
from tests.unit.infra.local_cloud_aws.conftest import IMAGE, Api, until


class Time:
    """A clock that only moves when told."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(api: Api) -> Iterator[Time]:
    """The cloud's clock stands still, and its times are the defaults."""
    defaults, known = Consistency(), consistency.of(api.cloud)
    known.instances, known.profiles = defaults.instances, defaults.profiles
    assert 0 < known.instances <= 0.3 and 0 < known.profiles <= 1
    api.cloud.clock = moving = Time()
    yield moving


def code(call: Callable[[], Any]) -> str:
    """The error code of a call, "" when it passes."""
    try:
        call()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


def launched(api: Api, **request: Any) -> str:
    """One instance without a profile, just launched."""
    request = {"SubnetId": api.subnet()[1], **request} if "SubnetId" not in request else request
    made = api.client("ec2").run_instances(ImageId=IMAGE, InstanceType="m5.large", MinCount=1, MaxCount=1, **request)
    return str(made["Instances"][0]["InstanceId"])


def test_an_instance_is_not_known_for_a_moment(api: Api, clock: Time) -> None:
    ec2, identity = api.client("ec2"), launched(api)
    asked: dict[str, Callable[[], Any]] = {
        "describe": lambda: ec2.describe_instances(InstanceIds=[identity]),
        "status": lambda: ec2.describe_instance_status(InstanceIds=[identity]),
        "attribute": lambda: ec2.describe_instance_attribute(InstanceId=identity, Attribute="userData"),
        "tag": lambda: ec2.create_tags(Resources=[identity], Tags=[{"Key": "a", "Value": "b"}]),
        "untag": lambda: ec2.delete_tags(Resources=[identity], Tags=[{"Key": "a"}]),
        "terminate": lambda: ec2.terminate_instances(InstanceIds=[identity]),
    }
    by_filter = {"Filters": [{"Name": "instance-id", "Values": [identity]}]}
    assert {name: code(call) for name, call in asked.items()} == dict.fromkeys(asked, "InvalidInstanceID.NotFound")
    assert ec2.describe_instances(**by_filter)["Reservations"] == []
    clock.now += Consistency().instances
    (reservation,) = ec2.describe_instances(**by_filter)["Reservations"]
    assert [each["InstanceId"] for each in reservation["Instances"]] == [identity]
    assert {name: code(call) for name, call in asked.items()} == dict.fromkeys(asked, "")


def test_one_unknown_instance_spoils_the_request_for_all(api: Api, clock: Time) -> None:
    ec2, first = api.client("ec2"), launched(api)
    clock.now += 1
    second = launched(api, SubnetId=ec2.describe_subnets()["Subnets"][0]["SubnetId"])
    assert code(lambda: ec2.terminate_instances(InstanceIds=[first, second])) == "InvalidInstanceID.NotFound"
    listed = ec2.describe_instances()["Reservations"]
    assert [each["State"]["Name"] for one in listed for each in one["Instances"]] == ["running"]


def test_the_times_are_drawn_by_a_seed() -> None:
    def drawn(seed: int) -> list[float]:
        known = Consistency(seed=seed)
        for number in range(20):
            known.made(f"i-{number}", now=0.0, longest=1.0)
        return [known.wait(f"i-{number}", now=0.0) for number in range(20)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert all(0.3 <= wait <= 1 for wait in drawn(3)) and len(set(drawn(3))) == 20


@pytest.mark.parametrize("by", ["Name", "Arn"])
def test_a_new_instance_profile_is_none_to_ec2_until_it_is_ready(api: Api, clock: Time, by: str) -> None:
    name = api.profile()
    profile = api.client("iam").get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
    wanted = {by: profile["Arn"] if by == "Arn" else name}
    subnet = api.subnet()[1]
    ec2 = api.client("ec2")
    ec2.create_launch_template(
        LaunchTemplateName="t",
        LaunchTemplateData={"ImageId": IMAGE, "InstanceType": "m5.large", "IamInstanceProfile": wanted},
    )
    template = {"LaunchTemplate": {"LaunchTemplateName": "t"}, "SubnetId": subnet, "MinCount": 1, "MaxCount": 1}
    with pytest.raises(ClientError) as error:
        launched(api, SubnetId=subnet, IamInstanceProfile=wanted)
    assert error.value.response["Error"]["Code"] == "InvalidParameterValue"
    assert "Invalid IAM Instance Profile" in str(error.value) and f"iamInstanceProfile.{by.lower()}" in str(error.value)
    assert code(lambda: ec2.run_instances(**template)) == "InvalidParameterValue"
    clock.now += Consistency().profiles
    assert code(lambda: launched(api, SubnetId=subnet, IamInstanceProfile=wanted)) == ""
    assert code(lambda: ec2.run_instances(**template)) == ""


def test_a_profile_that_is_missing_or_empty_is_no_valid_one(api: Api) -> None:
    with pytest.raises(ClientError, match="Invalid IAM Instance Profile name"):
        launched(api, IamInstanceProfile={"Name": "nobody"})
    api.client("iam").create_instance_profile(InstanceProfileName="empty")
    with pytest.raises(ClientError, match="has no associated IAM Roles"):
        launched(api, IamInstanceProfile={"Name": "empty"})


def test_cloudformation_waits_for_a_profile_and_an_instance(api: Api) -> None:
    known = consistency.of(api.cloud)
    known.instances, known.profiles = 0.3, 0.6
    subnet = api.subnet()[1]
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
    }
    stack = api.deploy(
        "one",
        {
            "Role": {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": trust}},
            "Profile": {"Type": "AWS::IAM::InstanceProfile", "Properties": {"Roles": [{"Ref": "Role"}]}},
            "Machine": {
                "Type": "AWS::EC2::Instance",
                "Properties": {
                    "ImageId": IMAGE,
                    "InstanceType": "m5.large",
                    "SubnetId": subnet,
                    "IamInstanceProfile": {"Ref": "Profile"},
                },
            },
        },
    )
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    assert api.destroy("one") == "DELETE_COMPLETE"


# ---- half done


def test_a_protected_instance_saves_those_of_its_zone_and_no_others(api: Api) -> None:
    ec2 = api.client("ec2")
    vpc, here = api.subnet()
    there = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24", AvailabilityZoneId="use1-az1")["Subnet"]["SubnetId"]
    protected = launched(api, SubnetId=here, DisableApiTermination=True)
    beside, elsewhere = launched(api, SubnetId=here), launched(api, SubnetId=there)
    with pytest.raises(ClientError, match=f"The instance '{protected}' may not be terminated"):
        ec2.terminate_instances(InstanceIds=[protected, beside, elsewhere])

    def states() -> dict[str, str]:
        found = ec2.describe_instances()["Reservations"]
        return {each["InstanceId"]: each["State"]["Name"] for one in found for each in one["Instances"]}

    until(lambda: states()[elsewhere] == "terminated")
    assert (states()[protected], states()[beside]) == ("running", "running")


def test_objects_that_may_not_be_deleted_are_listed_and_the_others_go(api: Api) -> None:
    s3 = api.client("s3")
    s3.create_bucket(Bucket="bucket")
    for key in ("a", "kept", "z"):
        s3.put_object(Bucket="bucket", Key=key, Body=b"1")
    keep = {"Effect": "Deny", "Principal": "*", "Action": "s3:DeleteObject", "Resource": "arn:aws:s3:::bucket/kept"}
    s3.put_bucket_policy(Bucket="bucket", Policy=json.dumps({"Version": "2012-10-17", "Statement": [keep]}))
    wanted = [{"Key": key} for key in ("a", "kept", "z")]
    answer = s3.delete_objects(Bucket="bucket", Delete={"Objects": wanted})
    assert sorted(each["Key"] for each in answer["Deleted"]) == ["a", "z"]
    assert [(each["Key"], each["Code"]) for each in answer["Errors"]] == [("kept", "AccessDenied")]
    assert code(lambda: s3.delete_bucket(Bucket="bucket")) == "BucketNotEmpty"


HOUR, DAY = 3600_000, 24 * 3600_000


@pytest.mark.parametrize(
    ("ages", "rejected", "kept"),
    [
        ([HOUR, 0], {}, [0, 1]),
        ([14 * DAY + 2, 14 * DAY + 1, 14 * DAY - HOUR], {"tooOldLogEventEndIndex": 2}, [2]),
        ([0, -3 * HOUR, -4 * HOUR], {"tooNewLogEventStartIndex": 1}, [0]),
        ([30 * HOUR, 12 * HOUR], {"expiredLogEventEndIndex": 1}, [1]),
        ([HOUR, -3 * HOUR], {"tooNewLogEventStartIndex": 1}, [0]),
    ],
)
def test_log_events_out_of_time_are_told_and_the_others_arrive(
    api: Api, ages: list[int], rejected: dict[str, int], kept: list[int]
) -> None:
    logs = api.client("logs")
    logs.create_log_group(logGroupName="/g")
    if "expiredLogEventEndIndex" in rejected:
        logs.put_retention_policy(logGroupName="/g", retentionInDays=1)
    now = int(time.time() * 1000)
    events = [LogEvent(timestamp_ms=now - age, message=str(number)) for number, age in enumerate(ages)]
    sent = Telemetry(cloudwatch=api.client("cloudwatch"), logs=logs)
    assert sent.put_events(events, group="/g", stream="s") == len(ages) - len(kept)  # what the agent tells as lost
    raw = [{"timestamp": event.timestamp_ms, "message": event.message} for event in events]
    answer = logs.put_log_events(logGroupName="/g", logStreamName="s", logEvents=raw)
    assert answer.get("rejectedLogEventsInfo", {}) == rejected
    found = logs.get_log_events(logGroupName="/g", logStreamName="s", startFromHead=True)["events"]
    assert {each["message"] for each in found} == {str(number) for number in kept}


@pytest.mark.parametrize(
    ("ages", "size", "said"),
    [([0, HOUR], 1, "chronological order"), ([25 * HOUR, 0], 1, "24 hours"), ([0] * 5, 220_000, "Upload too large")],
)
def test_a_batch_of_log_events_that_breaks_a_rule_is_refused(api: Api, ages: list[int], size: int, said: str) -> None:
    logs = api.client("logs")
    logs.create_log_group(logGroupName="/g")
    logs.create_log_stream(logGroupName="/g", logStreamName="s")
    now = int(time.time() * 1000)
    events = [{"timestamp": now - age, "message": "x" * size} for age in ages]
    with pytest.raises(ClientError, match=said) as error:
        logs.put_log_events(logGroupName="/g", logStreamName="s", logEvents=events)
    assert error.value.response["Error"]["Code"] == "InvalidParameterException"


def test_metric_values_out_of_time_are_lost_alone(api: Api) -> None:
    """CloudWatch refuses the whole request; the product sends its halves, until only the culprits are lost."""
    now = time.time()
    ages = [0, 15 * DAY / 1000, 0, -3 * HOUR / 1000, 0]
    values = [
        MetricValue(f"m{number}", "None", (), now - age, count=1, sum=1, minimum=1, maximum=1)
        for number, age in enumerate(ages)
    ]
    cloudwatch = api.client("cloudwatch")
    sent = Telemetry(cloudwatch=cloudwatch, logs=api.client("logs"))
    assert sent.put_metrics("Dure", values) == 2
    found = cloudwatch.list_metrics(Namespace="Dure")["Metrics"]
    assert sorted(each["MetricName"] for each in found) == ["m0", "m2", "m4"]


# ---- what the product makes of it


def test_the_product_names_the_objects_that_it_could_not_delete(api: Api) -> None:
    s3 = api.client("s3")
    s3.create_bucket(Bucket="bucket")
    for key in ("a", "kept"):
        s3.put_object(Bucket="bucket", Key=key, Body=b"1")
    keep = {"Effect": "Deny", "Principal": "*", "Action": "s3:DeleteObject", "Resource": "arn:aws:s3:::bucket/kept"}
    s3.put_bucket_policy(Bucket="bucket", Policy=json.dumps({"Version": "2012-10-17", "Statement": [keep]}))
    aws: Any = SimpleNamespace(s3=s3)
    with pytest.raises(Unreachable, match="1 objects were not deleted, first kept: AccessDenied"):
        empty_bucket(aws, "bucket")


def test_the_product_bears_an_instance_that_is_not_known_yet(api: Api, clock: Time) -> None:
    aws: Any = SimpleNamespace(ec2=api.client("ec2"))
    services, first = NodeServices(aws), launched(api)
    clock.now += 1
    second = launched(api, SubnetId=api.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"])
    assert [each.id for each in services.instances([first, second])] == [first]
    assert services.terminate([first, second]) == [first]
    clock.now += 1
    assert services.terminate([second]) == [second]
