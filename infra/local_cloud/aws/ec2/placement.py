"""Placement groups, which moto does not have."""

from __future__ import annotations

import uuid
from typing import Any

from infra.local_cloud.aws.cloud import Cloud
from infra.local_cloud.aws.ec2.table import OPERATIONS, Ec2State, backend, dry_run, tags_of
from infra.local_cloud.aws.errors import AwsError
from infra.local_cloud.aws.operations import Answer, Call

GONE_STATES = frozenset({"terminated"})


def find(cloud: Cloud, region: str, name: str) -> dict[str, Any]:
    """A placement group by name. Raises InvalidPlacementGroup.Unknown."""
    groups = cloud.store(Ec2State, region).placement_groups
    if name not in groups:
        raise AwsError("InvalidPlacementGroup.Unknown", f"The Placement Group '{name}' is unknown.")
    return groups[name]


@OPERATIONS.add("CreatePlacementGroup")
def create_placement_group(cloud: Cloud, call: Call) -> Answer:
    dry_run(call.params)
    name = call.params.get("GroupName")
    if not name:
        raise AwsError("MissingParameter", "The request must contain the parameter GroupName")
    groups = cloud.store(Ec2State, call.region).placement_groups
    if name in groups:
        raise AwsError("InvalidPlacementGroup.Duplicate", f"The Placement Group '{name}' already exists.")
    identity = f"pg-{uuid.uuid4().hex[:17]}"
    groups[name] = {
        "GroupName": name,
        "GroupId": identity,
        "Strategy": call.params.get("Strategy", "cluster"),
        "State": "available",
        "PartitionCount": call.params.get("PartitionCount"),
        "SpreadLevel": call.params.get("SpreadLevel"),
        "GroupArn": cloud.arn("ec2", call.region, f"placement-group/{name}"),
        "Tags": [{"Key": k, "Value": v} for k, v in tags_of(call.params, "placement-group").items()],
    }
    return {"PlacementGroup": groups[name]}


@OPERATIONS.add("DescribePlacementGroups")
def describe_placement_groups(cloud: Cloud, call: Call) -> Answer:
    rows = list(cloud.store(Ec2State, call.region).placement_groups.values())
    for name in call.params.get("GroupNames", []):
        find(cloud, call.region, name)
    if call.params.get("GroupNames"):
        rows = [row for row in rows if row["GroupName"] in call.params["GroupNames"]]
    if call.params.get("GroupIds"):
        rows = [row for row in rows if row["GroupId"] in call.params["GroupIds"]]
    for item in call.params.get("Filters", []):
        rows = [row for row in rows if _value(row, item["Name"]) in item.get("Values", [])]
    return {"PlacementGroups": rows}


def _value(row: dict[str, Any], name: str) -> str | None:
    fields = {"group-name": "GroupName", "group-arn": "GroupArn", "state": "State", "strategy": "Strategy"}
    if name.startswith("tag:"):
        return next((tag["Value"] for tag in row["Tags"] if tag["Key"] == name[4:]), None)
    if name not in fields:
        raise AwsError("InvalidParameterValue", f"The filter '{name}' is invalid")
    return str(row[fields[name]])


@OPERATIONS.add("DeletePlacementGroup")
def delete_placement_group(cloud: Cloud, call: Call) -> Answer:
    dry_run(call.params)
    name = call.params["GroupName"]
    find(cloud, call.region, name)
    users = [
        i.id
        for i in backend(call.region).all_instances()
        if i.placement.group_name == name and i.state not in GONE_STATES
    ]
    if users:
        raise AwsError(
            "InvalidPlacementGroup.InUse", f"The placement group {name} is in use and may not be deleted: {users}"
        )
    del cloud.store(Ec2State, call.region).placement_groups[name]
    return {}
