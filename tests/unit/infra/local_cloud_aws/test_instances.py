"""Instances: what a launch makes, how states follow machines, what is refused."""

from __future__ import annotations

import base64
import json
import threading
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local_cloud.aws.ec2.table import Faults
from infra.local_cloud.machines.api import MachineError
from tests.unit.infra.local_cloud_aws.conftest import IMAGE, REGION, Api, until

SCRIPT = "#!/bin/bash\necho hello\n"


def template(api: Api, **data: Any) -> str:
    api.profile()
    _, subnet = api.subnet()
    api.client("ec2").create_placement_group(GroupName="near", Strategy="cluster")
    base = {
        "ImageId": IMAGE,
        "InstanceType": "p3dn.24xlarge",
        "IamInstanceProfile": {"Name": "node"},
        "Placement": {"GroupName": "near"},
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 2, "InstanceMetadataTags": "enabled"},
        "UserData": base64.b64encode(SCRIPT.encode()).decode(),
        "NetworkInterfaces": [{"DeviceIndex": 0, "NetworkCardIndex": 0, "InterfaceType": "efa", "SubnetId": subnet}],
        "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "dure:queue", "Value": "gpu"}]}],
        **data,
    }
    made = api.client("ec2").create_launch_template(LaunchTemplateName="lt", LaunchTemplateData=base)
    return str(made["LaunchTemplate"]["LaunchTemplateId"])


def launch(api: Api, identity: str, count: int = 1, **request: Any) -> list[dict[str, Any]]:
    asked = {"LaunchTemplate": {"LaunchTemplateId": identity, "Version": "1"}, "MinCount": count, "MaxCount": count}
    return list(api.client("ec2").run_instances(**{**asked, **request})["Instances"])


def describe(api: Api, *ids: str) -> list[dict[str, Any]]:
    found = api.client("ec2").describe_instances(InstanceIds=list(ids))["Reservations"]
    return [item for reservation in found for item in reservation["Instances"]]


def refused(api: Api, **request: Any) -> str:
    with pytest.raises(ClientError) as error:
        api.client("ec2").run_instances(**{"MinCount": 1, "MaxCount": 1, **request})
    return str(error.value.response["Error"]["Code"])


def test_a_launch_honours_all_of_its_template(api: Api) -> None:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "dure:launch", "Value": "L1"}]}]
    made = launch(api, template(api), 2, TagSpecifications=tags)
    assert [item["State"]["Name"] for item in made] == ["pending", "pending"]
    assert [item["AmiLaunchIndex"] for item in made] == [0, 1]
    first = describe(api, made[0]["InstanceId"])[0]
    assert first["State"]["Name"] == "running"
    assert first["InstanceType"] == "p3dn.24xlarge"
    assert first["Placement"]["GroupName"] == "near"
    assert first["Placement"]["AvailabilityZone"] == "us-east-1a"
    assert first["MetadataOptions"]["HttpTokens"] == "required"
    assert {tag["Key"]: tag["Value"] for tag in first["Tags"]}.items() >= {
        "dure:queue": "gpu",
        "dure:launch": "L1",
    }.items()
    (interface,) = first["NetworkInterfaces"]
    assert interface["InterfaceType"] == "efa"
    assert interface["PrivateIpAddress"] == first["PrivateIpAddress"] == "10.0.0.4"
    assert first["IamInstanceProfile"]["Arn"].endswith(":instance-profile/node")
    found = api.client("ec2").describe_instances(Filters=[{"Name": "tag:dure:launch", "Values": ["L1"]}])
    assert sum(len(item["Instances"]) for item in found["Reservations"]) == 2


def test_the_machine_is_what_the_api_says(api: Api) -> None:
    (made,) = launch(api, template(api))
    spec = api.machines.specs[made["InstanceId"]]
    assert (spec.private_ip, spec.prefix_length, spec.gateway) == ("10.0.0.4", 24, "10.0.0.1")
    assert (spec.host_name, spec.gpus, spec.user_data) == ("ip-10-0-0-4", 8, SCRIPT.encode())
    assert (spec.tokens_required, spec.hop_limit, spec.metadata_enabled) == (True, 2, True)
    tree = spec.metadata()
    assert tree["meta-data/instance-id"] == made["InstanceId"]
    assert tree["meta-data/placement/availability-zone-id"] == "use1-az6"
    assert tree["meta-data/tags/instance/dure:queue"] == "gpu"
    assert not any("aws:" in key for key in tree)
    assert tree["user-data"] == SCRIPT.encode()
    assert json.loads(tree["dynamic/instance-identity/document"])["instanceId"] == made["InstanceId"]
    credentials = json.loads(tree["meta-data/iam/security-credentials/node"])
    assert credentials["AccessKeyId"].startswith("ASIA")
    assert credentials == json.loads(spec.metadata()["meta-data/iam/security-credentials/node"])


def test_tags_changed_later_show_in_the_metadata(api: Api) -> None:
    (made,) = launch(api, template(api))
    api.client("ec2").create_tags(Resources=[made["InstanceId"]], Tags=[{"Key": "late", "Value": "1"}])
    assert api.machines.specs[made["InstanceId"]].metadata()["meta-data/tags/instance/late"] == "1"


def test_several_cards_keep_their_places(api: Api) -> None:
    _, subnet = api.subnet()
    cards = [
        {"DeviceIndex": 0 if n == 0 else 1, "NetworkCardIndex": n, "InterfaceType": "efa", "SubnetId": subnet}
        for n in range(4)
    ]
    found = api.instance(InstanceType="p4d.24xlarge", NetworkInterfaces=cards)
    places = sorted(
        (item["Attachment"]["NetworkCardIndex"], item["Attachment"]["DeviceIndex"])
        for item in found["NetworkInterfaces"]
    )
    assert places == [(0, 0), (1, 1), (2, 1), (3, 1)]


def test_an_existing_interface_with_a_fixed_address(api: Api) -> None:
    _, subnet = api.subnet()
    ec2 = api.client("ec2")
    made = ec2.create_network_interface(SubnetId=subnet, PrivateIpAddress="10.0.0.10")["NetworkInterface"]
    identity = made["NetworkInterfaceId"]
    found = api.instance(NetworkInterfaces=[{"DeviceIndex": 0, "NetworkInterfaceId": identity}])
    assert (found["PrivateIpAddress"], found["SubnetId"]) == ("10.0.0.10", subnet)
    assert found["Placement"]["AvailabilityZone"] == "us-east-1a"
    with pytest.raises(ClientError, match="currently in use"):
        ec2.delete_network_interface(NetworkInterfaceId=identity)
    ec2.terminate_instances(InstanceIds=[found["InstanceId"]])
    until(lambda: ec2.describe_network_interfaces()["NetworkInterfaces"][0]["Status"] == "available")
    ec2.delete_network_interface(NetworkInterfaceId=identity)


def test_termination_follows_the_machine_and_frees_the_address(api: Api) -> None:
    found = api.instance()
    ec2, identity = api.client("ec2"), found["InstanceId"]
    api.machines.hold = threading.Event()
    answer = ec2.terminate_instances(InstanceIds=[identity])["TerminatingInstances"][0]
    assert (answer["PreviousState"]["Name"], answer["CurrentState"]["Name"]) == ("running", "shutting-down")
    assert describe(api, identity)[0]["State"]["Name"] == "shutting-down"
    api.machines.hold.set()
    until(lambda: describe(api, identity)[0]["State"]["Name"] == "terminated")
    again = ec2.terminate_instances(InstanceIds=[identity])["TerminatingInstances"][0]
    assert again["CurrentState"]["Name"] == "terminated"
    assert api.machines.terminated == [identity]
    assert ec2.describe_network_interfaces()["NetworkInterfaces"] == []
    assert (
        api.instance(SubnetId=found["SubnetId"], IamInstanceProfile={"Name": "node"})["PrivateIpAddress"] == "10.0.0.4"
    )


@pytest.mark.parametrize(("behaviour", "state"), [("stop", "stopped"), ("terminate", "terminated")])
def test_a_machine_that_ends_by_itself(api: Api, behaviour: str, state: str) -> None:
    identity = api.instance(InstanceInitiatedShutdownBehavior=behaviour)["InstanceId"]
    assert api.machines.on_exit is not None
    api.machines.on_exit(identity)
    until(lambda: describe(api, identity)[0]["State"]["Name"] == state)


def test_pending_until_the_machine_runs(api: Api) -> None:
    api.machines.boots = False
    identity = api.instance()["InstanceId"]
    assert describe(api, identity)[0]["State"]["Name"] == "pending"
    api.machines.states[identity] = "running"
    assert describe(api, identity)[0]["State"]["Name"] == "running"


def test_refusals_carry_ec2s_codes(api: Api) -> None:
    _, subnet = api.subnet()
    good = {"ImageId": IMAGE, "InstanceType": "m5.large", "SubnetId": subnet}
    efa = {"DeviceIndex": 0, "SubnetId": subnet, "InterfaceType": "efa"}
    assert refused(api, LaunchTemplate={"LaunchTemplateId": "lt-0"}) == "InvalidLaunchTemplateId.NotFound"
    assert refused(api, LaunchTemplate={"LaunchTemplateName": "no"}) == "InvalidLaunchTemplateName.NotFoundException"
    assert refused(api, **{**good, "ImageId": "ami-1"}) == "InvalidAMIID.NotFound"
    assert refused(api, **{**good, "SubnetId": "subnet-1"}) == "InvalidSubnetID.NotFound"
    assert refused(api, **{**good, "InstanceType": "m5.huge"}) == "InvalidParameterValue"
    assert refused(api, **good, NetworkInterfaces=[efa]) == "InvalidParameterCombination"
    assert (
        refused(api, ImageId=IMAGE, InstanceType="m5.large", NetworkInterfaces=[efa]) == "InvalidParameterCombination"
    )
    assert refused(api, **good, Placement={"GroupName": "far"}) == "InvalidPlacementGroup.Unknown"
    assert refused(api, **good, DryRun=True) == "DryRunOperation"
    assert refused(api, **good, KeyName="key") == "NotImplemented"
    assert refused(api, **good, UserData="x" * 20000) == "InvalidParameterValue"
    assert api.machines.specs == {}
    assert api.client("ec2").describe_network_interfaces()["NetworkInterfaces"] == []


def test_all_or_none_when_addresses_or_capacity_run_out(api: Api) -> None:
    _, subnet = api.subnet("10.0.0.0/28")  # eleven addresses
    request = {"ImageId": IMAGE, "InstanceType": "m5.large", "SubnetId": subnet}
    assert refused(api, **request, MinCount=12, MaxCount=12) == "InsufficientFreeAddressesInSubnet"
    made = api.client("ec2").run_instances(**request, MinCount=1, MaxCount=20)["Instances"]
    assert len(made) == 11
    api.cloud.store(Faults, REGION).capacity["p3dn.24xlarge"] = 1
    identity = template(api)
    with pytest.raises(ClientError, match="InsufficientInstanceCapacity"):
        launch(api, identity, 2)
    assert len(launch(api, identity, 1)) == 1


def test_the_same_token_launches_once(api: Api) -> None:
    identity = template(api)
    first = launch(api, identity, ClientToken="t")
    assert launch(api, identity, ClientToken="t")[0]["InstanceId"] == first[0]["InstanceId"]
    assert len(api.machines.specs) == 1


def test_placement_groups(api: Api) -> None:
    ec2 = api.client("ec2")
    launch(api, template(api))
    assert ec2.describe_placement_groups(GroupNames=["near"])["PlacementGroups"][0]["Strategy"] == "cluster"
    with pytest.raises(ClientError, match="already exists"):
        ec2.create_placement_group(GroupName="near", Strategy="cluster")
    with pytest.raises(ClientError, match="in use and may not be deleted"):
        ec2.delete_placement_group(GroupName="near")
    with pytest.raises(ClientError, match="is unknown"):
        ec2.describe_placement_groups(GroupNames=["far"])


def test_endpoint_interfaces_have_addresses_of_their_subnet(api: Api) -> None:
    vpc, subnet = api.subnet()
    ec2 = api.client("ec2")
    made = ec2.create_vpc_endpoint(
        VpcId=vpc, ServiceName="com.amazonaws.us-east-1.ssm", VpcEndpointType="Interface", SubnetIds=[subnet]
    )["VpcEndpoint"]
    (interface,) = ec2.describe_network_interfaces()["NetworkInterfaces"]
    assert interface["PrivateIpAddress"] == "10.0.0.4"
    assert made["NetworkInterfaceIds"] == [interface["NetworkInterfaceId"]]
    with pytest.raises(ClientError, match="DependencyViolation"):
        ec2.delete_subnet(SubnetId=subnet)
    ec2.delete_vpc_endpoints(VpcEndpointIds=[made["VpcEndpointId"]])
    ec2.delete_subnet(SubnetId=subnet)


def test_a_machine_that_cannot_be_made_leaves_no_instance(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def launch_one(spec: Any) -> None:
        made.append(spec)
        if len(made) == 2:
            raise MachineError("no room")

    identity = template(api)
    monkeypatch.setattr(api.machines, "launch", launch_one)
    with pytest.raises(ClientError, match="MachineError: no room"):
        launch(api, identity, 3)
    until(lambda: not api.client("ec2").describe_network_interfaces()["NetworkInterfaces"])


def test_a_template_version_builds_on_another(api: Api) -> None:
    identity = template(api)
    ec2 = api.client("ec2")
    data = {"UserData": base64.b64encode(b"#!/bin/sh\ntrue\n").decode()}
    made = ec2.create_launch_template_version(LaunchTemplateId=identity, SourceVersion="1", LaunchTemplateData=data)
    assert made["LaunchTemplateVersion"]["VersionNumber"] == 2
    assert made["LaunchTemplateVersion"]["LaunchTemplateData"]["InstanceType"] == "p3dn.24xlarge"
    (instance,) = launch(api, identity, LaunchTemplate={"LaunchTemplateId": identity, "Version": "2"})
    assert api.machines.specs[instance["InstanceId"]].user_data == b"#!/bin/sh\ntrue\n"
    with pytest.raises(ClientError, match="Could not find launch template version 7"):
        launch(api, identity, LaunchTemplate={"LaunchTemplateId": identity, "Version": "7"})
