"""Quotas and scripted capacity: what a launch, and its dry run, are refused for."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local_cloud.aws.scripted import FILE
from tests.unit.infra.local_cloud_aws.conftest import IMAGE, Api

P, P_SPOT = "L-417A185B", "L-7212CCBC"


def script(api: Api, **faults: Any) -> None:
    (api.cloud.state / FILE).write_text(json.dumps(faults))


def launch(api: Api, subnet: str, **request: Any) -> None:
    request = {"ImageId": IMAGE, "InstanceType": "p3dn.24xlarge", "MinCount": 1, "MaxCount": 1, **request}
    api.client("ec2").run_instances(SubnetId=subnet, **request)


def test_running_vcpus_count_against_the_quota_of_their_class(api: Api) -> None:
    _, subnet = api.subnet()
    script(api, quotas={P: 192, P_SPOT: 96})
    launch(api, subnet)
    launch(api, subnet)
    with pytest.raises(ClientError, match=r"VcpuLimitExceeded.*current vCPU limit of 192"):
        launch(api, subnet)
    launch(api, subnet, InstanceType="m5.large")
    spot = {"InstanceMarketOptions": {"MarketType": "spot"}}
    launch(api, subnet, **spot)
    with pytest.raises(ClientError, match="MaxSpotInstanceCountExceeded"):
        launch(api, subnet, **spot)


def test_no_more_of_a_type_than_is_scripted_to_be_there(api: Api) -> None:
    _, subnet = api.subnet()
    script(api, capacity={"p3dn.24xlarge": 1})
    launch(api, subnet)
    with pytest.raises(ClientError, match="InsufficientInstanceCapacity"):
        launch(api, subnet)
    (api.cloud.state / FILE).unlink()
    launch(api, subnet)


def test_a_dry_run_is_judged_like_the_launch_and_launches_nothing(api: Api) -> None:
    _, subnet = api.subnet()
    with pytest.raises(ClientError, match="DryRunOperation"):
        launch(api, subnet, DryRun=True)
    script(api, quotas={P: 0})
    with pytest.raises(ClientError, match="VcpuLimitExceeded"):
        launch(api, subnet, DryRun=True)
    assert api.client("ec2").describe_instances()["Reservations"] == []


def test_a_launch_into_a_reservation_needs_one_that_is_active_and_of_its_type(api: Api) -> None:
    ec2 = api.client("ec2")
    _, subnet = api.subnet()
    with pytest.raises(ClientError, match="InvalidParameterValue"):
        ec2.create_capacity_reservation(
            InstanceType="p3dn.24xlarge", InstancePlatform="Linux/UNIX", AvailabilityZone="us-east-1x", InstanceCount=1
        )
    made = ec2.create_capacity_reservation(
        InstanceType="p3dn.24xlarge", InstancePlatform="Linux/UNIX", AvailabilityZoneId="use1-az6", InstanceCount=2
    )["CapacityReservation"]
    identity = made["CapacityReservationId"]
    (found,) = ec2.describe_capacity_reservations(CapacityReservationIds=[identity])["CapacityReservations"]
    assert (found["State"], found["AvailabilityZone"], found["TotalInstanceCount"]) == ("active", "us-east-1a", 2)

    def into(identity: str, **request: Any) -> None:
        target = {"CapacityReservationTarget": {"CapacityReservationId": identity}}
        launch(api, subnet, CapacityReservationSpecification=target, **request)

    into(identity)
    with pytest.raises(ClientError, match=r"is for p3dn.24xlarge, not for p4d.24xlarge"):
        into(identity, InstanceType="p4d.24xlarge")
    with pytest.raises(ClientError, match=r"InvalidCapacityReservationId.NotFound"):
        into("cr-0123456789abcdef0")
    ec2.cancel_capacity_reservation(CapacityReservationId=identity)
    with pytest.raises(ClientError, match=r"InvalidCapacityReservationState.*cancelled"):
        into(identity)


def test_a_reservation_ends_at_its_time(api: Api) -> None:
    ec2 = api.client("ec2")
    ec2.create_capacity_reservation(
        InstanceType="p3dn.24xlarge",
        InstancePlatform="Linux/UNIX",
        AvailabilityZone="us-east-1a",
        InstanceCount=2,
        EndDateType="limited",
        EndDate=datetime.now(UTC) + timedelta(seconds=-1),
    )
    assert [each["State"] for each in ec2.describe_capacity_reservations()["CapacityReservations"]] == ["expired"]


def test_service_quotas_says_the_same_values(api: Api) -> None:
    client = api.client("service-quotas")
    script(api, quotas={P: 7})
    assert client.get_service_quota(ServiceCode="ec2", QuotaCode=P)["Quota"]["Value"] == 7
    default = client.get_aws_default_service_quota(ServiceCode="ec2", QuotaCode=P)["Quota"]
    assert (default["Value"], default["QuotaName"]) == (0, "Running On-Demand P instances")
    listed = {each["QuotaCode"]: each["Value"] for each in client.list_service_quotas(ServiceCode="ec2")["Quotas"]}
    assert listed[P] == 7
    with pytest.raises(ClientError, match="NoSuchResourceException"):
        client.get_service_quota(ServiceCode="ec2", QuotaCode="L-00000000")


def test_service_linked_roles_have_the_names_that_aws_gives_them(api: Api) -> None:
    iam = api.client("iam")
    roles = {"spot": "EC2Spot", "fsx": "AmazonFSx", "events": "CloudWatchEvents"}
    for service, name in ((service, f"AWSServiceRoleFor{rest}") for service, rest in roles.items()):
        made = iam.create_service_linked_role(AWSServiceName=f"{service}.amazonaws.com")["Role"]
        assert (made["RoleName"], made["Path"]) == (name, f"/aws-service-role/{service}.amazonaws.com/")
    with pytest.raises(ClientError, match=r"does not model the service-linked role of x.amazonaws.com"):
        iam.create_service_linked_role(AWSServiceName="x.amazonaws.com")


def test_a_script_that_is_none_fails_loudly(api: Api) -> None:
    _, subnet = api.subnet()
    (api.cloud.state / FILE).write_text('{"capacities": {}}')
    with pytest.raises(ClientError, match="keys capacity and quotas"):
        launch(api, subnet)
