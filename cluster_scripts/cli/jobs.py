"""`dure jobs`: the jobs of a cluster."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from datetime import datetime

from cluster_scripts.backends.choose import open_cluster
from cluster_scripts.cli.options import add_json, add_target, parser, target_of
from cluster_scripts.cli.output import print_json, print_table, utc_now
from cluster_scripts.cli.table import Column
from cluster_scripts.cli.wording import exit_text, run_time, state_text
from cluster_scripts.jobs.model import ENDED, Job

COLUMNS = (
    Column("ID", right=True),
    Column("NAME", shrink=16),
    Column("STATE"),
    Column("EXIT", keep=1, right=True),
    Column("QUEUE", keep=2, shrink=6),
    Column("NODES", keep=3, right=True),
    Column("RAN", keep=1, right=True),
    Column("SUBMITTED", keep=4),
    Column("BY", keep=5, shrink=10),
    Column("REASON", keep=2, shrink=10),
)


def run(argv: Sequence[str]) -> int:
    options = _parser().parse_args(argv)
    found = open_cluster(target_of(options)).jobs()
    if options.state:
        found = [job for job in found if job.state in options.state]
    if options.active:
        found = [job for job in found if not job.ended]
    if options.json:
        print_json([job.to_json() for job in found])
    else:
        now = utc_now()
        print_table(COLUMNS, [row(job, now=now) for job in found], empty="no jobs")
    return 0


def _parser() -> ArgumentParser:
    to = parser("jobs", "List the jobs that the cluster still knows, ended ones included.")
    to.add_argument("--active", action="store_true", help="only jobs that have not ended")
    to.add_argument(
        "--state",
        action="append",
        metavar="STATE",
        help=f"only jobs in this state (pending, running, {', '.join(sorted(ENDED))}); may be repeated",
    )
    add_target(to)
    add_json(to)
    return to


def row(job: Job, *, now: datetime) -> list[str]:
    """The cells of one job, as COLUMNS names them."""
    submitted = "-" if job.submitted_at is None else job.submitted_at.astimezone().strftime("%m-%d %H:%M:%S")
    reason = "" if job.reason.lower() == "none" else job.reason
    return [
        job.id,
        job.name,
        state_text(job.state),
        exit_text(job),
        job.queue,
        str(job.node_count),
        run_time(job, now=now),
        submitted,
        who(job.submitted_by),
        reason,
    ]


def who(arn: str) -> str:
    """The short form of who submitted: the user or the session of an ARN, else the text as it is."""
    return arn.rsplit("/", 1)[-1] if arn.startswith("arn:") else arn
