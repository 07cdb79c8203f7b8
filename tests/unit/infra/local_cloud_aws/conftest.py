"""The local cloud's API in this process, with fake machines and no socket. Runs in the local cloud's environment."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import moto.backends
import pytest

from infra.local_cloud.aws.app import build_cloud
from infra.local_cloud.aws.ec2 import consistency
from infra.local_cloud.aws.loopback import Loopback
from tests.unit.infra.local_cloud_aws.fakes import FakeMachines

REGION = "us-east-1"
IMAGE = "ami-0000000000000d07e"
MOTO_SERVICES = ("ec2", "iam", "s3", "ssm", "sts", "logs", "cloudwatch", "kms", "secretsmanager", "ecr", "sns")
Template = dict[str, Any]


class Api:
    """What a test holds: clients of the cloud, the cloud behind them, and its machines."""

    def __init__(self, cloud: Any, gateway: Any, machines: FakeMachines) -> None:
        self.cloud, self.gateway, self.machines = cloud, gateway, machines
        self._users = Loopback(gateway, access_key="local")

    def client(self, service: str, region: str = REGION) -> Any:
        """A boto3 client with a user's credentials."""
        return self._users.client(service, region)

    def deploy(self, name: str, resources: Template, *, update: bool = False, **more: Any) -> dict[str, Any]:
        """Create or update a stack and wait until it has settled. `more` are further sections of the template."""
        cfn = self.client("cloudformation")
        body = json.dumps({"Resources": resources, **more})
        send = cfn.update_stack if update else cfn.create_stack
        send(StackName=name, TemplateBody=body, Capabilities=["CAPABILITY_NAMED_IAM"])
        return self.settled(name)

    def settled(self, name: str) -> dict[str, Any]:
        """A stack, once nothing is under way any more."""
        cfn = self.client("cloudformation")

        def look() -> dict[str, Any] | None:
            (stack,) = cfn.describe_stacks(StackName=name)["Stacks"]
            return None if stack["StackStatus"].endswith("_IN_PROGRESS") else stack

        return dict(until(look))

    def destroy(self, name: str) -> str:
        """Delete a stack and wait; returns its last status."""
        cfn = self.client("cloudformation")
        identity = cfn.describe_stacks(StackName=name)["Stacks"][0]["StackId"]
        cfn.delete_stack(StackName=name)
        return str(self.settled(identity)["StackStatus"])

    def outputs(self, name: str) -> dict[str, str]:
        """A stack's outputs by key."""
        stack = self.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
        return {item["OutputKey"]: item["OutputValue"] for item in stack.get("Outputs", [])}

    def events(self, name: str) -> list[tuple[str, str, str]]:
        """A stack's events, oldest first: logical id, status, reason."""
        found = self.client("cloudformation").describe_stack_events(StackName=name)["StackEvents"]
        return [
            (item["LogicalResourceId"], item["ResourceStatus"], item.get("ResourceStatusReason", ""))
            for item in reversed(found)
        ]

    def subnet(self, cidr: str = "10.0.0.0/24") -> tuple[str, str]:
        """A VPC with one subnet; returns their ids."""
        ec2 = self.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        made = ec2.create_subnet(VpcId=vpc, CidrBlock=cidr, AvailabilityZoneId="use1-az6")["Subnet"]
        return vpc, str(made["SubnetId"])

    def profile(self, name: str = "node") -> str:
        """A role and an instance profile of one name."""
        iam = self.client("iam")
        trust = {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
            ],
        }
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
        iam.create_instance_profile(InstanceProfileName=name)
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
        return name

    def endpoint(self, service: str, vpc: str, subnet: str, *, group: str) -> str:
        """An interface endpoint as our stacks make them; its id."""
        made = self.client("ec2").create_vpc_endpoint(
            VpcId=vpc,
            ServiceName=f"com.amazonaws.{REGION}.{service}",
            VpcEndpointType="Interface",
            SubnetIds=[subnet],
            SecurityGroupIds=[group],
            PrivateDnsEnabled=True,
        )
        return str(made["VpcEndpoint"]["VpcEndpointId"])

    def open_group(self, vpc: str) -> str:
        """A group that lets everything in and out."""
        ec2 = self.client("ec2")
        group = ec2.create_security_group(GroupName="open", Description="everything", VpcId=vpc)["GroupId"]
        everything = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=everything)
        return str(group)

    def instance(self, *, managed: bool = False, **request: Any) -> dict[str, Any]:
        """One running instance with a profile; `managed`: with SSM's endpoints in its network."""
        ec2 = self.client("ec2")
        if "SubnetId" not in request and "NetworkInterfaces" not in request:
            vpc, request["SubnetId"] = self.subnet()
            if managed:
                group = self.open_group(vpc)
                for service in ("ssm", "ssmmessages"):
                    self.endpoint(service, vpc, request["SubnetId"], group=group)
        if "IamInstanceProfile" not in request:
            request["IamInstanceProfile"] = {"Name": self.profile()}
        request = {"ImageId": IMAGE, "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1, **request}
        made = ec2.run_instances(**request)["Instances"][0]
        return dict(ec2.describe_instances(InstanceIds=[made["InstanceId"]])["Reservations"][0]["Instances"][0])


def until(look: Callable[[], Any], *, seconds: float = 10.0) -> Any:
    """Wait until `look` gives something true, and return that."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"nothing after {seconds} s"
        time.sleep(0.02)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """An empty cloud."""
    for name in MOTO_SERVICES:
        for account in moto.backends.get_backend(name).values():  # type: ignore[call-overload]
            for backend in account.values():
                backend.reset()
    machines = FakeMachines(tmp_path)
    cloud, gateway = build_cloud(machines, state=tmp_path / "state", port=0)
    # test_consistency.py is about the time until EC2 knows what was made; the others go on at once
    known = consistency.of(cloud)
    known.instances = known.profiles = 0.0
    yield Api(cloud, gateway, machines)
    cloud.close()
