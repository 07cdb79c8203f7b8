"""`dure check`: everything that is wrong with a cluster file, at once; what it costs and which quotas it needs.

It needs no network, no credentials and no AWS; --live asks AWS as well (cluster_scripts/cli/live.py). Errors go to
stderr, each with file, line, key, what was found, what is allowed and the rule's id (docs/rules.md); advice does not
stop anything.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster_scripts.cli.options import add_json, parser
from cluster_scripts.cli.output import print_json, say
from cluster_scripts.jobs.errors import OtherSide, RequestError
from infra.config.estimate import Cost, costs, quotas, total
from infra.config.live import ServiceRole, service_roles
from infra.config.loader import check_file

if TYPE_CHECKING:
    from infra.config.loader import Checked
    from infra.config.schema import ClusterFile


def run(argv: Sequence[str]) -> int:
    """Exit codes: 0 the file may be deployed; 1 a step failed; 2 the file is wrong; 3 AWS refuses it."""
    to = parser("check", "Check a cluster file against the schema and every rule. Needs no AWS, but with --live.")
    to.add_argument("file", nargs="?", default="cluster.yaml", metavar="FILE", help="default: cluster.yaml")
    to.add_argument("--against", metavar="FILE", help="say what the change from that file does to a live cluster")
    live = to.add_argument_group("asking AWS")
    live.add_argument("--live", action="store_true", help="print the ladder of a first deployment, and ask AWS")
    live.add_argument("--step", choices=("cpu", "gpu", "all"), help="with --live: deploy this step, after asking you")
    live.add_argument("--yes", action="store_true", help="with --step: do not ask")
    add_json(to)
    options = to.parse_args(argv)
    if (options.step and not options.live) or (options.yes and not options.step) or (options.step and options.json):
        to.error("--step needs --live and goes without --json, --yes needs --step")
    checked = check_file(options.file)
    earlier = check_file(options.against) if options.against else None
    fine = checked.cluster is not None and (earlier is None or earlier.cluster is not None)
    answer = _answer(checked, earlier) if options.json else {}
    if not options.json:
        _print(Path(options.file), checked, earlier)
    code = 0 if fine else RequestError.exit_code
    if options.live and fine and checked.cluster is not None:
        code = _live(options, checked.cluster, answer)
    if options.json:
        print_json({"file": options.file, **answer})
    return code


def _live(options: Namespace, cluster: ClusterFile, answer: dict[str, Any]) -> int:
    """Asks AWS; the answers go into `answer` with --json, else on the screen."""
    from cluster_scripts.cli import live

    if options.step:
        return live.run_step(cluster, Path(options.file), options.step, yes=options.yes)
    answers = live.ask(cluster) if options.json else live.show(cluster, Path(options.file))
    if options.json:
        answer.update(live.as_json(cluster, answers))
    return OtherSide.exit_code if any(live.failed(found) for found in answers.values()) else 0


def _answer(checked: Checked, earlier: Checked | None) -> dict[str, Any]:
    """The whole finding as JSON."""
    cluster = checked.cluster
    answer: dict[str, Any] = {
        "ok": cluster is not None,
        "problems": [asdict(problem) for problem in checked.problems],
        "advice": [asdict(problem) for problem in checked.advice],
    }
    if cluster is not None:
        answer["usd_an_hour"] = [asdict(line) for line in (*costs(cluster), total(costs(cluster)))]
        answer["quotas"] = [asdict(quota) for quota in quotas(cluster)]
        answer["service_roles"] = [asdict(role) for role in service_roles(cluster)]
    if cluster is not None and earlier is not None and earlier.cluster is not None:
        answer["changes"] = [
            {**asdict(change), "effect": change.effect.name.lower(), "needs_replace": change.effect.needs_replace}
            for change in _changes(earlier.cluster, cluster)
        ]
    return answer


def _print(file: Path, checked: Checked, earlier: Checked | None) -> None:
    for problem in (*(earlier.problems if earlier is not None else ()), *checked.problems):
        say(str(problem))
    for advice in checked.advice:
        say(f"advice: {advice}")
    cluster = checked.cluster
    if cluster is None:
        count = len(checked.problems)
        say(f"{file}: {count} problem{'' if count == 1 else 's'}")
        return
    queues = ", ".join(f"{queue.name} ({queue.min}-{queue.max} {queue.instance_type})" for queue in cluster.queues)
    print(f"{file}: cluster {cluster.name} in {cluster.region}, queues: {queues}")
    lines = costs(cluster)
    for line in (*lines, total(lines)):
        print(f"  {line.what}: {_price(line)}")
    for quota in quotas(cluster):
        print(f"  needs {quota.vcpus} vCPUs of the quota {quota.code} ({quota.name}); many accounts start at 0")
    for role in service_roles(cluster):
        print(f"  needs the role {role.name} ({role.why}); {_role(role)}")
    if earlier is not None and earlier.cluster is not None:
        _print_changes(earlier.cluster, cluster)


def _role(role: ServiceRole) -> str:
    return "AWS makes it at the first use" if role.by_itself else f"once an account: {role.command}"


def _price(line: Cost) -> str:
    """USD an hour: what is always there, and with every queue full where that is more."""
    if line.full is None:
        return "no price in the catalog"
    if line.idle is None or round(line.idle, 2) == round(line.full, 2):
        return f"{line.full:.2f} USD an hour"
    return f"{line.idle:.2f} to {line.full:.2f} USD an hour"


def _changes(old: ClusterFile, new: ClusterFile) -> tuple[Any, ...]:
    from infra.config.changes import compare

    return compare(old, new)


def _print_changes(old: ClusterFile, new: ClusterFile) -> None:
    changes = _changes(old, new)
    if not changes:
        print("  nothing changes")
    for change in changes:
        print(f"  {change}")
