"""`dure down`: takes a cluster away, whole, and shows that nothing is left.

In order: refuses while its stacks are protected, while jobs are in the queue and while data on the file system is not
exported; ends the machines, empties the bucket (only when told that its data may go), destroys the stacks with the CDK
CLI, and looks for what is left.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cluster_scripts.cli.cluster_file import load
from cluster_scripts.cli.options import parser, target_of
from cluster_scripts.jobs.errors import DureError, Failed, NoSuchCluster, RequestError

if TYPE_CHECKING:
    from cluster_scripts.backends.aws.session import Aws
    from cluster_scripts.backends.aws.teardown import Leftover

LOGS = Path(".dure/logs")
#: Seconds in which automatic exports may catch up before `down` refuses.
EXPORT_WAIT = 180.0


def run(argv: Sequence[str]) -> int:
    """Exit codes: 0 nothing is left; 1 something failed or is left; 2 the request was wrong; 3 AWS refused."""
    options_parser = parser("down", __doc__ or "")
    options_parser.add_argument("cluster_file", type=Path, help="the cluster file that it was deployed from")
    options_parser.add_argument(
        "--delete-data", action="store_true", help="delete what lies in its bucket, every version"
    )
    options_parser.add_argument("--force", action="store_true", help="also while jobs are queued or running")
    options_parser.add_argument(
        "--unprotect", action="store_true", help="take the termination protection back (`protect` in the file)"
    )
    exports = options_parser.add_mutually_exclusive_group()
    exports.add_argument(
        "--export", action="store_true", help="export what is not exported by itself first, and wait for it"
    )
    exports.add_argument(
        "--discard-unexported", action="store_true", help="also if data on the file system is not exported"
    )
    options_parser.add_argument("--yes", action="store_true", help="do not ask")
    options = options_parser.parse_args(argv)
    from cluster_scripts.backends.aws import teardown
    from cluster_scripts.backends.aws.session import open_session

    cluster = load(options.cluster_file)
    aws = open_session(cluster.region)
    if not teardown.stacks(aws, cluster.name):
        print(f"cluster {cluster.name!r} has no stack in {cluster.region}: nothing to do")
        return 0
    options.cluster, options.region = cluster.name, cluster.region
    protected = teardown.protected(aws, cluster.name)
    if protected and not options.unprotect:
        raise RequestError(
            f"these stacks are protected from deletion: {', '.join(protected)}; --unprotect takes that back, or set "
            "protect to false in the cluster file and deploy it"
        )
    if not options.force:
        refuse_while_jobs(target_of(options))
    held = teardown.holdings(aws, cluster.name)
    keep = cluster.storage.on_down == "keep"
    if not keep and not options.discard_unexported:
        for file_system in (one.name for one in held if one.kind == teardown.FILE_SYSTEM):
            refuse_unexported(aws, file_system, export=options.export)
    buckets = [one.name for one in held if one.kind == teardown.BUCKET]
    if not keep and not options.delete_data and any(teardown.holds_objects(aws, bucket) for bucket in buckets):
        raise RequestError(
            f"s3://{', s3://'.join(buckets)} holds data, and CloudFormation deletes only an empty bucket: give "
            "--delete-data to delete it, or set storage.on_down to keep, deploy, and run this again"
        )
    if not options.yes and not confirmed(cluster.name, [] if keep else [f"{one.kind} {one.name}" for one in held]):
        raise RequestError("not confirmed: nothing was deleted")
    if protected:
        teardown.unprotect(aws, protected)
        print(f"no longer protected: {', '.join(protected)}", flush=True)
    if ended := teardown.end_machines(aws, cluster.name):
        print(f"machines terminated: {len(ended)}", flush=True)
    if options.delete_data and not keep:
        empty(aws, buckets)
    destroy(aws, cluster.name, options.cluster_file, held=held, keep=keep)
    return 0


def destroy(aws: Aws, name: str, cluster_file: Path, *, held: list[Leftover], keep: bool) -> None:
    """Destroys the stacks and looks for what is left. Raises Failed when a stack stays or anything unasked is left."""
    from cluster_scripts.backends.aws.teardown import audit
    from cluster_scripts.cli.cdk import run_cdk

    run_cdk(["destroy", "--all", "--force"], cluster_file=cluster_file, log=LOGS / f"down-{name}.log")
    left = [one for one in audit(aws, name, held) if not (keep and one in held)]
    if left:
        names = "\n".join(f"  {one.kind} {one.name}" for one in left)
        raise Failed(f"the stacks are destroyed, but this is left and may cost money:\n{names}")
    if keep and held:
        print("kept, as storage.on_down says: " + ", ".join(f"{one.kind} {one.name}" for one in held))
    print(f"cluster {name!r} is gone: nothing {'else ' if keep else ''}of it is left", flush=True)


def refuse_while_jobs(target: object) -> None:
    """Raises RequestError while jobs are in the queue. A cluster whose head does not answer has none that matter."""
    from cluster_scripts.backends.choose import Target, open_cluster
    from cluster_scripts.jobs.model import ENDED

    assert isinstance(target, Target)
    try:
        live = [job for job in open_cluster(target).jobs() if job.state not in ENDED]
    except NoSuchCluster:
        return
    except DureError as error:
        raise RequestError(
            f"whether jobs are running could not be found out ({error.message}); --force goes on"
        ) from error
    if live:
        named = ", ".join(f"{job.id} ({job.name}, {job.state})" for job in live[:5])
        raise RequestError(f"{len(live)} jobs are in the queue: {named}; wait, cancel them, or give --force")


def refuse_unexported(
    aws: Aws,
    file_system: str,
    *,
    export: bool,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Raises RequestError while data on a file system is nowhere else, as far as FSx can say; waits a little for what
    is on its way. With `export`, what does not go by itself is sent first. Errors: Failed when FSx can't export.
    """
    from cluster_scripts.backends.aws import exports

    if export:
        count = exports.export(aws, file_system, clock=clock, sleep=sleep)
        print(f"{file_system}: {count} files exported", flush=True)
    deadline = clock() + EXPORT_WAIT
    while reasons := exports.unexported(aws, file_system, sent=export):
        if clock() > deadline or any("waiting" not in reason for reason in reasons):
            lines = "\n".join(f"  {reason}" for reason in reasons)
            raise RequestError(
                f"data on file system {file_system} may be nowhere else:\n{lines}\n"
                "--export sends what is not exported by itself, --discard-unexported deletes it"
            )
        print(f"{file_system}: {'; '.join(reasons)}", flush=True)
        sleep(15.0)


def confirmed(name: str, held: Sequence[str]) -> bool:
    """Whether the person at the terminal typed the cluster's name."""
    print(f"This deletes cluster {name!r} for good" + (", with:" if held else "."))
    for one in held:
        print(f"  {one}")
    print("Type its name to go on: ", end="", flush=True)
    return sys.stdin.readline().strip() == name


def empty(aws: Aws, buckets: Sequence[str]) -> None:
    """Empties the buckets, with a running count."""
    from cluster_scripts.backends.aws.teardown import empty_bucket

    for bucket in buckets:
        count = empty_bucket(aws, bucket)
        print(f"s3://{bucket}: {count} objects and versions deleted", flush=True)
