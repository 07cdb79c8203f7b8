"""What AWS's answers and refusals mean for a cluster file: each by its real cause."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from botocore.stub import Stubber

from cluster_scripts.backends.aws import dry_run, live, room
from cluster_scripts.backends.aws.asking import Answer
from cluster_scripts.backends.aws.session import CONFIG, Aws
from infra.config.live import LIVE, service_roles
from infra.config.loader import load_cluster
from infra.config.schema import ClusterFile
from tests.unit.cluster_scripts.backends.aws.stubbed import Stubs, stubbed
from tests.unit.infra.conftest import FULL, ROOT

TALK = load_cluster(ROOT / "clusters/kogpt2-p3dn.yaml")
SPOT = load_cluster(ROOT / "clusters/spot.yaml")
IMAGE = "ami-0123456789abcdef0"


@pytest.fixture
def stubs() -> Iterator[Stubs]:
    with stubbed() as found:
        yield found


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("UnauthorizedOperation", "you may not launch this"),
        ("VcpuLimitExceeded", "the vCPU quota is too small"),
        ("MaxSpotInstanceCountExceeded", "the spot quota is too small"),
        ("Unsupported", "the type is not to be had there"),
        ("InsufficientInstanceCapacity", "EC2 has no free machines"),
        ("InsufficientFreeAddressesInSubnet", "the subnet has too few addresses"),
        ("InvalidParameter", "EC2 does not take a parameter"),
        ("InvalidParameterValue", "EC2 does not take a value"),
        ("InvalidParameterCombination", "EC2 does not take these together"),
        ("InvalidAMIID.NotFound", "EC2 does not see the image"),
        ("InvalidSubnetID.NotFound", "EC2 does not see the subnet"),
        ("InvalidPlacementGroup.Unknown", "EC2 does not see the placement group"),
        ("InvalidCapacityReservationId.NotFound", "EC2 does not see the reservation"),
        ("AuthFailure.ServiceLinkedRoleCreationNotPermitted", "the role of the spot service is missing"),
        ("OptInRequired", "has not subscribed"),
        ("SomethingNew", "EC2 refuses"),
    ],
)
def test_a_refused_launch_is_told_by_its_cause(code: str, cause: str) -> None:
    words = "No. Encoded authorization failure message: " + "x" * 900
    answer = dry_run.judge("queue gpu", code, words, how="so")
    assert answer.verdict == "fails"
    assert cause in answer.said
    assert f"({code}: No.)" in answer.said
    assert answer.fix


def test_a_launch_that_would_work_passes_and_a_request_limit_says_nothing() -> None:
    assert dry_run.judge("q", "DryRunOperation", "", how="so").verdict == "passes"
    assert dry_run.judge("q", "RequestLimitExceeded", "", how="so").verdict == "unknown"


def test_without_a_deployment_the_same_parameters_are_sent() -> None:
    request = dry_run.plain_request(TALK, TALK.queues[0], type_name="p4d.24xlarge", subnet="subnet-0a", image=IMAGE)
    assert [each["InterfaceType"] for each in request["NetworkInterfaces"]] == ["efa", *["efa-only"] * 3]
    assert request["MetadataOptions"]["HttpTokens"] == "required"
    full = load_cluster(FULL)
    markets = [
        dry_run.plain_request(full, queue, type_name=queue.instance_type, subnet="subnet-0a", image=IMAGE)
        for queue in full.queues
    ]
    assert {str(each.get("InstanceMarketOptions", {}).get("MarketType")) for each in markets} >= {"capacity-block"}
    assert any("CapacityReservationSpecification" in each for each in markets)


def ask(find: Iterator[Answer]) -> dict[str, Answer]:
    return {answer.what: answer for answer in find}


def test_a_subnet_in_another_zone_or_without_room_is_refused(stubs: Stubs) -> None:
    network = TALK.network.model_copy(
        update={"vpc_id": "vpc-0123456789abcdef0", "subnets": {"use1-az6": "subnet-0123456789abcdef0"}}
    )
    cluster = TALK.model_copy(update={"network": network})
    subnet = {
        "SubnetId": "subnet-0123456789abcdef0",
        "VpcId": "vpc-0fedcba9876543210",
        "AvailabilityZoneId": "use1-az1",
        "AvailableIpAddressCount": 10,
    }
    stubs["ec2"].add_response("describe_subnets", {"Subnets": [subnet]})
    (answer,) = room._subnets(stubs.aws, cluster)
    assert answer.verdict == "fails"
    for said in ("in vpc-0fedcba9876543210, not in", "in use1-az1, not in use1-az6", "10 addresses are free, 15 are"):
        assert said in answer.said


RESERVATION: dict[str, Any] = {
    "State": "active",
    "InstanceType": "p5.48xlarge",
    "AvailabilityZoneId": "use1-az6",
    "TotalInstanceCount": 4,
    "AvailableInstanceCount": 4,
    "EndDate": datetime(2027, 1, 8, 11, 30, tzinfo=UTC),
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "active, 4 x p5.48xlarge free, ends 2027-01-08 11:30 UTC"),
        ({"State": "expired"}, "its state is expired"),
        ({"State": "scheduled", "StartDate": datetime(2999, 1, 1, tzinfo=UTC)}, "it begins 2999-01-01 00:00 UTC"),
        ({"InstanceType": "p4d.24xlarge"}, "it is for p4d.24xlarge, queue gpu wants p5.48xlarge"),
        ({"AvailabilityZoneId": "use1-az1"}, "it is in use1-az1"),
        ({"TotalInstanceCount": 2}, "it has 2 instances, queue gpu may have 4"),
    ],
)
def test_a_reservation_is_told_by_state_type_zone_and_end(stubs: Stubs, change: dict[str, Any], said: str) -> None:
    changes = {"instance_type": "p5.48xlarge", "max": 4, "capacity_reservation_id": "cr-0123456789abcdef0"}
    queue = TALK.queues[0].model_copy(update=changes)
    stubs["ec2"].add_response("describe_capacity_reservations", {"CapacityReservations": [{**RESERVATION, **change}]})
    (answer,) = room._reservation(stubs.aws, TALK, queue)
    assert said in answer.said
    assert answer.verdict == ("fails" if change else "passes")


def test_a_missing_role_stops_spot_and_not_fsx(stubs: Stubs) -> None:
    client = stubs.aws.session.client("iam", config=CONFIG)
    aws = Aws(session=stubs.aws.session, region="us-west-2")
    aws.__dict__["iam"] = client
    with Stubber(client) as iam:
        found = []
        for role in service_roles(SPOT):
            iam.add_client_error("get_role", "NoSuchEntity")
            found += list(live._role(aws, role))
    assert [(answer.what, answer.verdict) for answer in found] == [
        ("AWSServiceRoleForAmazonFSx", "unknown"),
        ("AWSServiceRoleForCloudWatchEvents", "unknown"),
        ("AWSServiceRoleForEC2Spot", "fails"),
    ]
    assert found[2].fix.endswith("aws iam create-service-linked-role --aws-service-name spot.amazonaws.com")


def test_a_question_that_may_not_be_asked_is_unknown_and_names_the_permission(stubs: Stubs) -> None:
    client = stubs.aws.session.client("service-quotas", config=CONFIG)
    stubs.aws.__dict__["quotas"] = client
    stubs["ec2"].add_response("describe_instances", {"Reservations": []})
    with Stubber(client) as quotas:
        quotas.add_client_error("get_service_quota", "AccessDeniedException", "not authorized")
        cluster: ClusterFile = TALK.model_copy(
            update={"network": TALK.network.model_copy(update={"vpc_id": "vpc-0123456789abcdef0"})}
        )
        stubs["ec2"].add_response("describe_subnets", {"Subnets": []})
        found = ask(room.room(stubs.aws, cluster))
    assert found["vCPU quotas"].verdict == "unknown"
    assert (
        found["vCPU quotas"].fix
        == "allow servicequotas:GetServiceQuota and ec2:DescribeInstances, or ask somebody who may"
    )


def test_what_runs_already_counts_against_the_quota(stubs: Stubs) -> None:
    client = stubs.aws.session.client("service-quotas", config=CONFIG)
    stubs.aws.__dict__["quotas"] = client
    running = [
        {"InstanceType": "p3dn.24xlarge", "InstanceId": "i-1"},
        {"InstanceType": "p3dn.24xlarge", "Tags": [{"Key": "dure:cluster", "Value": "kogpt2"}]},
        {"InstanceType": "g5.xlarge", "InstanceLifecycle": "spot"},
        {"InstanceType": "inf2.xlarge", "CpuOptions": {"CoreCount": 2, "ThreadsPerCore": 2}},
    ]
    stubs["ec2"].add_response("describe_instances", {"Reservations": [{"Instances": running}]})
    with Stubber(client) as quotas:
        for value in (64.0, 800.0):
            quotas.add_response("get_service_quota", {"Quota": {"Value": value}})
        standard, p = room._quotas(stubs.aws, TALK)
    assert standard.verdict == "passes"
    assert p.said == "the account may run 800 vCPUs, this file needs 768, and 96 are in use by others"
    assert p.verdict == "fails"
    assert "--quota-code L-417A185B --desired-value 864 --region us-east-1" in p.fix


@pytest.mark.parametrize("module", [live, room, dry_run])
def test_every_question_is_in_the_table(module: ModuleType) -> None:
    named = set(re.findall(r'"(live-[a-z-]+)"', Path(str(module.__file__)).read_text(encoding="utf-8")))
    assert named
    assert named <= {each.id for each in LIVE}
