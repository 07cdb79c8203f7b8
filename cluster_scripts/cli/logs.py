"""`dure logs`: print or follow what a job writes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence

from cluster_scripts.backends.choose import open_cluster
from cluster_scripts.backends.reached import ReachedCluster
from cluster_scripts.cli.calling import INTERRUPTED
from cluster_scripts.cli.following import Follower
from cluster_scripts.cli.options import add_json, add_target, parser, target_of
from cluster_scripts.cli.output import say
from cluster_scripts.cli.wording import ending, progress
from cluster_scripts.jobs.errors import Failed, NoSuchJob
from cluster_scripts.jobs.model import COMPLETED, Job, LogEvent

Writer = Callable[[LogEvent], None]


def run(argv: Sequence[str]) -> int:
    to = parser(
        "logs",
        "Print what a job has written so far (stdout and stderr together), or follow it until the job ends.",
        epilog="exit code: 1 if the job has ended and did not complete, else 0",
    )
    to.add_argument("id", metavar="ID", help="the job, as `dure jobs` lists it")
    to.add_argument("-f", "--follow", action="store_true", help="go on until the job ends")
    add_target(to)
    add_json(to)
    options = to.parse_args(argv)
    cluster = open_cluster(target_of(options))
    write = write_json if options.json else write_line
    return follow(cluster, options.id, write=write) if options.follow else _print(cluster, options.id, write=write)


def _print(cluster: ReachedCluster, job_id: str, *, write: Writer) -> int:
    """What is there so far; the exit code tells how the job did if it has ended."""
    cursor = ""
    while True:
        page = cluster.log_events(job_id, cursor=cursor or None)
        for event in page.events:
            if not cluster.is_log_end(event):
                write(event)
        if page.cursor == cursor and not page.events:
            break
        cursor = page.cursor
    sys.stdout.flush()
    try:
        job = cluster.job(job_id)
    except NoSuchJob:
        if not cursor:
            raise
        say(f"(the cluster no longer knows how job {job_id} ended)")
        return 0
    if job.ended:
        return _result(job)
    say(f"({progress(job)}; to follow it: dure logs -f {job_id})")
    return 0


def follow(cluster: ReachedCluster, job_id: str, *, write: Writer) -> int:
    """Follow a job to its end; the exit code tells how it did."""
    follower = Follower(source=cluster, id=job_id, write=write, tell=say)
    try:
        job = follower.follow()
    except KeyboardInterrupt:
        say(f"\nno longer following; the job goes on (dure logs -f {job_id}, dure cancel {job_id})")
        return INTERRUPTED
    sys.stdout.flush()
    return _result(job)


def _result(job: Job) -> int:
    say(ending(job))
    return 0 if job.state == COMPLETED else Failed.exit_code


def write_line(event: LogEvent) -> None:
    """The line as the job wrote it, at once."""
    sys.stdout.write(event.message + "\n")
    sys.stdout.flush()


def write_json(event: LogEvent) -> None:
    """One JSON object a line."""
    line = json.dumps({"timestamp_ms": event.timestamp_ms, "message": event.message}, ensure_ascii=False)
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
