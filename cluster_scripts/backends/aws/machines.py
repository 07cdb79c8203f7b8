"""Which EC2 instances are a cluster's: found by the tags that its launch templates give them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from cluster_scripts.backends.aws.session import Aws

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import FilterTypeDef, InstanceTypeDef

CLUSTER_TAG = "dure:cluster"
ROLE_TAG = "dure:role"

#: States in which an instance still is something; a terminated one stays listed for an hour.
EXISTING = ("pending", "running", "shutting-down", "stopping", "stopped")


def instances(
    aws: Aws, cluster: str, *, role: str | None = None, states: Sequence[str] = ()
) -> Iterator[InstanceTypeDef]:
    """The cluster's instances as EC2 describes them, in its order. `role`: head or compute; `states`: all when empty.

    Errors: botocore's; the caller translates them with what it was doing.
    """
    filters: list[FilterTypeDef] = [{"Name": f"tag:{CLUSTER_TAG}", "Values": [cluster]}]
    if role:
        filters.append({"Name": f"tag:{ROLE_TAG}", "Values": [role]})
    if states:
        filters.append({"Name": "instance-state-name", "Values": list(states)})
    for page in aws.ec2.get_paginator("describe_instances").paginate(Filters=filters):
        for reservation in page["Reservations"]:
            yield from reservation.get("Instances", ())
