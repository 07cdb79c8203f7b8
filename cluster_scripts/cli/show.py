"""`dure show`: all about one job."""

from __future__ import annotations

from collections.abc import Sequence

from cluster_scripts.backends.choose import open_cluster
from cluster_scripts.cli.options import add_json, add_target, parser, target_of
from cluster_scripts.cli.output import print_json, print_pairs, utc_now
from cluster_scripts.cli.table import clean
from cluster_scripts.cli.wording import describe
from cluster_scripts.jobs.model import COMPLETED

LAST_LINES = 10


def run(argv: Sequence[str]) -> int:
    to = parser("show", "Show all about one job; for one that failed, the last lines that it wrote too.")
    to.add_argument("id", metavar="ID", help="the job, as `dure jobs` lists it")
    add_target(to)
    add_json(to)
    options = to.parse_args(argv)
    cluster = open_cluster(target_of(options))
    job = cluster.job(options.id)
    failed = job.ended and job.state != COMPLETED
    lines = [event.message for event in cluster.last_lines(job.id, LAST_LINES)] if failed else []
    if options.json:
        print_json({**job.to_json(), "last_lines": lines})
        return 0
    print_pairs(describe(job, now=utc_now()))
    if failed:
        print(f"\nits last lines (all of them: dure logs {job.id}):" if lines else "\nit wrote nothing")
        for line in lines:
            print(f"  {clean(line)}")
    return 0
