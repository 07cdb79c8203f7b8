"""`dure up`: from a cluster file to a cluster that takes jobs.

Checks the file, says what the cluster costs an hour and what a change does to a live one, deploys the stacks with the
CDK CLI, and waits until the head answers. `cdk deploy --all -c cluster=FILE` does the same deployment without the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cluster_scripts.cli.cluster_file import load
from cluster_scripts.cli.options import parser, whole
from cluster_scripts.cli.update import changes_of, confirm
from cluster_scripts.jobs.errors import OtherSide, Refused

if TYPE_CHECKING:
    from infra.config.schema import ClusterFile

LOGS = Path(".dure/logs")


def run(argv: Sequence[str]) -> int:
    """Exit codes: 0 the cluster takes jobs; 1 the deployment failed; 2 the file is wrong; 3 AWS refused."""
    options_parser = parser("up", __doc__ or "")
    options_parser.add_argument("cluster_file", type=Path)
    options_parser.add_argument(
        "--wait", type=whole(0, 7200), default=900, metavar="SECONDS", help="for the head (900)"
    )
    options_parser.add_argument(
        "--replace", action="store_true", help="also replace the head or data where a change does"
    )
    options = options_parser.parse_args(argv)
    from cluster_scripts.backends.aws.facts import deployed_cluster_file
    from cluster_scripts.backends.aws.session import open_session
    from cluster_scripts.backends.choose import Target, open_cluster
    from cluster_scripts.cli.cdk import run_cdk

    cluster = load(options.cluster_file)
    say_price(cluster)
    aws = open_session(cluster.region)
    new_head = confirm(changes_of(deployed_cluster_file(aws, cluster.name), cluster), replace=options.replace)
    log = LOGS / f"up-{cluster.name}.log"
    if (
        new_head
    ):  # CloudFormation starts a new one before the old one lets go of its interface: so the old one goes first
        without = ["deploy", "--all", "--require-approval", "never", "-c", "head=off"]
        run_cdk(without, cluster_file=options.cluster_file, log=log.with_suffix(".head-off.log"))
    run_cdk(["deploy", "--all", "--require-approval", "never"], cluster_file=options.cluster_file, log=log)
    target = Target(cluster=cluster.name, region=cluster.region)
    seconds = wait_for_head(lambda: open_cluster(target).nodes(), timeout=options.wait)
    print(f"cluster {cluster.name!r} is up; its head answered after {seconds:.0f} s")
    return 0


def say_price(cluster: ClusterFile) -> None:
    """What the cluster costs an hour: as long as it stands, and with every queue full."""
    from infra.config.estimate import costs, total

    price = total(costs(cluster))
    idle, full = (f"{usd:.2f} USD" if usd is not None else "no price known" for usd in (price.idle, price.full))
    print(
        f"cluster {cluster.name!r} in {cluster.region}: {idle} an hour while idle, {full} with every queue full",
        flush=True,
    )


def wait_for_head(
    ask: Callable[[], object],
    *,
    timeout: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> float:
    """Asks until the head answers; returns the seconds that it took.

    Errors: the last OtherSide once `timeout` seconds have passed; Refused at once, since waiting does not cure it.
    """
    started, pause = clock(), 0.5
    while True:
        try:
            ask()
            return clock() - started
        except Refused:
            raise
        except OtherSide:
            if clock() - started > timeout:
                raise
        sleep(pause)
        pause = min(pause * 1.5, 10.0)
