"""What people look at: the dashboard, and a warning before the bill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aws_cdk as cdk
from constructs import Construct

from infra.config.schema import ClusterFile
from infra.constructs.budget import MonthlyBudget
from infra.constructs.dashboard import Dashboard, load_body
from infra.stacks.cluster import METRICS_NAMESPACE, ClusterStack
from infra.stacks.storage import StorageStack


class MonitoringStack(cdk.Stack):
    """dure-NAME-monitoring."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        cluster: ClusterFile,
        storage: StorageStack,
        machines: ClusterStack,
        root: Path,
        **options: Any,
    ) -> None:
        super().__init__(scope, id, **options)
        file_system_id = storage.lustre.file_system.ref
        body = load_body(
            root,
            cluster=cluster.name,
            region=cluster.region,
            queues=[queue.name for queue in machines.queues],
            nodes=[name for queue in machines.queues for name in queue.node_names()],
            file_system_id=file_system_id,
            namespace=METRICS_NAMESPACE,
            period_seconds=cluster.monitoring.interval_seconds,
        )
        Dashboard(self, "Dashboard", cluster=cluster.name, body=body)
        if cluster.budget is not None:
            MonthlyBudget(
                self,
                "Budget",
                cluster=cluster.name,
                usd=cluster.budget.usd_per_month,
                email=cluster.budget.email,
            )
