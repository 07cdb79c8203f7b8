"""A network as an account has it before there is a cluster: private subnets, and endpoints for what machines call."""

from __future__ import annotations

from typing import Any

from infra.config.schema import ClusterFile, Network

CIDR = "10.77.0.0/16"
# What the rule given-endpoints asks for, beside s3
SERVICES = ("ec2", "ec2messages", "logs", "monitoring", "secretsmanager", "ssm", "ssmmessages")


def given_network(ec2: Any, cluster: ClusterFile) -> Network:
    """Makes one for the zones of a cluster file, and says it in the file's words. `ec2`: a client of its region."""
    vpc = ec2.create_vpc(CidrBlock=CIDR)["Vpc"]["VpcId"]
    for attribute in ("EnableDnsSupport", "EnableDnsHostnames"):
        ec2.modify_vpc_attribute(VpcId=vpc, **{attribute: {"Value": True}})
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    subnets = {}
    for index, zone in enumerate(cluster.zones):
        made = ec2.create_subnet(VpcId=vpc, AvailabilityZoneId=zone, CidrBlock=f"10.77.{16 * index}.0/20")
        subnets[zone] = made["Subnet"]["SubnetId"]
        ec2.associate_route_table(RouteTableId=table, SubnetId=subnets[zone])
    group = ec2.create_security_group(GroupName="endpoints", Description="HTTPS from inside", VpcId=vpc)["GroupId"]
    https = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": CIDR}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[https])
    where = f"com.amazonaws.{cluster.region}"
    ec2.create_vpc_endpoint(VpcId=vpc, ServiceName=f"{where}.s3", VpcEndpointType="Gateway", RouteTableIds=[table])
    for service in SERVICES:
        ec2.create_vpc_endpoint(
            VpcId=vpc,
            ServiceName=f"{where}.{service}",
            VpcEndpointType="Interface",
            PrivateDnsEnabled=True,
            SubnetIds=list(subnets.values()),
            SecurityGroupIds=[group],
        )
    return Network(vpc_id=vpc, subnets=subnets)
