"""EBS volumes: one zone, one machine at a time, and their own life."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local_cloud.aws.loopback import Loopback
from tests.unit.infra.local_cloud_aws.conftest import REGION, Api, until


def volume(api: Api, **request: Any) -> str:
    request = {"AvailabilityZoneId": "use1-az6", "Size": 10, "VolumeType": "gp3", "Encrypted": True, **request}
    return str(api.client("ec2").create_volume(**request)["VolumeId"])


def found(api: Api, identity: str) -> dict[str, Any]:
    return dict(api.client("ec2").describe_volumes(VolumeIds=[identity])["Volumes"][0])


def test_a_volume_goes_to_one_machine_and_comes_back_when_that_ends(api: Api) -> None:
    ec2, identity = api.client("ec2"), volume(api)
    assert (found(api, identity)["State"], found(api, identity)["AvailabilityZone"]) == ("available", "us-east-1a")
    machine = api.instance()["InstanceId"]
    assert ec2.attach_volume(VolumeId=identity, InstanceId=machine, Device="/dev/sdf")["State"] == "attaching"
    assert api.machines.volumes == {identity: machine}
    assert found(api, identity)["State"] == "in-use"
    for call in (ec2.attach_volume, ec2.delete_volume):
        more = {"InstanceId": machine, "Device": "/dev/sdg"} if call == ec2.attach_volume else {}
        with pytest.raises(ClientError, match="VolumeInUse"):
            call(VolumeId=identity, **more)
    ec2.terminate_instances(InstanceIds=[machine])
    until(lambda: found(api, identity)["State"] == "available")
    ec2.delete_volume(VolumeId=identity)
    assert api.machines.volumes == {}
    with pytest.raises(ClientError, match=r"InvalidVolume\.NotFound"):
        ec2.attach_volume(VolumeId=identity, InstanceId=machine, Device="/dev/sdf")


def test_a_mounted_volume_stays_busy(api: Api) -> None:
    ec2, identity, machine = api.client("ec2"), volume(api), api.instance()["InstanceId"]
    ec2.attach_volume(VolumeId=identity, InstanceId=machine, Device="/dev/sdf")
    api.machines.mounted.add(identity)
    assert ec2.detach_volume(VolumeId=identity)["State"] == "busy"
    assert found(api, identity)["State"] == "in-use"
    api.machines.mounted.clear()
    assert ec2.detach_volume(VolumeId=identity)["State"] == "detaching"
    assert found(api, identity)["State"] == "available"
    with pytest.raises(ClientError, match="IncorrectState"):
        ec2.detach_volume(VolumeId=identity)


def test_what_a_volume_cannot_be(api: Api) -> None:
    ec2 = api.client("ec2")
    for request, said in (
        ({"AvailabilityZone": "us-east-1a"}, "InvalidParameterCombination"),
        ({"AvailabilityZoneId": "use1-az9"}, r"InvalidZone\.NotFound"),
        ({"Size": 70000}, "gp3 takes 1 to 65536 GiB"),
        ({"SnapshotId": "snap-0123456789abcdef0"}, "does not model CreateVolume's SnapshotId"),
    ):
        with pytest.raises(ClientError, match=said):
            volume(api, **request)
    machine = api.instance()["InstanceId"]
    with pytest.raises(ClientError, match=r"InvalidVolume\.ZoneMismatch"):
        ec2.attach_volume(VolumeId=volume(api, AvailabilityZoneId="use1-az1"), InstanceId=machine, Device="/dev/sdf")
    ec2.attach_volume(VolumeId=volume(api), InstanceId=machine, Device="/dev/sdf")
    with pytest.raises(ClientError, match="already in use"):
        ec2.attach_volume(VolumeId=volume(api), InstanceId=machine, Device="/dev/sdf")


def test_a_machine_may_attach_what_its_role_names(api: Api) -> None:
    ec2, iam = api.client("ec2"), api.client("iam")
    key = api.client("kms").create_key()["KeyMetadata"]["Arn"]
    tags = [{"ResourceType": "volume", "Tags": [{"Key": "dure:role", "Value": "head"}]}]
    identity = volume(api, KmsKeyId=key, TagSpecifications=tags)
    machine = api.instance()["InstanceId"]
    credentials = json.loads(api.machines.specs[machine].metadata()["meta-data/iam/security-credentials/node"])
    mine = Loopback(api.gateway, access_key=credentials["AccessKeyId"]).client("ec2", REGION)
    condition = {"StringEquals": {"aws:ResourceTag/dure:role": "head"}}
    attach = {"Effect": "Allow", "Action": "ec2:AttachVolume", "Resource": "*", "Condition": condition}
    lend = {"Effect": "Allow", "Action": ["kms:CreateGrant", "kms:Decrypt"], "Resource": key}

    def refused(*statements: dict[str, Any]) -> str:
        document = {"Version": "2012-10-17", "Statement": list(statements)}
        iam.put_role_policy(RoleName="node", PolicyName="p", PolicyDocument=json.dumps(document))
        try:
            mine.attach_volume(VolumeId=identity, InstanceId=machine, Device="/dev/sdf")
        except ClientError as error:
            return str(error)
        return ""

    assert "ec2:AttachVolume on resource: arn:aws:ec2:us-east-1:123456789012:instance/" in refused(attach, lend)
    ec2.create_tags(Resources=[machine], Tags=[{"Key": "dure:role", "Value": "head"}])
    assert "kms:CreateGrant" in refused(attach)
    assert refused(attach, lend) == ""


def test_a_stack_makes_a_volume_and_its_policy_decides_whether_it_stays(api: Api) -> None:
    properties = {"AvailabilityZoneId": "use1-az6", "Size": 10, "VolumeType": "gp3", "Encrypted": True}
    for name, policy in (("gone", "Delete"), ("kept", "Retain")):
        one = {"Type": "AWS::EC2::Volume", "DeletionPolicy": policy, "Properties": properties}
        api.deploy(name, {"Volume": one}, Outputs={"Id": {"Value": {"Ref": "Volume"}}})
    kept = api.outputs("kept")["Id"]
    larger = {"Type": "AWS::EC2::Volume", "DeletionPolicy": "Retain", "Properties": {**properties, "Size": 20}}
    assert api.deploy("kept", {"Volume": larger}, update=True)["StackStatus"] == "UPDATE_COMPLETE"
    assert found(api, kept)["Size"] == 20
    assert [api.destroy(name) for name in ("gone", "kept")] == ["DELETE_COMPLETE"] * 2
    assert [each["VolumeId"] for each in api.client("ec2").describe_volumes()["Volumes"]] == [kept]


def test_a_stack_can_neither_shrink_nor_move_a_volume(api: Api) -> None:
    properties = {"AvailabilityZoneId": "use1-az6", "Size": 10, "VolumeType": "gp3"}
    api.deploy("one", {"Volume": {"Type": "AWS::EC2::Volume", "Properties": properties}})
    for change, said in (({"Size": 5}, "smaller than existing"), ({"AvailabilityZoneId": "use1-az1"}, "not supported")):
        changed = {"Volume": {"Type": "AWS::EC2::Volume", "Properties": {**properties, **change}}}
        assert api.deploy("one", changed, update=True)["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
        assert any(said in reason for _, _, reason in api.events("one"))
