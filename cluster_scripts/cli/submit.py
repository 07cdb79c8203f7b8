"""`dure submit`: pack the working folder and run a command as a job on the cluster."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import join
from typing import Any

from cluster_scripts.backends.choose import open_cluster
from cluster_scripts.backends.reached import QueueLimits, ReachedCluster
from cluster_scripts.cli.logs import follow, write_line
from cluster_scripts.cli.options import add_json, add_target, parser, target_of, whole
from cluster_scripts.cli.output import print_json, say, utc_now
from cluster_scripts.cli.request import build, choose_queue, queues_of_file, seconds, split_command, variable
from cluster_scripts.cli.wording import count
from cluster_scripts.cli.work_folder.archive import LIMIT_BYTES, Archive, packed
from cluster_scripts.cli.work_folder.problems import MEBIBYTE
from cluster_scripts.jobs.spec import MAX_NODES, MAX_TASKS_PER_NODE, JobSpec

DRY_RUN_CALLER = "dry-run"
EPILOG = f"""\
The folder that is sent: what git tracks or does not ignore (in a folder
without git, all but caches and virtual environments), at most {LIMIT_BYTES // MEBIBYTE} MiB.
Files that look like keys or passwords are refused; --allow-file PATH lets one
go. The same files are sent once only. The command runs in the unpacked copy,
once for each task, as an unprivileged user. Prints the job's id.

  dure submit --nodes 2 --tasks-per-node 8 -- python train.py --steps 100
  dure logs -f $(dure submit --no-code -- hostname)
"""


def run(argv: Sequence[str]) -> int:
    words, command = split_command(argv)
    to = _parser()
    options, strange = to.parse_known_args(words)
    if strange:
        to.error(f"not an option: {' '.join(strange)} (the job's command comes after --)")
    if not command:
        to.error("there is no command; it comes after --, as in: dure submit -- python train.py")
    if options.cluster_file and not options.dry_run:
        to.error("--cluster-file goes with --dry-run: a job is submitted to a cluster that is deployed")
    if options.dry_run:
        return _dry_run(options, command)
    cluster = open_cluster(target_of(options))
    queue = choose_queue(options.queue, nodes=options.nodes, queues=cluster.queues())
    with _code(options) as archive:
        spec = build(options, command, queue=queue, code=archive, caller=cluster.caller(), now=utc_now())
        job_id = cluster.submit(spec, code=None if archive is None else archive.path)
    return _submitted(cluster, job_id, spec, options)


def _parser() -> ArgumentParser:
    to = parser("submit", "Pack the working folder and run a command as a job on the cluster.", epilog=EPILOG)
    to.usage = "dure submit [options] -- COMMAND [ARGUMENT ...]"
    job = to.add_argument_group("the job")
    job.add_argument("--name", help="its name (else made of the command)")
    job.add_argument("--queue", help="its queue (else the cluster's only one)")
    job.add_argument("--nodes", type=whole(1, MAX_NODES), default=1, metavar="N", help="how many nodes (1)")
    job.add_argument(
        "--tasks-per-node",
        type=whole(1, MAX_TASKS_PER_NODE),
        default=1,
        metavar="N",
        help="how often the command is started on each node (1)",
    )
    job.add_argument("--time", type=seconds, metavar="[D-]HH:MM:SS", help="end the job after this time (no limit)")
    job.add_argument(
        "--env",
        type=variable,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set a variable; may be repeated",
    )
    job.add_argument(
        "--no-requeue", dest="requeue", action="store_false", help="do not start it again when a node is lost"
    )
    _add_code(to)
    _add_how(to)
    add_target(to)
    add_json(to)
    return to


def _add_code(to: ArgumentParser) -> None:
    code = to.add_argument_group("its code")
    which = code.add_mutually_exclusive_group()
    which.add_argument("--folder", type=Path, default=Path(), metavar="DIR", help="the folder to send (this one)")
    which.add_argument(
        "--no-code", action="store_true", help="send no folder; the command runs in the file system's root"
    )
    code.add_argument(
        "--allow-file",
        action="append",
        default=[],
        metavar="PATH",
        help="send this file although it looks like a secret",
    )


def _add_how(to: ArgumentParser) -> None:
    how = to.add_argument_group("how")
    how.add_argument("--wait", action="store_true", help="follow its output to the end; exit 1 if it does not complete")
    how.add_argument("--dry-run", action="store_true", help="check and show what would be submitted; change nothing")
    how.add_argument(
        "--cluster-file", type=Path, metavar="FILE", help="with --dry-run: check against this file, without AWS"
    )


@contextmanager
def _code(options: Namespace) -> Iterator[Archive | None]:
    if options.no_code:
        yield None
        return
    with packed(options.folder, allowed=options.allow_file) as archive:
        say(
            f"packed {count(archive.files, 'file')}, {archive.unpacked / MEBIBYTE:.1f} MiB "
            f"({archive.size / MEBIBYTE:.1f} compressed) as {archive.sha256[:12]}"
        )
        yield archive


def _submitted(cluster: ReachedCluster, job_id: str, spec: JobSpec, options: Namespace) -> int:
    if options.json:
        print_json({"job_id": job_id, "cluster": cluster.name, "spec": shown(spec)})
    else:
        print(job_id, flush=True)
    if options.wait:
        return follow(cluster, job_id, write=write_line)
    say(f"submitted job {job_id} ({spec.name}) to {cluster.name}; its output: dure logs -f {job_id}")
    return 0


def shown(spec: JobSpec) -> dict[str, Any]:
    """The specification as it is printed: of the variables, which may hold tokens, only the names."""
    plain: dict[str, Any] = json.loads(spec.to_json())
    return {**plain, "environment": dict.fromkeys(sorted(spec.environment), "(set)")}


def _dry_run(options: Namespace, command: Sequence[str]) -> int:
    queues: Sequence[QueueLimits]
    if options.cluster_file:
        queues, caller = queues_of_file(options.cluster_file), DRY_RUN_CALLER
    else:
        cluster = open_cluster(target_of(options))
        queues, caller = cluster.queues(), cluster.caller()
    queue = choose_queue(options.queue, nodes=options.nodes, queues=queues)
    with _code(options) as archive:
        spec = build(options, command, queue=queue, code=archive, caller=caller, now=utc_now())
    if options.json:
        print_json({"dry_run": True, "spec": shown(spec)})
        return 0
    gpus = next(q.gpus for q in queues if q.name == queue) * spec.nodes
    print(
        f"would submit {spec.name!r} to queue {spec.queue}: {count(spec.nodes, 'node')} x "
        f"{count(spec.tasks_per_node, 'task')}{f', {gpus} GPUs' if gpus else ''}, each task: {join(spec.command)}"
    )
    print("nothing was sent")
    return 0
