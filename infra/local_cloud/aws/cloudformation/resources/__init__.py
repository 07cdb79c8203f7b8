"""The resource types that the local cloud models, a file a service; `REGISTRY` holds them all."""

from infra.local_cloud.aws.cloudformation.registry import Registry
from infra.local_cloud.aws.cloudformation.resources import (
    budgets,
    ec2_instances,
    ec2_network,
    ec2_security,
    fsx,
    iam,
    logs,
    monitoring,
    s3,
    secrets,
    ssm,
)

REGISTRY = Registry()
for _module in (budgets, ec2_network, ec2_security, ec2_instances, fsx, iam, logs, monitoring, s3, secrets, ssm):
    _module.register(REGISTRY)

__all__ = ["REGISTRY"]
