"""The CDK app: loads the cluster file (-c cluster=PATH, else cluster.yaml) and assembles the stacks.

`-c head=off` leaves the head out, to replace it with the deployment after.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import aws_cdk as cdk

from infra.config.loader import load_cluster
from infra.config.problems import ClusterFileError
from infra.stacks.assemble import assemble


def main() -> int:
    """Synthesize the app. Exit code 2, and every problem on standard error, if the cluster file is wrong."""
    app = cdk.App(analytics_reporting=False)
    path = app.node.try_get_context("cluster") or "cluster.yaml"
    try:
        cluster = load_cluster(Path(path))
    except ClusterFileError as error:
        print(error, file=sys.stderr)
        return 2
    account = os.environ.get("CDK_DEFAULT_ACCOUNT")
    head = app.node.try_get_context("head") != "off"
    assemble(app, cluster, root=Path(__file__).parent, account=account, head=head)
    app.synth()
    return 0


if __name__ == "__main__":
    sys.exit(main())
