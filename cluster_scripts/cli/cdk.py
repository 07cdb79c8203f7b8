"""Runs the CDK CLI for `dure up` and `dure down`: output into a log, progress on the screen.

The CDK CLI is an ordinary program of the toolkit's set-up (`node_modules/.bin/cdk`, else one on PATH); it reads
cdk.json beside app.py, in the folder that holds this package.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cluster_scripts.jobs.errors import Failed, RequestError

HOME = Path(__file__).resolve().parents[2]

# a line of `--progress events`: stack | done/total | time | status | type | logical id [reason]
_EVENT = re.compile(
    r"^(?P<stack>\S+)\s*\|\s*(?P<done>\d+(?:/\d+)?)\s*\|[^|]*\|\s*(?P<status>[A-Z_]+)\s*\|\s*(?P<type>AWS::\S+)\s*\|\s*(?P<rest>.*)$"
)


def find_cdk() -> str:
    """The path of the CDK CLI. Raises RequestError where there is none."""
    own = HOME / "node_modules/.bin/cdk"
    found = str(own) if own.exists() else shutil.which("cdk")
    if not found:
        raise RequestError(f"the CDK CLI is not installed: run `python3 -m tools.setup` in {HOME} (or npm ci)")
    return found


def progress_of(line: str) -> str | None:
    """What one line of the CDK CLI means for a person; None for a line that says nothing new."""
    if not (event := _EVENT.match(line)):
        return None
    what = f"{event['type']} {event['rest'].split()[0] if event['rest'] else ''}".rstrip()
    return f"{event['stack']} {event['done']:>5}  {event['status'].lower().replace('_', ' ')}: {what}"


def failures_of(output: Sequence[str]) -> list[str]:
    """The resources that failed, each with its reason, in the order of failure; roll-back noise left out."""
    found = []
    for line in output:
        event = _EVENT.match(line)
        if event and event["status"].endswith("_FAILED") and "cancelled" not in event["rest"].lower():
            name, _, reason = event["rest"].partition(" ")
            found.append(f"{event['type']} {name} in {event['stack']}: {reason.strip() or event['status']}")
    return found


def run_cdk(arguments: Sequence[str], *, cluster_file: Path, log: Path) -> None:
    """Runs `cdk ARGUMENTS -c cluster=FILE` to its end.

    Side effects: the log file; progress on stdout. Errors: Failed, with the failed resources first.
    """
    argv = [
        find_cdk(),
        *arguments,
        "-c",
        f"cluster={cluster_file.resolve()}",
        "--progress",
        "events",
        "--output",
        str(log.parent.resolve() / "cdk.out"),
    ]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"}
    log.parent.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    with (
        log.open("w") as out,
        subprocess.Popen(
            argv,
            cwd=HOME,
            env=environment,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        assert process.stdout
        for line in process.stdout:
            out.write(line)
            out.flush()
            lines.append(line.rstrip())
            if said := progress_of(lines[-1]):
                print(said, flush=True)
        code = process.wait()
    if code:
        failed = failures_of(lines) or [line for line in lines if line.strip()][-8:]
        raise Failed(
            f"`cdk {arguments[0]}` ended with code {code}:\n"
            + "\n".join(f"  {f}" for f in failed)
            + f"\nwhole output: {log}"
        )
