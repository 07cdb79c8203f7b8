"""Puts the stacks of one cluster into a CDK app."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aws_cdk as cdk

from infra.config.schema import ClusterFile
from infra.stacks.cluster import ClusterStack
from infra.stacks.monitoring import MonitoringStack
from infra.stacks.network import NetworkStack
from infra.stacks.storage import StorageStack


@dataclass(frozen=True)
class Stacks:
    """The stacks of a cluster, in the order in which they are deployed."""

    network: NetworkStack
    storage: StorageStack
    cluster: ClusterStack
    monitoring: MonitoringStack


def assemble(app: cdk.App, cluster: ClusterFile, *, root: Path, account: str | None, head: bool = True) -> Stacks:
    """Add the stacks of a cluster to an app.

    `root` is the folder that holds the toolkit's packages (they are bundled for the machines); `account` may be
    None, the templates then work in any account; `head` false leaves the head out, to replace it (see ClusterStack).
    """
    # A stack refuses to change what another one still uses. Said here, so that every way to this function agrees
    app.node.set_context("@aws-cdk/core:defaultCrossStackReferences", "strong")
    for key, value in sorted({**cluster.tags, "dure:cluster": cluster.name}.items()):
        cdk.Tags.of(app).add(key, value)

    def options(what: str) -> dict[str, Any]:
        return {
            "stack_name": f"dure-{cluster.name}-{what}",
            "description": f"Dure cluster {cluster.name}: {what}",
            "env": cdk.Environment(account=account, region=cluster.region),
            "termination_protection": cluster.protect,
        }

    name = f"dure-{cluster.name}"
    network = NetworkStack(app, f"{name}-network", cluster=cluster, **options("network"))
    storage = StorageStack(app, f"{name}-storage", cluster=cluster, network=network, **options("storage"))
    machines = ClusterStack(
        app,
        f"{name}-cluster",
        cluster=cluster,
        network=network,
        storage=storage,
        root=root,
        head=head,
        **options("cluster"),
    )
    monitoring = MonitoringStack(
        app,
        f"{name}-monitoring",
        cluster=cluster,
        storage=storage,
        machines=machines,
        root=root,
        **options("monitoring"),
    )
    return Stacks(network=network, storage=storage, cluster=machines, monitoring=monitoring)
