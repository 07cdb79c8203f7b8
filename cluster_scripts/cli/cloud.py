"""`dure cloud`: the local cloud, an AWS on this machine.

It is a program of its own in an environment of its own (moto never meets the toolkit), so this command starts it as
one and knows nothing of its inside but the file `cloud.json` that it keeps in its folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from cluster_scripts.cli.options import add_json, parser
from cluster_scripts.cli.output import print_json
from cluster_scripts.jobs.errors import InvalidArgument, RequestError, Unreachable

HOUSE = Path(__file__).resolve().parents[2]
PYTHON = Path(".envs/local-cloud/bin/python")
PROGRAM = "infra.local_cloud"
DEFAULT_FOLDER = HOUSE / ".dure" / "cloud"
DEFAULT_REGION = "us-east-1"

# what the CDK CLI asks the internet for, and what would lead boto3 past the local cloud
FIXED = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_EC2_METADATA_DISABLED": "true",
    "CDK_DISABLE_CLI_TELEMETRY": "1",
    "CDK_CLI_DISABLE_NOTICES": "1",
    "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "1",
}
UNSET = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN")


def run(argv: Sequence[str]) -> int:
    options, rest = _parser().parse_known_args(argv)
    if options.action == "env":
        if rest:
            raise InvalidArgument(f"`dure cloud env` does not know {' '.join(rest)}")
        return _print_env(options)
    words = [options.action, "--state", str(options.state.absolute()), *rest]
    if options.action == "up" and not options.foreground:
        words.append("--detach")
    if options.action == "status" and options.json:
        words.append("--json")
    return _start(words)


def _parser() -> ArgumentParser:
    to = parser(
        "cloud",
        "Start, stop or look at the local cloud; env prints what to export so that every AWS program uses it.",
        epilog='  dure cloud up && eval "$(dure cloud env)"',
    )
    to.add_argument("action", choices=("up", "down", "status", "env"))
    to.add_argument("--state", type=Path, default=DEFAULT_FOLDER, metavar="DIR", help="its folder (.dure/cloud here)")
    to.add_argument("--region", default=DEFAULT_REGION, help="with env: the region to use (%(default)s)")
    to.add_argument("--foreground", action="store_true", help="with up: stay in the foreground, end with ctrl-C")
    add_json(to)
    return to


def _start(words: Sequence[str]) -> int:
    python = HOUSE / PYTHON
    if not python.exists():
        raise RequestError(
            f"the local cloud's environment is not there ({PYTHON} in {HOUSE}); `python3 -m tools.setup` there makes it"
        )
    # the exports of `dure cloud env` are for its clients: the program itself must not follow them
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    try:
        return subprocess.run([str(python), "-m", PROGRAM, *words], cwd=HOUSE, env=environment, check=False).returncode
    except KeyboardInterrupt:
        return 130


def _print_env(options: Namespace) -> int:
    variables = exports(endpoint=_endpoint(options.state), region=options.region)
    if options.json:
        print_json(variables)
        return 0
    for name in UNSET:
        print(f"unset {name}")
    for name, value in variables.items():
        print(f"export {name}={quote(value)}")
    if sys.stdout.isatty():
        sys.stderr.write('# use it with: eval "$(dure cloud env)"\n')
    return 0


def exports(*, endpoint: str, region: str) -> dict[str, str]:
    """The environment in which every AWS program of this machine talks to the local cloud."""
    # the CDK CLI makes template addresses of it, and wants a name there
    by_name = endpoint.replace("//127.0.0.1:", "//localhost:")
    return {"AWS_ENDPOINT_URL": by_name, "AWS_REGION": region, "AWS_DEFAULT_REGION": region, **FIXED}


def _endpoint(folder: Path) -> str:
    path = folder / "cloud.json"
    try:
        endpoint = json.loads(path.read_text())["endpoint"]
    except FileNotFoundError as error:
        raise Unreachable(f"no local cloud runs here (there is no {path}); start it with `dure cloud up`") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unreachable(
            f"{path} can't be read ({error}); start the local cloud again with `dure cloud up`"
        ) from error
    return str(endpoint)
