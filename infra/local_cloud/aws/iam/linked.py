"""Service-linked roles: the names that AWS gives them, where moto makes up another."""

from __future__ import annotations

from moto.iam.models import SERVICE_NAME_CONVERSION

from infra.local_cloud.aws.cloud import Cloud
from infra.local_cloud.aws.errors import NotModelled
from infra.local_cloud.aws.operations import Call

# Source: the guides of EC2 Spot, FSx and CloudWatch, service-linked roles. By the service's first name
NAMES = {"spot": "EC2Spot", "fsx": "AmazonFSx", "autoscaling": "AutoScaling", "events": "CloudWatchEvents"}


def know_linked_role(cloud: Cloud, call: Call) -> None:
    """Before CreateServiceLinkedRole: tell moto the role's name. Raises NotModelled where it would guess one."""
    service = call.params["AWSServiceName"]
    name = service.removesuffix(".amazonaws.com")
    if name not in NAMES or name == service:
        raise NotModelled(f"the service-linked role of {service}")
    SERVICE_NAME_CONVERSION[name] = NAMES[name]
