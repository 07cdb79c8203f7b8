"""`dure cost`: what a cluster file costs, by queue, an hour and a month, or for one job; and what else would do.

Prices are the catalog's, with its dates, and need no AWS. Spot has no price of its own there: it counts as on-demand,
its upper bound. What has no price says so, and is in no sum.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster_scripts.cli.cluster_file import load
from cluster_scripts.cli.options import add_json, parser, whole
from cluster_scripts.cli.output import print_json
from cluster_scripts.jobs.errors import InvalidArgument

if TYPE_CHECKING:
    from infra.config.bill import JobBill, Other, QueueBill
    from infra.config.estimate import Cost
    from infra.config.schema import ClusterFile, Queue

NO_PRICE = "no price"


def run(argv: Sequence[str]) -> int:
    """Exit codes: 0 done; 2 the file or the request is wrong."""
    to = parser("cost", __doc__ or "")
    to.add_argument("file", nargs="?", default="cluster.yaml", metavar="FILE", type=Path, help="default: cluster.yaml")
    job = to.add_argument_group("the price of a job")
    job.add_argument("--hours", type=_hours, metavar="H", help="how long it runs")
    job.add_argument("--nodes", type=whole(1, 1000), metavar="N", help="its nodes (all of the queue)")
    job.add_argument("--queue", metavar="QUEUE", help="its queue (the only one)")
    add_json(to)
    options = to.parse_args(argv)
    if options.hours is None and (options.nodes is not None or options.queue is not None):
        to.error("--nodes and --queue say what job is meant: give its --hours too")
    from infra.config.bill import queue_bill, standing

    cluster = load(options.file)
    job_of = _job(cluster, options) if options.hours is not None else None
    queues = [queue_bill(cluster, queue) for queue in cluster.queues]
    if options.json:
        print_json(_answer(cluster, queues, standing(cluster), job_of))
    else:
        _print(cluster, queues, standing(cluster))
        if job_of is not None:
            _print_job(job_of)
    return 0


def _hours(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 87_600:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of hours above 0 (and at most ten years)")
    return value


def _job(cluster: ClusterFile, options: argparse.Namespace) -> JobBill:
    from infra.config.bill import job_bill

    queue = _queue(cluster, options.queue)
    nodes = options.nodes or queue.max
    if nodes > queue.max:
        raise InvalidArgument(f"queue {queue.name} has at most {queue.max} nodes, not {nodes}")
    return job_bill(cluster, queue, nodes=nodes, hours=options.hours)


def _queue(cluster: ClusterFile, name: str | None) -> Queue:
    names = ", ".join(queue.name for queue in cluster.queues)
    if name is None and len(cluster.queues) > 1:
        raise InvalidArgument(f"the file has {len(cluster.queues)} queues: say which with --queue ({names})")
    for queue in cluster.queues:
        if name in (None, queue.name):
            return queue
    raise InvalidArgument(f"the file has no queue {name!r}; it has {names}")


def _answer(
    cluster: ClusterFile, queues: Sequence[QueueBill], standing: Sequence[Cost], job: JobBill | None
) -> dict[str, Any]:
    """Everything for programs; None where there is no price."""
    from infra.config.catalog import sources
    from infra.config.estimate import costs, total

    answer: dict[str, Any] = {
        "cluster": cluster.name,
        "region": cluster.region,
        "prices_of": sources()["prices"]["date"],
        "standing_usd_an_hour": {line.what: line.full for line in standing},
        "queues": [{**asdict(q), "idle_month": q.idle_month, "full_month": q.full_month} for q in queues],
        "in_all_usd_an_hour": asdict(total(costs(cluster))),
    }
    if job is not None:
        answer["job"] = {**asdict(job), "usd": job.usd}
    return answer


def _print(cluster: ClusterFile, queues: Sequence[QueueBill], standing: Sequence[Cost]) -> None:
    from infra.config.catalog import sources
    from infra.config.estimate import HOURS_A_MONTH, costs, total

    print(f"cluster {cluster.name} in {cluster.region}; prices of {sources()['prices']['date']}, USD")
    print("as long as it stands:")
    for line in standing:
        print(f"  {line.what}: {_usd(line.full)} an hour, {_usd(line.full, HOURS_A_MONTH)} a month")
    for queue in queues:
        print(f"queue {queue.name}: {queue.instance_type}, {queue.market}, in {', '.join(queue.zones)}")
        print(f"  a node: {_usd(queue.node_hour)} an hour (the same in each zone)")
        print(f"  idle: {_usd(queue.idle_hour)} an hour, {_usd(queue.idle_month)} a month")
        print(f"  full: {_usd(queue.full_hour)} an hour, {_usd(queue.full_month)} a month")
        for other in queue.others:
            print(f"  instead: {_other(other)}")
    whole_bill = total(costs(cluster))
    print(
        f"{whole_bill.what}: {_usd(whole_bill.idle)} idle to {_usd(whole_bill.full)} full an hour, "
        f"{_usd(whole_bill.idle, HOURS_A_MONTH)} to {_usd(whole_bill.full, HOURS_A_MONTH)} a month"
    )


def _other(other: Other) -> str:
    if other.usd_an_hour is None:
        return f"{other.how}: {other.note or NO_PRICE}"
    return f"{other.how}: {_usd(other.usd_an_hour)} an hour" + (f" ({other.note})" if other.note else "")


def _print_job(job: JobBill) -> None:
    size = f"{job.nodes} node{'' if job.nodes == 1 else 's'} of queue {job.queue} for {job.hours:g} h"
    print(f"a job on {size}: {_usd(job.nodes_usd)}, with what stands beside it {_usd(job.usd)}")


def _usd(value: float | None, times: float = 1.0) -> str:
    return NO_PRICE if value is None else f"{value * times:,.2f}"
