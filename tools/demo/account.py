"""What the account says of the demo's machines: how many compute nodes were launched, and how many are terminated."""

from __future__ import annotations

import os
from collections.abc import Mapping

from cluster_scripts.backends.aws.machines import instances
from cluster_scripts.backends.aws.session import open_session


def compute_nodes(cluster: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Instance id -> state of every compute node that EC2 still lists (terminated ones for an hour)."""
    os.environ.update({k: v for k, v in environment.items() if k.startswith("AWS_")})
    found = instances(open_session(), cluster, role="compute")
    return {instance["InstanceId"]: str(instance["State"]["Name"]) for instance in found}
