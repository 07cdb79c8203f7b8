"""The one place that chooses the way in to a cluster: ssh when a host is named, else AWS.

An adapter's module is imported only when it is chosen: boto3 and paramiko are slow to load.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster_scripts.backends.reached import ReachedCluster

if TYPE_CHECKING:
    from cluster_scripts.backends.aws.cluster import AwsCluster


@dataclass(frozen=True)
class Target:
    """Which cluster is meant.

    cluster: its name, None for the only one in the region. region: None for the configured one.
    ssh: [USER@]HOST[:PORT] of an existing Slurm cluster's login machine, None for a cluster on AWS.
    """

    cluster: str | None = None
    region: str | None = None
    ssh: str | None = None


def open_cluster(target: Target) -> ReachedCluster:
    """Connect. Raises RequestError for an impossible target, and any OtherSide."""
    if target.ssh is not None:
        from cluster_scripts.backends.ssh.cluster import SshCluster

        return SshCluster.open(target.ssh)
    return open_aws(target)


def open_aws(target: Target) -> AwsCluster:
    """Connect to a cluster on AWS, for what only one there has (metrics, a bucket)."""
    from cluster_scripts.backends.aws.cluster import AwsCluster
    from cluster_scripts.backends.aws.facts import only_cluster
    from cluster_scripts.backends.aws.session import open_session

    aws = open_session(target.region)
    return AwsCluster.open(aws, target.cluster or only_cluster(aws))
