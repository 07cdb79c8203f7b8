"""A network of the cluster's own: one private subnet a zone, and no way in."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence

from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from infra.constructs.naming import tags

SUBNET_PREFIX = 20


class PrivateNetwork(Construct):
    """A VPC with a private subnet in each zone (by zone id) and one route table; with `nat`, a way out as well."""

    def __init__(self, scope: Construct, id: str, *, cluster: str, cidr: str, zones: Sequence[str], nat: bool) -> None:
        super().__init__(scope, id)
        self._cluster = cluster
        self.vpc = ec2.CfnVPC(
            self,
            "Vpc",
            cidr_block=cidr,
            enable_dns_hostnames=True,
            enable_dns_support=True,
            tags=tags(cluster, name=f"dure-{cluster}"),
        )
        self.route_table = ec2.CfnRouteTable(
            self, "Routes", vpc_id=self.vpc.ref, tags=tags(cluster, name=f"dure-{cluster}-private")
        )
        blocks = ipaddress.ip_network(cidr).subnets(new_prefix=SUBNET_PREFIX)
        self.subnets: Mapping[str, str] = {zone: self._subnet(zone, str(next(blocks))) for zone in zones}
        if nat:
            self._way_out(zone=zones[0], block=str(next(blocks)))

    @property
    def vpc_id(self) -> str:
        """The network's id."""
        return self.vpc.ref

    def _subnet(self, zone: str, block: str) -> str:
        subnet = ec2.CfnSubnet(
            self,
            f"Private-{zone}",
            vpc_id=self.vpc.ref,
            cidr_block=block,
            availability_zone_id=zone,
            map_public_ip_on_launch=False,
            tags=tags(self._cluster, name=f"dure-{self._cluster}-{zone}"),
        )
        ec2.CfnSubnetRouteTableAssociation(
            self, f"Route-{zone}", subnet_id=subnet.ref, route_table_id=self.route_table.ref
        )
        return subnet.ref

    def _way_out(self, *, zone: str, block: str) -> None:
        """A NAT gateway in a public subnet of its own; machines still have no public address."""
        gateway = ec2.CfnInternetGateway(self, "Internet", tags=tags(self._cluster))
        attached = ec2.CfnVPCGatewayAttachment(
            self, "InternetAttached", vpc_id=self.vpc.ref, internet_gateway_id=gateway.ref
        )
        public = ec2.CfnSubnet(
            self,
            "Public",
            vpc_id=self.vpc.ref,
            cidr_block=block,
            availability_zone_id=zone,
            map_public_ip_on_launch=False,
            tags=tags(self._cluster, name=f"dure-{self._cluster}-nat"),
        )
        routes = ec2.CfnRouteTable(self, "PublicRoutes", vpc_id=self.vpc.ref, tags=tags(self._cluster))
        ec2.CfnSubnetRouteTableAssociation(self, "PublicRoute", subnet_id=public.ref, route_table_id=routes.ref)
        out = ec2.CfnRoute(
            self, "Out", route_table_id=routes.ref, destination_cidr_block="0.0.0.0/0", gateway_id=gateway.ref
        )
        out.node.add_dependency(attached)
        address = ec2.CfnEIP(self, "NatAddress", domain="vpc", tags=tags(self._cluster))
        nat = ec2.CfnNatGateway(
            self, "Nat", subnet_id=public.ref, allocation_id=address.attr_allocation_id, tags=tags(self._cluster)
        )
        nat.node.add_dependency(out)
        ec2.CfnRoute(
            self,
            "ByNat",
            route_table_id=self.route_table.ref,
            destination_cidr_block="0.0.0.0/0",
            nat_gateway_id=nat.ref,
        )
