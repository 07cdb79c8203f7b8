"""The dashboard of a cluster. Its body is made by monitoring/dashboards, which is reached by path, not by import."""

from __future__ import annotations

import json
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

BODY = Path("monitoring/dashboards/cluster.py")


class Dashboard(Construct):
    """A CloudWatch dashboard named after the cluster."""

    def __init__(self, scope: Construct, id: str, *, cluster: str, body: dict[str, Any]) -> None:
        super().__init__(scope, id)
        # The body holds the file system's id, which CloudFormation pastes in: it must stay one text
        cloudwatch.CfnDashboard(
            self, "Dashboard", dashboard_name=f"dure-{cluster}", dashboard_body=json.dumps(body, sort_keys=True)
        )


def load_body(
    root: Path,
    *,
    cluster: str,
    region: str,
    queues: Sequence[str],
    nodes: Sequence[str],
    file_system_id: str,
    namespace: str,
    period_seconds: int,
) -> dict[str, Any]:
    """The dashboard's body, from monitoring's pure function `dashboard_body`.

    Errors: FileNotFoundError if the file is not there, KeyError if it has no such function.
    """
    make = runpy.run_path(str(root / BODY))["dashboard_body"]
    body: dict[str, Any] = make(
        cluster=cluster,
        region=region,
        queues=list(queues),
        nodes=list(nodes),
        file_system_id=file_system_id,
        namespace=namespace,
        period_seconds=period_seconds,
    )
    return body
