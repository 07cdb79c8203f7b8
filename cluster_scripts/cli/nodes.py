"""`dure nodes`: the nodes of a cluster."""

from __future__ import annotations

from collections.abc import Sequence

from cluster_scripts.backends.choose import open_cluster
from cluster_scripts.cli.options import add_json, add_target, parser, target_of
from cluster_scripts.cli.output import print_json, print_table
from cluster_scripts.cli.table import Column
from cluster_scripts.cli.wording import state_text
from cluster_scripts.jobs.model import Node

COLUMNS = (
    Column("NODE"),
    Column("STATE"),
    Column("JOBS", shrink=4),
    Column("INSTANCE", keep=1),
    Column("TYPE", keep=2),
    Column("ZONE", keep=4),
    Column("CPUS", keep=3, right=True),
    Column("GPUS", keep=3, right=True),
    Column("REASON", keep=1, shrink=10),
)


def run(argv: Sequence[str]) -> int:
    to = parser("nodes", "List the nodes of every queue, those without a machine included.")
    to.add_argument("--up", action="store_true", help="only nodes that have a machine now")
    add_target(to)
    add_json(to)
    options = to.parse_args(argv)
    found = open_cluster(target_of(options)).nodes()
    if options.up:
        found = [node for node in found if node.instance_id]
    if options.json:
        print_json([node.to_json() for node in found])
    else:
        print_table(COLUMNS, [row(node) for node in found], empty="no nodes")
    return 0


def row(node: Node) -> list[str]:
    """The cells of one node, as COLUMNS names them."""
    return [
        node.name,
        state_text(node.state),
        ",".join(node.job_ids) or "-",
        node.instance_id or "-",
        node.instance_type or "-",
        node.zone or "-",
        str(node.cpus),
        str(node.gpus),
        "" if node.reason.lower() == "none" else node.reason,
    ]
