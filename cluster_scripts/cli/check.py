"""`dure check`: everything that is wrong with a cluster file, at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from cluster_scripts.cli.options import add_json, parser
from cluster_scripts.cli.output import print_json, say
from cluster_scripts.cli.wording import count
from cluster_scripts.jobs.errors import RequestError
from infra.config.loader import check_file


def run(argv: Sequence[str]) -> int:
    to = parser("check", "Check a cluster file against the schema and every rule. Needs no AWS.")
    to.add_argument("file", nargs="?", default="cluster.yaml", metavar="FILE", help="default: cluster.yaml")
    add_json(to)
    options = to.parse_args(argv)
    checked = check_file(options.file)
    if options.json:
        found = {
            "problems": [asdict(problem) for problem in checked.problems],
            "advice": [asdict(problem) for problem in checked.advice],
        }
        print_json({"file": options.file, "ok": checked.cluster is not None, **found})
    else:
        for problem in checked.problems:
            say(str(problem))
        for advice in checked.advice:
            say(f"advice: {advice}")
        if checked.cluster is not None:
            queues = ", ".join(f"{q.name} ({q.min}-{q.max} {q.instance_type})" for q in checked.cluster.queues)
            print(f"{options.file}: cluster {checked.cluster.name} in {checked.cluster.region}, queues: {queues}")
        else:
            say(f"{options.file}: {count(len(checked.problems), 'problem')}")
    return 0 if checked.cluster is not None else RequestError.exit_code
