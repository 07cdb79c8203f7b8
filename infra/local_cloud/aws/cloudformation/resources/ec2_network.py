"""VPCs, subnets, routes, endpoints, gateways and flow logs."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from botocore.exceptions import ClientError

from infra.local_cloud.aws.cloudformation.registry import Context, Made, Properties, Registry
from infra.local_cloud.aws.errors import AwsError


def tag_specs(context: Context, kind: str, properties: Properties) -> dict[str, Any]:
    """TagSpecifications for a create call, left out when there are no tags."""
    tags = context.tags(properties.get("Tags"))
    return {"TagSpecifications": [{"ResourceType": kind, "Tags": tags}]} if tags else {}


def pick(properties: Properties, names: str) -> dict[str, Any]:
    """Those of the named properties that are given."""
    return {name: properties[name] for name in names.split() if name in properties}


def retag(context: Context, identity: str, old: Properties, new: Properties) -> None:
    """Make an EC2 resource's tags what the new properties say."""
    ec2 = context.client("ec2")
    wanted = context.tags(new.get("Tags"))
    keys = {tag["Key"] for tag in wanted}
    gone = [{"Key": tag["Key"]} for tag in old.get("Tags", []) if tag["Key"] not in keys]
    if gone:
        ec2.delete_tags(Resources=[identity], Tags=gone)
    if wanted:
        ec2.create_tags(Resources=[identity], Tags=wanted)


def only_tags(context: Context, made: Made, old: Properties, new: Properties) -> Made:
    """An update for types whose tags alone can change in place; anything else is said, not dropped."""
    changed = {key for key in {*old, *new} if old.get(key) != new.get(key)} - {"Tags"}
    if changed:
        raise AwsError(
            "NotImplemented", f"the local cloud cannot change {', '.join(sorted(changed))} in place (AWS can)"
        )
    retag(context, made.physical_id, old, new)
    return made


# ---- VPC


def _vpc_attributes(context: Context, identity: str, properties: Properties) -> None:
    for name in ("EnableDnsSupport", "EnableDnsHostnames"):
        if name in properties:
            context.client("ec2").modify_vpc_attribute(VpcId=identity, **{name: {"Value": properties[name]}})


def _create_vpc(context: Context, properties: Properties) -> Made:
    ec2 = context.client("ec2")
    vpc = ec2.create_vpc(**pick(properties, "CidrBlock InstanceTenancy"), **tag_specs(context, "vpc", properties))[
        "Vpc"
    ]
    identity = vpc["VpcId"]
    context.exists(identity)
    _vpc_attributes(context, identity, properties)
    of_vpc = [{"Name": "vpc-id", "Values": [identity]}]
    group = ec2.describe_security_groups(Filters=[*of_vpc, {"Name": "group-name", "Values": ["default"]}])
    acl = ec2.describe_network_acls(Filters=[*of_vpc, {"Name": "default", "Values": ["true"]}])
    return Made(
        identity,
        {
            "VpcId": identity,
            "CidrBlock": vpc["CidrBlock"],
            "CidrBlockAssociations": [],
            "Ipv6CidrBlocks": [],
            "DefaultSecurityGroup": group["SecurityGroups"][0]["GroupId"],
            "DefaultNetworkAcl": acl["NetworkAcls"][0]["NetworkAclId"],
        },
    )


def _update_vpc(context: Context, made: Made, old: Properties, new: Properties) -> Made:
    _vpc_attributes(context, made.physical_id, new)
    retag(context, made.physical_id, old, new)
    return made


def _delete_vpc(context: Context, made: Made, properties: Properties) -> None:
    context.client("ec2").delete_vpc(VpcId=made.physical_id)


# ---- subnets


def _create_subnet(context: Context, properties: Properties) -> Made:
    ec2 = context.client("ec2")
    subnet = ec2.create_subnet(
        **pick(properties, "VpcId CidrBlock AvailabilityZone AvailabilityZoneId"),
        **tag_specs(context, "subnet", properties),
    )["Subnet"]
    _subnet_attributes(context, subnet["SubnetId"], properties)
    return Made(
        subnet["SubnetId"],
        {
            "SubnetId": subnet["SubnetId"],
            "AvailabilityZone": subnet["AvailabilityZone"],
            "AvailabilityZoneId": subnet["AvailabilityZoneId"],
            "CidrBlock": subnet["CidrBlock"],
            "VpcId": subnet["VpcId"],
            "Ipv6CidrBlocks": [],
        },
    )


def _subnet_attributes(context: Context, identity: str, properties: Properties) -> None:
    if "MapPublicIpOnLaunch" in properties:
        context.client("ec2").modify_subnet_attribute(
            SubnetId=identity, MapPublicIpOnLaunch={"Value": properties["MapPublicIpOnLaunch"]}
        )


def _update_subnet(context: Context, made: Made, old: Properties, new: Properties) -> Made:
    _subnet_attributes(context, made.physical_id, new)
    retag(context, made.physical_id, old, new)
    return made


def _delete_subnet(context: Context, made: Made, properties: Properties) -> None:
    context.client("ec2").delete_subnet(SubnetId=made.physical_id)


# ---- routes


def _create_route_table(context: Context, properties: Properties) -> Made:
    table = context.client("ec2").create_route_table(
        VpcId=properties["VpcId"], **tag_specs(context, "route-table", properties)
    )["RouteTable"]
    return Made(table["RouteTableId"], {"RouteTableId": table["RouteTableId"]})


def _delete_route_table(context: Context, made: Made, properties: Properties) -> None:
    context.client("ec2").delete_route_table(RouteTableId=made.physical_id)


def _create_association(context: Context, properties: Properties) -> Made:
    identity = context.client("ec2").associate_route_table(**pick(properties, "RouteTableId SubnetId"))["AssociationId"]
    return Made(identity, {"Id": identity})


def _delete_association(context: Context, made: Made, properties: Properties) -> None:
    context.client("ec2").disassociate_route_table(AssociationId=made.physical_id)


def _create_route(context: Context, properties: Properties) -> Made:
    context.client("ec2").create_route(**properties)
    destination = properties["DestinationCidrBlock"]
    return Made(f"{properties['RouteTableId']}|{destination}", {"CidrBlock": destination})


def _delete_route(context: Context, made: Made, properties: Properties) -> None:
    context.client("ec2").delete_route(**pick(properties, "RouteTableId DestinationCidrBlock"))


# ---- gateways


def _create_gateway(context: Context, properties: Properties) -> Made:
    made = context.client("ec2").create_internet_gateway(**tag_specs(context, "internet-gateway", properties))
    identity = made["InternetGateway"]["InternetGatewayId"]
    return Made(identity, {"InternetGatewayId": identity})


def _delete_gateway(context: Context, made: Made, properties: Properties) -> None:
    context.client("ec2").delete_internet_gateway(InternetGatewayId=made.physical_id)


def _attach_gateway(context: Context, properties: Properties) -> Made:
    context.client("ec2").attach_internet_gateway(**pick(properties, "VpcId InternetGatewayId"))
    return Made(f"IGW|{properties['VpcId']}", {"AttachmentType": "IGW"})


def _detach_gateway(context: Context, made: Made, properties: Properties) -> None:
    context.client("ec2").detach_internet_gateway(**pick(properties, "VpcId InternetGatewayId"))


def _create_address(context: Context, properties: Properties) -> Made:
    found = context.client("ec2").allocate_address(Domain="vpc", **tag_specs(context, "elastic-ip", properties))
    return Made(found["PublicIp"], {"AllocationId": found["AllocationId"], "PublicIp": found["PublicIp"]})


def _delete_address(context: Context, made: Made, properties: Properties) -> None:
    context.client("ec2").release_address(AllocationId=made.attributes["AllocationId"])


def _create_nat(context: Context, properties: Properties) -> Made:
    found = context.client("ec2").create_nat_gateway(
        **pick(properties, "SubnetId AllocationId ConnectivityType"), **tag_specs(context, "natgateway", properties)
    )["NatGateway"]
    return Made(found["NatGatewayId"], {"NatGatewayId": found["NatGatewayId"]})


def _delete_nat(context: Context, made: Made, properties: Properties) -> None:
    ec2 = context.client("ec2")
    gateway = ec2.describe_nat_gateways(NatGatewayIds=[made.physical_id])["NatGateways"]
    ec2.delete_nat_gateway(NatGatewayId=made.physical_id)
    for address in gateway[0].get("NatGatewayAddresses", []) if gateway else []:
        # moto leaves the gateway's interface behind, which would keep the subnet
        with contextlib.suppress(ClientError):
            ec2.delete_network_interface(NetworkInterfaceId=address["NetworkInterfaceId"])


# ---- endpoints and flow logs

_ENDPOINT = "VpcId ServiceName VpcEndpointType RouteTableIds SubnetIds SecurityGroupIds PrivateDnsEnabled"


def _create_endpoint(context: Context, properties: Properties) -> Made:
    policy = {"PolicyDocument": json.dumps(properties["PolicyDocument"])} if "PolicyDocument" in properties else {}
    found = context.client("ec2").create_vpc_endpoint(
        **pick(properties, _ENDPOINT), **policy, **tag_specs(context, "vpc-endpoint", properties)
    )["VpcEndpoint"]
    entries = [f"{entry.get('HostedZoneId', '')}:{entry['DnsName']}" for entry in found.get("DnsEntries", [])]
    return Made(
        found["VpcEndpointId"],
        {
            "Id": found["VpcEndpointId"],
            "DnsEntries": entries,
            "NetworkInterfaceIds": found.get("NetworkInterfaceIds", []),
        },
    )


def _delete_endpoint(context: Context, made: Made, properties: Properties) -> None:
    context.client("ec2").delete_vpc_endpoints(VpcEndpointIds=[made.physical_id])


_FLOW = "ResourceType TrafficType LogGroupName LogDestination LogDestinationType LogFormat MaxAggregationInterval"


def _create_flow_log(context: Context, properties: Properties) -> Made:
    answer = context.client("ec2").create_flow_logs(
        ResourceIds=[properties["ResourceId"]],
        **pick(properties, _FLOW + " DeliverLogsPermissionArn"),
        **tag_specs(context, "vpc-flow-log", properties),
    )
    if answer.get("Unsuccessful"):
        error = answer["Unsuccessful"][0]["Error"]
        raise AwsError(error["Code"], error["Message"])
    return Made(answer["FlowLogIds"][0], {"Id": answer["FlowLogIds"][0]})


def _delete_flow_log(context: Context, made: Made, properties: Properties) -> None:
    context.client("ec2").delete_flow_logs(FlowLogIds=[made.physical_id])


def register(registry: Registry) -> None:
    """Add this file's types."""
    add = registry.add
    add(
        "AWS::EC2::VPC",
        "CidrBlock InstanceTenancy EnableDnsSupport EnableDnsHostnames Tags",
        create=_create_vpc,
        delete=_delete_vpc,
        update=_update_vpc,
    )
    add(
        "AWS::EC2::Subnet",
        "VpcId CidrBlock AvailabilityZone AvailabilityZoneId MapPublicIpOnLaunch Tags",
        create=_create_subnet,
        delete=_delete_subnet,
        update=_update_subnet,
    )
    add("AWS::EC2::RouteTable", "VpcId Tags", create=_create_route_table, delete=_delete_route_table, update=only_tags)
    add(
        "AWS::EC2::SubnetRouteTableAssociation",
        "RouteTableId SubnetId",
        create=_create_association,
        delete=_delete_association,
    )
    add(
        "AWS::EC2::Route",
        "RouteTableId DestinationCidrBlock GatewayId NatGatewayId VpcEndpointId",
        create=_create_route,
        delete=_delete_route,
    )
    add("AWS::EC2::InternetGateway", "Tags", create=_create_gateway, delete=_delete_gateway, update=only_tags)
    add("AWS::EC2::VPCGatewayAttachment", "VpcId InternetGatewayId", create=_attach_gateway, delete=_detach_gateway)
    add("AWS::EC2::EIP", "Domain Tags", create=_create_address, delete=_delete_address)
    add(
        "AWS::EC2::NatGateway",
        "SubnetId AllocationId ConnectivityType Tags",
        create=_create_nat,
        delete=_delete_nat,
        update=only_tags,
    )
    add(
        "AWS::EC2::VPCEndpoint",
        _ENDPOINT + " PolicyDocument Tags",
        create=_create_endpoint,
        delete=_delete_endpoint,
        update=only_tags,
    )
    add(
        "AWS::EC2::FlowLog",
        _FLOW + " ResourceId DeliverLogsPermissionArn Tags",
        create=_create_flow_log,
        delete=_delete_flow_log,
        update=only_tags,
    )
