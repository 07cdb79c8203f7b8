"""Ways from the private subnets to the AWS services, without the internet."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from infra.constructs.naming import tags

# Service by service: who needs it
INTERFACE_SERVICES = {
    "ec2": "the head launches and ends nodes",
    "ec2messages": "SSM agents before version 3.3 fetch their commands",
    "logs": "job output and the machines' own logs",
    "monitoring": "metrics",
    "secretsmanager": "the munge key",
    "ssm": "facts, and the agent that takes commands",
    "ssmmessages": "the agent's channel",
}


class Endpoints(Construct):
    """A gateway endpoint for S3 and an interface endpoint for each service that the machines call."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        cluster: str,
        vpc_id: str,
        subnet_ids: Sequence[str],
        route_table_id: str,
        security_group_id: str,
    ) -> None:
        super().__init__(scope, id)
        region = cdk.Stack.of(self).region
        ec2.CfnVPCEndpoint(
            self,
            "S3",
            vpc_id=vpc_id,
            service_name=f"com.amazonaws.{region}.s3",
            vpc_endpoint_type="Gateway",
            route_table_ids=[route_table_id],
            tags=tags(cluster, name=f"dure-{cluster}-s3"),
        )
        for service in INTERFACE_SERVICES:
            ec2.CfnVPCEndpoint(
                self,
                service.capitalize(),
                vpc_id=vpc_id,
                service_name=f"com.amazonaws.{region}.{service}",
                vpc_endpoint_type="Interface",
                private_dns_enabled=True,
                subnet_ids=list(subnet_ids),
                security_group_ids=[security_group_id],
                tags=tags(cluster, name=f"dure-{cluster}-{service}"),
            )
