"""The ground of a cluster: its key, its network, its ways to AWS, and who may talk to whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aws_cdk as cdk
from constructs import Construct

from infra.config.schema import ClusterFile
from infra.constructs.encryption import Encryption
from infra.constructs.endpoints import Endpoints
from infra.constructs.flow_logs import FlowLogs
from infra.constructs.logs import log_group
from infra.constructs.naming import flow_log_group
from infra.constructs.private_network import PrivateNetwork
from infra.constructs.security_groups import SecurityGroups


class NetworkStack(cdk.Stack):
    """dure-NAME-network. `subnets` maps each zone id to its private subnet."""

    def __init__(self, scope: Construct, id: str, *, cluster: ClusterFile, **options: Any) -> None:
        super().__init__(scope, id, **options)
        spot = any(queue.market == "spot" for queue in cluster.queues)
        self.key_arn = Encryption(self, "Encryption", cluster=cluster.name, spot=spot).arn
        given = cluster.network
        if given.vpc_id is not None:
            self.vpc_id: str = given.vpc_id
            self.subnets: Mapping[str, str] = {zone: given.subnets[zone] for zone in cluster.zones}
            self.groups = SecurityGroups(self, "Groups", cluster=cluster.name, vpc_id=self.vpc_id)
            return
        network = PrivateNetwork(
            self, "Network", cluster=cluster.name, cidr=given.cidr, zones=cluster.zones, nat=given.nat
        )
        self.vpc_id, self.subnets = network.vpc_id, network.subnets
        self.groups = SecurityGroups(self, "Groups", cluster=cluster.name, vpc_id=self.vpc_id)
        Endpoints(
            self,
            "Endpoints",
            cluster=cluster.name,
            vpc_id=self.vpc_id,
            subnet_ids=[self.subnets[zone] for zone in cluster.zones],
            route_table_id=network.route_table.ref,
            security_group_id=self.groups.endpoints.attr_group_id,
        )
        if given.flow_logs:
            self._flow_logs(cluster)

    def _flow_logs(self, cluster: ClusterFile) -> None:
        group = log_group(
            self,
            "FlowLogGroup",
            cluster=cluster.name,
            name=flow_log_group(cluster.name),
            key_arn=self.key_arn,
            retention_days=cluster.monitoring.log_retention_days,
        )
        FlowLogs(self, "FlowLogs", cluster=cluster.name, vpc_id=self.vpc_id, group=group)
