"""`dure policy`: prints the IAM policies that must exist before a cluster does. Makes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cluster_scripts.cli.cluster_file import load
from cluster_scripts.cli.options import parser
from infra.config.access import deployer, execution
from infra.config.access.cluster import Place
from infra.config.access.statements import Statement, document

POLICIES: Mapping[str, Callable[[Place], list[Statement]]] = {
    "deployer": deployer.deployer,
    "cloudformation-1": execution.network_and_machines,
    "cloudformation-2": execution.everything_else,
}

EPILOG = """\
policies:
  deployer          for who runs dure up, dure down and cdk deploy
  cloudformation-1  for the CDK's execution role: network, machines, use of keys
  cloudformation-2  for the same: everything else

Policies for who submits jobs come with the cluster. docs/access.md has it all."""


def run(argv: Sequence[str]) -> int:
    """Exit codes: 0 printed; 2 the file is wrong; 3 AWS was asked for the account's number and refused."""
    to = parser("policy", "Print the IAM policy that a deployment takes, bound to one cluster.", epilog=EPILOG)
    to.add_argument("policy", choices=list(POLICIES))
    to.add_argument("file", nargs="?", type=Path, default=Path("cluster.yaml"), metavar="FILE", help="cluster.yaml")
    to.add_argument("--account", metavar="ID", help="the account's number (else that of your AWS credentials)")
    options = to.parse_args(argv)
    cluster = load(options.file)
    account = options.account or _own_account(cluster.region)
    place = Place(cluster=cluster.name, region=cluster.region, account=account)
    print(json.dumps(document(POLICIES[options.policy](place)), indent=2))
    return 0


def _own_account(region: str) -> str:
    from cluster_scripts.backends.aws.errors import translating
    from cluster_scripts.backends.aws.session import open_session

    with translating("asking AWS for the account's number (--account gives it)"):
        return open_session(region).sts.get_caller_identity()["Account"]
