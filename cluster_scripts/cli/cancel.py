"""`dure cancel`: end jobs."""

from __future__ import annotations

from collections.abc import Sequence

from cluster_scripts.backends.choose import open_cluster
from cluster_scripts.cli.options import add_json, add_target, parser, target_of
from cluster_scripts.cli.output import print_json, say
from cluster_scripts.cli.wording import ending
from cluster_scripts.jobs.errors import RequestError


def run(argv: Sequence[str]) -> int:
    to = parser("cancel", "Cancel jobs. One that has ended already is left as it is.")
    to.add_argument("ids", nargs="+", metavar="ID", help="a job, as `dure jobs` lists it")
    add_target(to)
    add_json(to)
    options = to.parse_args(argv)
    cluster = open_cluster(target_of(options))
    over = {job.id: job for job in cluster.jobs() if job.ended}
    cancelled, unknown, ended = [], [], []
    for job_id in dict.fromkeys(options.ids):
        if job_id in over:
            ended.append(job_id)
            say(f"nothing to cancel: {ending(over[job_id])}")
            continue
        try:
            cluster.cancel(job_id)
        except RequestError as error:
            unknown.append(job_id)
            say(f"dure: {error.message}")
            continue
        cancelled.append(job_id)
        if not options.json:
            print(f"cancelled job {job_id}")
    if options.json:
        print_json({"cancelled": cancelled, "ended": ended, "unknown": unknown})
    return RequestError.exit_code if unknown else 0
