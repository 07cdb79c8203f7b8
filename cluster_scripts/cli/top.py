"""`dure top`: what every node and every running job does now, from CloudWatch."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cluster_scripts.backends.aws.cluster import AwsCluster
from cluster_scripts.backends.aws.metrics import Point, Query, newest
from cluster_scripts.backends.choose import open_aws
from cluster_scripts.cli.options import add_json, add_target, parser, target_of, whole
from cluster_scripts.cli.output import print_json, terminal_width, utc_now
from cluster_scripts.cli.table import Column, cut, render
from cluster_scripts.cli.wording import count, run_time, state_text
from cluster_scripts.jobs.model import RUNNING, Job, Node
from monitoring.catalog import HEAD_NODE, METRICS

# Periods that GetMetricData takes for values kept by the second; those kept by the minute have multiples of 60 only.
# Source: its API reference
SHORT_PERIODS = (1, 5, 10, 20, 30)
# older values say nothing about now
WINDOW = timedelta(minutes=3)

NODE_METRICS = ("cpu_utilization", "memory_utilization", "gpu_utilization", "gpu_memory_utilization")
JOB_METRICS = ("step", "loss", "records_per_second", "tokens_per_second")

NODE_COLUMNS = (
    Column("NODE"),
    Column("STATE"),
    Column("JOBS", keep=1, shrink=4),
    Column("CPU %", right=True),
    Column("MEM %", right=True),
    Column("GPU %", right=True),
    Column("GPU MEM %", keep=2, right=True),
    Column("TYPE", keep=3),
    Column("INSTANCE", keep=4),
)
JOB_COLUMNS = (
    Column("JOB", right=True),
    Column("NAME", shrink=8),
    Column("NODES", keep=1, right=True),
    Column("RAN", right=True),
    Column("STEP", right=True),
    Column("LOSS", right=True),
    Column("RECORDS/S", right=True),
    Column("TOKENS/S", keep=2, right=True),
)
_CLEAR = "\x1b[H\x1b[2J"


@dataclass(frozen=True)
class View:
    """All that one look at the cluster shows."""

    cluster: str
    time: datetime
    nodes: tuple[tuple[Node, dict[str, float | None]], ...]
    jobs: tuple[tuple[Job, dict[str, float | None]], ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "cluster": self.cluster,
            "time": self.time.isoformat(timespec="seconds"),
            "nodes": [{**node.to_json(), "metrics": metrics} for node, metrics in self.nodes],
            "jobs": [{**job.to_json(), "metrics": metrics} for job, metrics in self.jobs],
        }


def run(argv: Sequence[str]) -> int:
    to = parser("top", "Watch CPU, memory and GPU of every node, and loss and speed of every running job.")
    to.add_argument("--once", action="store_true", help="print once and end (implied when stdout is no terminal)")
    to.add_argument("--every", type=whole(1, 3600), default=5, metavar="SECONDS", help="how often to look (5)")
    to.add_argument("--all", action="store_true", help="nodes without a machine too")
    add_target(to, ssh=False)
    add_json(to)
    options = to.parse_args(argv)
    cluster = open_aws(target_of(options))
    if options.once or options.json or not sys.stdout.isatty():
        view = look(cluster, now=utc_now(), everything=options.all)
        if options.json:
            print_json(view.to_json())
        else:
            print("\n".join(lines(view, width=terminal_width())))
        return 0
    return _watch(cluster, options)


def _watch(cluster: AwsCluster, options: Namespace) -> int:
    try:
        while True:
            view = look(cluster, now=utc_now(), everything=options.all)
            sys.stdout.write(_CLEAR + "\n".join([*lines(view, width=terminal_width()), "", "ctrl-C ends it"]) + "\n")
            sys.stdout.flush()
            time.sleep(options.every)
    except KeyboardInterrupt:
        return 0


def look(cluster: AwsCluster, *, now: datetime, everything: bool) -> View:
    """Ask the head for nodes and jobs, and CloudWatch for their newest figures."""
    nodes = [node for node in cluster.nodes() if everything or node.instance_id]
    jobs = [job for job in cluster.jobs() if job.state == RUNNING]
    queries = [query for name in [HEAD_NODE, *(n.name for n in nodes)] for query in node_queries(cluster.name, name)]
    queries += [query for job in jobs for query in job_queries(cluster.name, job.id)]
    namespace = cluster.facts.metrics_namespace
    period = period_of(cluster.facts.monitoring.interval_seconds)
    points = newest(cluster.aws, namespace, queries, now=now, period=period, window=WINDOW)
    head = _head_node()
    return View(
        cluster=cluster.name,
        time=now,
        nodes=tuple((node, _figures(node.name, NODE_METRICS, points)) for node in [head, *nodes]),
        jobs=tuple((job, _figures(f"job {job.id}", JOB_METRICS, points)) for job in jobs),
    )


def period_of(interval_seconds: int) -> int:
    """The shortest period in which an agent that sends so often has a value."""
    return next((period for period in SHORT_PERIODS if period >= interval_seconds), 60)


def node_queries(cluster: str, node: str) -> list[Query]:
    """The queries for one machine's row."""
    return [_query(metric, f"{node} {metric}", {"Cluster": cluster, "Node": node}) for metric in NODE_METRICS]


def job_queries(cluster: str, job_id: str) -> list[Query]:
    """The queries for one job's row."""
    return [_query(metric, f"job {job_id} {metric}", {"Cluster": cluster, "Job": job_id}) for metric in JOB_METRICS]


def _query(metric: str, label: str, dimensions: dict[str, str]) -> Query:
    return Query(label=label, metric=metric, dimensions=dimensions, statistic=METRICS[metric].statistic)


def _figures(owner: str, metrics: Sequence[str], points: dict[str, Point]) -> dict[str, float | None]:
    return {metric: points[label].value if (label := f"{owner} {metric}") in points else None for metric in metrics}


def _head_node() -> Node:
    """The head as a row: it is no node of Slurm's, but it has figures."""
    return Node(
        name=HEAD_NODE,
        queue="",
        state="up",
        instance_id="",
        instance_type="",
        zone="",
        reason="",
        job_ids=(),
        cpus=0,
        gpus=0,
    )


def lines(view: View, *, width: int | None) -> list[str]:
    """The view as text, as wide as given."""
    when = view.time.astimezone().strftime("%H:%M:%S")
    text = [
        f"cluster {view.cluster} at {when}: {count(len(view.nodes) - 1, 'node')} up, "
        f"{count(len(view.jobs), 'job')} running",
        "",
    ]
    text += render(NODE_COLUMNS, [_node_row(*item) for item in view.nodes], width=width)
    if view.jobs:
        text += ["", *render(JOB_COLUMNS, [_job_row(*item, now=view.time) for item in view.jobs], width=width)]
    return text if width is None else [cut(line, width) for line in text]


def _node_row(node: Node, metrics: dict[str, float | None]) -> list[str]:
    shares = [_number(metrics[name], 0) for name in NODE_METRICS]
    owner = [node.name, state_text(node.state), ",".join(node.job_ids) or "-"]
    return [*owner, *shares, node.instance_type or "-", node.instance_id or "-"]


def _job_row(job: Job, metrics: dict[str, float | None], *, now: datetime) -> list[str]:
    owner = [job.id, job.name, str(job.node_count), run_time(job, now=now)]
    digits = {"step": 0, "loss": 4, "records_per_second": 2, "tokens_per_second": 0}
    return [*owner, *(_number(metrics[name], digits[name]) for name in JOB_METRICS)]


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
