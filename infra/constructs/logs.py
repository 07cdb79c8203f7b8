"""A log group that is encrypted, forgets after a while and goes with the cluster."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.constructs.naming import tags


def log_group(
    scope: Construct, id: str, *, cluster: str, name: str, key_arn: str, retention_days: int
) -> logs.CfnLogGroup:
    """A log group of the cluster."""
    group = logs.CfnLogGroup(
        scope,
        id,
        log_group_name=name,
        kms_key_id=key_arn,
        retention_in_days=retention_days,
        tags=tags(cluster),
    )
    group.apply_removal_policy(cdk.RemovalPolicy.DESTROY)
    return group
