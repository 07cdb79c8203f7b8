"""From EC2's state to what the machines' network is told: groups, endpoints, routes, file systems."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local_cloud.aws.ec2.security import LUSTRE
from infra.local_cloud.machines.firewall import Permission
from infra.local_cloud.machines.services import OTHER_ADDRESS, SERVICES
from tests.unit.infra.local_cloud_aws.conftest import REGION, Api, until

HTTPS = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443}


class Ground:
    """A network with a machine in a group of its own, from which nothing is let out yet."""

    def __init__(self, api: Api) -> None:
        self.api, self.ec2 = api, api.client("ec2")
        self.vpc, self.subnet = api.subnet()
        self.group, self.doors = self.closed_group("machine"), self.closed_group("doors")
        api.profile()
        self.machine = api.instance(
            SubnetId=self.subnet, SecurityGroupIds=[self.group], IamInstanceProfile={"Name": "node"}
        )
        self.address = self.machine["PrivateIpAddress"]

    def closed_group(self, name: str) -> str:
        group = self.ec2.create_security_group(GroupName=name, Description=name, VpcId=self.vpc)["GroupId"]
        everything = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
        self.ec2.revoke_security_group_egress(GroupId=group, IpPermissions=everything)
        return str(group)

    def let(self, source: str, target: str, **what: Any) -> None:
        """Let a protocol out of one group and into another."""
        self.ec2.authorize_security_group_egress(
            GroupId=source, IpPermissions=[{**what, "UserIdGroupPairs": [{"GroupId": target}]}]
        )
        self.ec2.authorize_security_group_ingress(
            GroupId=target, IpPermissions=[{**what, "UserIdGroupPairs": [{"GroupId": source}]}]
        )

    def let_out(self, **peer: Any) -> None:
        self.ec2.authorize_security_group_egress(GroupId=self.group, IpPermissions=[{**HTTPS, **peer}])

    @property
    def answering(self) -> set[str]:
        """The services that answer the machine."""
        names = {service.address: service.name for service in SERVICES.values()} | {OTHER_ADDRESS: "other"}
        return {names[service] for machine, service in self.api.machines.network.services if machine == self.address}


@pytest.fixture
def ground(api: Api) -> Ground:
    return Ground(api)


def test_a_machine_and_its_groups_rules_are_told_before_it_boots(ground: Ground, api: Api) -> None:
    (machine,) = api.machines.network.machines
    assert (machine.address, machine.vpc, *machine.groups) == (ground.address, ground.vpc, ground.group)
    ground.let(ground.group, ground.doors, **HTTPS)
    rule = Permission("tcp", ground.doors, 443, 443)
    assert api.machines.network.groups[ground.group].egress == (rule,)
    ground.ec2.revoke_security_group_egress(
        GroupId=ground.group, IpPermissions=[{**HTTPS, "UserIdGroupPairs": [{"GroupId": ground.doors}]}]
    )
    assert api.machines.network.groups[ground.group].egress == ()
    ground.ec2.terminate_instances(InstanceIds=[ground.machine["InstanceId"]])
    until(lambda: not api.machines.network.machines)


def test_an_endpoint_needs_both_groups_and_its_own_names(ground: Ground, api: Api) -> None:
    endpoint = api.endpoint("ssm", ground.vpc, ground.subnet, group=ground.doors)
    assert ground.answering == set()
    ground.let(ground.group, ground.doors, **HTTPS)
    assert ground.answering == {"ssm"}
    ground.ec2.delete_vpc_endpoints(VpcEndpointIds=[endpoint])
    assert ground.answering == set()
    ground.ec2.create_vpc_endpoint(
        VpcId=ground.vpc,
        ServiceName=f"com.amazonaws.{REGION}.logs",
        VpcEndpointType="Interface",
        SubnetIds=[ground.subnet],
        SecurityGroupIds=[ground.doors],
        PrivateDnsEnabled=False,
    )
    assert ground.answering == set(), "no name leads there"


def test_an_endpoint_of_another_network_answers_nobody_here(ground: Ground, api: Api) -> None:
    vpc, subnet = api.subnet()
    api.endpoint("ssm", vpc, subnet, group=api.open_group(vpc))
    ground.let_out(IpRanges=[{"CidrIp": "0.0.0.0/0"}])
    assert ground.answering == set()


@pytest.mark.parametrize("by_list", [False, True])
def test_s3_by_the_gateway_endpoint_of_the_subnets_route_table(ground: Ground, by_list: bool) -> None:
    own = ground.ec2.create_route_table(VpcId=ground.vpc)["RouteTable"]["RouteTableId"]
    service = f"com.amazonaws.{REGION}.s3"
    lists = ground.ec2.describe_managed_prefix_lists()["PrefixLists"]
    (prefix,) = [each["PrefixListId"] for each in lists if each["PrefixListName"] == service]
    peer = {"PrefixListIds": [{"PrefixListId": prefix}]} if by_list else {"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ground.ec2.create_vpc_endpoint(
        VpcId=ground.vpc, ServiceName=service, VpcEndpointType="Gateway", RouteTableIds=[own]
    )
    ground.let_out(**peer)
    assert ground.answering == set(), "the subnet has the main route table"
    ground.ec2.associate_route_table(RouteTableId=own, SubnetId=ground.subnet)
    assert ground.answering == {"s3"}
    ground.ec2.revoke_security_group_egress(GroupId=ground.group, IpPermissions=[{**HTTPS, **peer}])
    assert ground.answering == set()


def test_by_nat_every_service_answers(ground: Ground) -> None:
    ec2 = ground.ec2
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=ground.vpc)
    zone = {"CidrBlock": "10.0.9.0/24", "AvailabilityZoneId": "use1-az6"}
    public = ec2.create_subnet(VpcId=ground.vpc, **zone)["Subnet"]["SubnetId"]
    allocation = ec2.allocate_address(Domain="vpc")["AllocationId"]
    nat = ec2.create_nat_gateway(SubnetId=public, AllocationId=allocation)["NatGateway"]["NatGatewayId"]
    tables = {}
    for subnet in (ground.subnet, public):
        tables[subnet] = ec2.create_route_table(VpcId=ground.vpc)["RouteTable"]["RouteTableId"]
        ec2.associate_route_table(RouteTableId=tables[subnet], SubnetId=subnet)
    everywhere = {"DestinationCidrBlock": "0.0.0.0/0"}
    ec2.create_route(RouteTableId=tables[ground.subnet], NatGatewayId=nat, **everywhere)
    ground.let_out(IpRanges=[{"CidrIp": "0.0.0.0/0"}])
    assert ground.answering == set(), "the gateway itself has no way out"
    ec2.create_route(RouteTableId=tables[public], GatewayId=gateway, **everywhere)
    assert ground.answering == {*SERVICES, "other"}
    ec2.delete_route(RouteTableId=tables[ground.subnet], **everywhere)
    assert ground.answering == set()


def test_a_mount_needs_every_port_of_lustre_each_way_and_among_the_servers(ground: Ground, api: Api) -> None:
    servers = ground.closed_group("servers")
    wanted: dict[str, Any] = {
        "FileSystemType": "LUSTRE",
        "StorageCapacity": 1200,
        "SubnetIds": [ground.subnet],
        "SecurityGroupIds": [servers],
        "LustreConfiguration": {"DeploymentType": "PERSISTENT_2", "PerUnitStorageThroughput": 125},
    }
    fsx = api.client("fsx")
    with pytest.raises(ClientError, match=r"InvalidNetworkSettings.*do not permit Lustre LNET network traffic"):
        fsx.create_file_system(**wanted)
    first, rest = ({"FromPort": a, "ToPort": b} for a, b in ((LUSTRE[0], LUSTRE[0]), (LUSTRE[1], LUSTRE[-1])))
    ground.let(servers, servers, IpProtocol="tcp", **first)
    made = fsx.create_file_system(**wanted)["FileSystem"]["FileSystemId"]
    ground.let(servers, servers, IpProtocol="tcp", **rest)
    for source, target in ((ground.group, servers), (servers, ground.group)):
        for ports in (first, rest):
            assert api.machines.network.mounts == frozenset()
            ground.let(source, target, IpProtocol="tcp", **ports)
    assert api.machines.network.mounts == {(ground.address, made)}


def test_an_agent_without_a_way_to_ssm_is_not_online(api: Api) -> None:
    reached, lost = api.instance(managed=True), None
    ssm, ec2 = api.client("ssm"), api.client("ec2")

    def online() -> list[str]:
        return [each["InstanceId"] for each in ssm.describe_instance_information()["InstanceInformationList"]]

    assert online() == [reached["InstanceId"]]
    for endpoint in ec2.describe_vpc_endpoints()["VpcEndpoints"]:
        if endpoint["ServiceName"].endswith(".ssmmessages"):
            lost = endpoint["VpcEndpointId"]
    ec2.delete_vpc_endpoints(VpcEndpointIds=[lost])
    assert online() == []
    with pytest.raises(ssm.exceptions.InvalidInstanceId):
        ssm.send_command(
            InstanceIds=[reached["InstanceId"]], DocumentName="AWS-RunShellScript", Parameters={"commands": ["true"]}
        )
