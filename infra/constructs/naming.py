"""The names and tags that a cluster's resources carry."""

from __future__ import annotations

from collections.abc import Mapping

import aws_cdk as cdk


def tags(cluster: str, *, role: str = "", name: str = "", extra: Mapping[str, str] | None = None) -> list[cdk.CfnTag]:
    """The tags of a resource, sorted by key; the cluster's name is always among them."""
    values = {**(extra or {}), "dure:cluster": cluster}
    if role:
        values["dure:role"] = role
    if name:
        values["Name"] = name
    return [cdk.CfnTag(key=key, value=values[key]) for key in sorted(values)]


def jobs_log_group(cluster: str) -> str:
    """The log group of the jobs' output."""
    return f"/dure/{cluster}/jobs"


def nodes_log_group(cluster: str) -> str:
    """The log group of what the machines say of themselves."""
    return f"/dure/{cluster}/nodes"


def flow_log_group(cluster: str) -> str:
    """The log group of the network's connections."""
    return f"/dure/{cluster}/flow"
