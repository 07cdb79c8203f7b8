"""What the account says of the demo's machines: how many compute nodes were launched, and how many are terminated."""

from __future__ import annotations

import os
from collections.abc import Mapping

from cluster_scripts.backends.aws.head import CLUSTER_TAG, ROLE_TAG
from cluster_scripts.backends.aws.session import open_session


def compute_nodes(cluster: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Instance id -> state of every compute node that EC2 still lists (terminated ones for an hour)."""
    os.environ.update({k: v for k, v in environment.items() if k.startswith("AWS_")})
    aws = open_session()
    filters = [{"Name": f"tag:{CLUSTER_TAG}", "Values": [cluster]}, {"Name": f"tag:{ROLE_TAG}", "Values": ["compute"]}]
    pages = aws.ec2.get_paginator("describe_instances").paginate(Filters=filters)  # type: ignore[arg-type]
    return {
        instance["InstanceId"]: str(instance["State"]["Name"])
        for page in pages
        for reservation in page["Reservations"]
        for instance in reservation["Instances"]
    }
