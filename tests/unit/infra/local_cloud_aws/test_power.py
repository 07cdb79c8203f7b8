"""Instances that are stopped, changed, started and rebooted: states, refusals, and what stays theirs."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local_cloud.aws.loopback import Loopback
from tests.unit.infra.local_cloud_aws.conftest import IMAGE, REGION, Api, until


def look(api: Api, identity: str) -> dict[str, Any]:
    return dict(api.client("ec2").describe_instances(InstanceIds=[identity])["Reservations"][0]["Instances"][0])


def state(api: Api, identity: str) -> str:
    return str(look(api, identity)["State"]["Name"])


def stop(api: Api, identity: str) -> None:
    api.client("ec2").stop_instances(InstanceIds=[identity])
    until(lambda: state(api, identity) == "stopped")


def test_a_stop_and_a_start_keep_what_is_the_instances_own(api: Api) -> None:
    ec2, before = api.client("ec2"), api.instance(UserData="#!/bin/sh\n")
    identity, machines = before["InstanceId"], api.machines
    machines.hold = threading.Event()
    (row,) = ec2.stop_instances(InstanceIds=[identity])["StoppingInstances"]
    assert (row["CurrentState"], row["PreviousState"]) == (
        {"Code": 64, "Name": "stopping"},
        {"Code": 16, "Name": "running"},
    )
    assert state(api, identity) == "stopping"
    with pytest.raises(ClientError, match="IncorrectInstanceState"):
        ec2.start_instances(InstanceIds=[identity])
    machines.hold.set()
    until(lambda: state(api, identity) == "stopped")
    assert look(api, identity)["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert [each.address for each in machines.network.machines] == [], "it is on no network"
    machines.boots = False
    (row,) = ec2.start_instances(InstanceIds=[identity])["StartingInstances"]
    assert (row["CurrentState"]["Name"], row["PreviousState"]["Name"]) == ("pending", "stopped")
    assert state(api, identity) == "pending"
    machines.states[identity] = "running"
    after = look(api, identity)
    assert after["State"]["Name"] == "running"
    for key in ("PrivateIpAddress", "PrivateDnsName", "NetworkInterfaces", "BlockDeviceMappings", "IamInstanceProfile"):
        assert after[key] == before[key], key
    assert after["LaunchTime"] >= before["LaunchTime"]
    assert [each.address for each in machines.network.machines] == [before["PrivateIpAddress"]]


def test_asking_twice_is_no_error_and_a_wrong_state_is(api: Api) -> None:
    ec2, identity = api.client("ec2"), api.instance()["InstanceId"]
    (row,) = ec2.start_instances(InstanceIds=[identity])["StartingInstances"]
    assert row["PreviousState"] == row["CurrentState"] == {"Code": 16, "Name": "running"}
    ec2.reboot_instances(InstanceIds=[identity])
    until(lambda: api.machines.rebooted == [identity])
    assert state(api, identity) == "running"
    stop(api, identity)
    (row,) = ec2.stop_instances(InstanceIds=[identity])["StoppingInstances"]
    assert row["CurrentState"]["Name"] == "stopped"
    with pytest.raises(ClientError, match="IncorrectInstanceState"):
        ec2.reboot_instances(InstanceIds=[identity])
    ec2.terminate_instances(InstanceIds=[identity])
    until(lambda: state(api, identity) == "terminated")
    for call in (ec2.start_instances, ec2.stop_instances, ec2.reboot_instances):
        with pytest.raises(ClientError, match="IncorrectInstanceState"):
            call(InstanceIds=[identity])
    with pytest.raises(ClientError, match=r"InvalidInstanceID\.NotFound"):
        ec2.stop_instances(InstanceIds=["i-0123456789abcdef0"])
    with pytest.raises(ClientError, match="does not model"):
        ec2.stop_instances(InstanceIds=[identity], Hibernate=True)


def test_a_spot_instance_of_one_request_is_not_stopped(api: Api) -> None:
    identity = api.instance(InstanceMarketOptions={"MarketType": "spot"})["InstanceId"]
    with pytest.raises(ClientError, match="UnsupportedOperation"):
        api.client("ec2").stop_instances(InstanceIds=[identity])
    assert state(api, identity) == "running"


def test_what_may_be_changed_on_a_stopped_instance(api: Api) -> None:
    ec2, identity = api.client("ec2"), api.instance()["InstanceId"]
    wanted = {"InstanceType": {"Value": "m5.xlarge"}}
    with pytest.raises(ClientError, match="is not in the 'stopped' state"):
        ec2.modify_instance_attribute(InstanceId=identity, **wanted)
    stop(api, identity)
    with pytest.raises(ClientError, match="InvalidInstanceAttributeValue"):
        ec2.modify_instance_attribute(InstanceId=identity, InstanceType={"Value": "m5.huge"})
    with pytest.raises(ClientError, match="does not model"):
        ec2.modify_instance_attribute(InstanceId=identity, EbsOptimized={"Value": True})
    ec2.modify_instance_attribute(InstanceId=identity, **wanted)
    ec2.modify_instance_attribute(InstanceId=identity, UserData={"Value": b"#!/bin/sh\nanother\n"})
    ec2.start_instances(InstanceIds=[identity])
    spec = api.machines.specs[identity]
    assert (spec.instance_type, spec.user_data) == ("m5.xlarge", b"#!/bin/sh\nanother\n")
    assert look(api, identity)["InstanceType"] == "m5.xlarge"
    assert spec.metadata()["meta-data/instance-type"] == "m5.xlarge"
    shutdown = {"InstanceInitiatedShutdownBehavior": {"Value": "terminate"}}
    ec2.modify_instance_attribute(InstanceId=identity, **shutdown)
    assert api.machines.on_exit is not None
    api.machines.on_exit(identity)
    until(lambda: state(api, identity) == "terminated")


def test_a_volume_goes_to_and_from_a_stopped_instance(api: Api) -> None:
    ec2, identity = api.client("ec2"), api.instance()["InstanceId"]
    volume = ec2.create_volume(AvailabilityZoneId="use1-az6", Size=10, VolumeType="gp3")["VolumeId"]
    stop(api, identity)
    ec2.attach_volume(VolumeId=volume, InstanceId=identity, Device="/dev/sdf")
    assert api.machines.volumes == {volume: identity}
    ec2.detach_volume(VolumeId=volume)
    assert api.machines.volumes == {volume: ""}


def test_a_start_needs_capacity(api: Api) -> None:
    ec2, identity = api.client("ec2"), api.instance()["InstanceId"]
    stop(api, identity)
    (api.cloud.state / "faults.json").write_text('{"capacity": {"m5.large": 0}}')
    with pytest.raises(ClientError, match="InsufficientInstanceCapacity"):
        ec2.start_instances(InstanceIds=[identity])
    assert state(api, identity) == "stopped"


def test_who_may_stop_what(api: Api) -> None:
    """Each is judged by the instance, its tags included, as EC2 does."""
    iam, ec2 = api.client("iam"), api.client("ec2")
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "dure:cluster", "Value": "mine"}]}]
    identity = api.instance(TagSpecifications=tags)["InstanceId"]
    key = iam.create_user(UserName="kim") and iam.create_access_key(UserName="kim")["AccessKey"]["AccessKeyId"]
    kims = Loopback(api.gateway, access_key=key).client("ec2", REGION)
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        kims.stop_instances(InstanceIds=[identity])
    statement = {
        "Effect": "Allow",
        "Action": ["ec2:StopInstances", "ec2:StartInstances", "ec2:RebootInstances", "ec2:ModifyInstanceAttribute"],
        "Resource": f"arn:aws:ec2:{REGION}:123456789012:instance/*",
        "Condition": {"StringEquals": {"aws:ResourceTag/dure:cluster": "mine"}},
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    iam.put_user_policy(UserName="kim", PolicyName="power", PolicyDocument=json.dumps(policy))
    kims.reboot_instances(InstanceIds=[identity])
    kims.stop_instances(InstanceIds=[identity])
    until(lambda: state(api, identity) == "stopped")
    kims.modify_instance_attribute(InstanceId=identity, InstanceType={"Value": "m5.xlarge"})
    kims.start_instances(InstanceIds=[identity])
    ec2.create_tags(Resources=[identity], Tags=[{"Key": "dure:cluster", "Value": "other"}])
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        kims.stop_instances(InstanceIds=[identity])


def test_a_stack_changes_the_type_of_the_same_instance(api: Api) -> None:
    def resources(kind: str) -> dict[str, Any]:
        properties = {"ImageId": IMAGE, "InstanceType": kind, "SubnetId": subnet}
        return {"Head": {"Type": "AWS::EC2::Instance", "Properties": properties}}

    _, subnet = api.subnet()
    outputs = {"Id": {"Value": {"Ref": "Head"}}}
    assert api.deploy("one", resources("m5.large"), Outputs=outputs)["StackStatus"] == "CREATE_COMPLETE"
    identity = api.outputs("one")["Id"]
    done = api.deploy("one", resources("m5.xlarge"), update=True, Outputs=outputs)
    assert done["StackStatus"] == "UPDATE_COMPLETE", api.events("one")
    assert api.outputs("one")["Id"] == identity
    assert (look(api, identity)["InstanceType"], state(api, identity)) == ("m5.xlarge", "running")
    assert api.machines.terminated == []
