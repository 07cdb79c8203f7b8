"""How a RunInstances request and its launch template combine. Pure."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local_cloud.aws.ec2.launch import effective, interfaces_of
from infra.local_cloud.aws.errors import AwsError

TEMPLATE: dict[str, Any] = {
    "ImageId": "ami-1",
    "InstanceType": "m5.large",
    "MetadataOptions": {"HttpTokens": "required", "InstanceMetadataTags": "enabled"},
    "NetworkInterfaces": [{"DeviceIndex": 0, "SubnetId": "subnet-1", "InterfaceType": "efa"}],
    "TagSpecifications": [
        {"ResourceType": "instance", "Tags": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "1"}]}
    ],
}


def test_the_request_overrides_and_maps_merge() -> None:
    request = {
        "InstanceType": "m5.xlarge",
        "MetadataOptions": {"HttpTokens": "optional"},
        "NetworkInterfaces": [{"DeviceIndex": 0, "NetworkInterfaceId": "eni-1"}],
        "TagSpecifications": [
            {"ResourceType": "instance", "Tags": [{"Key": "b", "Value": "2"}]},
            {"ResourceType": "volume", "Tags": [{"Key": "c", "Value": "3"}]},
        ],
    }
    found = effective(request, TEMPLATE)
    assert found["InstanceType"] == "m5.xlarge"
    assert found["MetadataOptions"] == {"HttpTokens": "optional", "InstanceMetadataTags": "enabled"}
    assert found["NetworkInterfaces"][0]["NetworkInterfaceId"] == "eni-1"
    assert found["TagSpecifications"] == [
        {"ResourceType": "instance", "Tags": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]},
        {"ResourceType": "volume", "Tags": [{"Key": "c", "Value": "3"}]},
    ]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"SubnetId": "subnet-2"}, "InvalidParameterCombination"),
        ({"SecurityGroupIds": ["sg-1"]}, "InvalidParameterCombination"),
        ({"ImageId": ""}, "MissingParameter"),
        ({"MinCount": 2, "MaxCount": 1}, "InvalidParameterValue"),
        (
            {"NetworkInterfaces": [{"DeviceIndex": 0, "PrivateIpAddress": "10.0.0.9"}], "MinCount": 1, "MaxCount": 2},
            "InvalidParameterCombination",
        ),
        ({"KeyName": "k"}, "NotImplemented"),
    ],
)
def test_what_ec2_refuses(request_: dict[str, Any], code: str) -> None:
    with pytest.raises(AwsError) as error:
        effective(request_, TEMPLATE)
    assert error.value.code == code


def test_interfaces_come_primary_first_and_one_is_made_up() -> None:
    specs = [{"DeviceIndex": 1, "NetworkCardIndex": 1, "SubnetId": "s"}, {"DeviceIndex": 0, "SubnetId": "s"}]
    assert [spec["DeviceIndex"] for spec in interfaces_of({"NetworkInterfaces": specs}, default_subnet=None)] == [0, 1]
    assert interfaces_of({"SubnetId": "s", "SecurityGroupIds": ["g"]}, default_subnet=None) == [
        {"DeviceIndex": 0, "Groups": ["g"], "SubnetId": "s"}
    ]
    assert interfaces_of({}, default_subnet="d")[0]["SubnetId"] == "d"
    with pytest.raises(AwsError, match="Please specify a subnet"):
        interfaces_of({}, default_subnet=None)
