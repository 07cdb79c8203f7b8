"""The local cloud as a program.

    python -m infra.local_cloud up [--detach] [--port 0] [--iam on|off] [--state DIR]
    python -m infra.local_cloud status [--json] [--state DIR]
    python -m infra.local_cloud down [--state DIR]

`up` runs until it is told to end (ctrl-C, `down`), or returns when ready with --detach.
Exit codes: 0 done, 1 it can't be done (the line on standard error says why), 2 usage.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from .machines import image, ownership, preflight, user_namespace
from .machines.api import MachineError
from .state import State, StateError

REPOSITORY = Path(__file__).resolve().parents[2]
READY_SECONDS = 60.0


def main(arguments: list[str] | None = None) -> int:
    """Parse, call, translate errors into one line each."""
    options = _parser().parse_args(arguments)
    os.environ["PATH"] = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"  # a user's has no ip(8) in it
    options.state = options.state.absolute()
    try:
        return int(options.action(options))
    except (StateError, MachineError) as error:
        print(f"local cloud: {error}", file=sys.stderr)
    except OSError as error:
        print(f"local cloud: {error}; its folder is {options.state}", file=sys.stderr)
    except KeyboardInterrupt:
        print("local cloud: interrupted", file=sys.stderr)
    return 1


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{port} is no port: 0 (a free one) to 65535")
    return port


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m infra.local_cloud", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--state", type=Path, default=REPOSITORY / ".dure" / "cloud", metavar="DIR", help="its folder")
    verbs = parser.add_subparsers(required=True)
    up = verbs.add_parser("up", parents=[common], help="start it")
    up.add_argument("--port", type=_port, default=0, help="port of 127.0.0.1; 0 takes a free one (default)")
    up.add_argument("--detach", action="store_true", help="return when it is ready")
    up.add_argument("--iam", choices=("on", "off"), default="on", help="off: roles may do everything (%(default)s)")
    up.add_argument("--node-environment", type=Path, default=REPOSITORY / ".envs" / "node", metavar="DIR")
    up.add_argument("--trainer-environment", type=Path, default=REPOSITORY / ".envs" / "trainer", metavar="DIR")
    up.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    up.set_defaults(action=_up)
    verbs.add_parser("down", parents=[common], help="end it").set_defaults(action=_down)
    status = verbs.add_parser("status", parents=[common], help="say how it is")
    status.add_argument("--json", action="store_true")
    status.set_defaults(action=_status)
    return parser


def _up(options: argparse.Namespace) -> int:
    state = State(options.state)
    if state.owner() is not None:
        with state.own():  # says who runs there
            pass
    if not options.inside and (lacks := preflight.problems(preflight.look(options.state), state=options.state)):
        for line in lacks:
            print(f"local cloud: {line}", file=sys.stderr)
        return 1
    if options.detach:
        return _detach(options, state)
    if os.geteuid() != 0:
        ownership.record(image.owners_file(options.state / "image"))
        return user_namespace.enter(
            [sys.executable, "-m", "infra.local_cloud", *_words(options), "--inside"], cwd=REPOSITORY
        )
    return _serve(options)


def _serve(options: argparse.Namespace) -> int:
    from . import server  # late: down and status do without werkzeug

    began = time.monotonic()
    binds = [
        (options.node_environment.absolute(), "/opt/dure/env/node"),
        (options.trainer_environment.absolute(), "/opt/dure/env/trainer"),
    ]
    try:
        server.run(
            server.Options(
                state=options.state,
                port=options.port,
                repository=REPOSITORY,
                binds=binds,
                unprivileged=options.inside,
                enforce_iam=options.iam == "on",
            ),
            say=lambda text: print(f"[{time.monotonic() - began:6.2f} s] {text}", flush=True),
        )
    except server.ServerError as error:
        print(f"local cloud: {error}", file=sys.stderr)
        return 1
    sys.stdout.flush()
    os._exit(0)  # requests that still wait for a machine have nobody to answer any more


def _words(options: argparse.Namespace) -> list[str]:
    return [
        "up",
        "--state",
        str(options.state),
        "--port",
        str(options.port),
        "--iam",
        options.iam,
        "--node-environment",
        str(options.node_environment.absolute()),
        "--trainer-environment",
        str(options.trainer_environment.absolute()),
    ]


def _detach(options: argparse.Namespace, state: State) -> int:
    log = options.state / "cloud.log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "infra.local_cloud", *_words(options)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd=REPOSITORY,
        )
    end, shown = time.monotonic() + READY_SECONDS, 0
    try:
        while time.monotonic() < end:
            code, ready = child.poll(), (state.info() or {}).get("pid") == child.pid  # not one left from a kill
            text = log.read_text(errors="replace")
            sys.stdout.write(text[shown:])
            sys.stdout.flush()
            shown = len(text)
            if code is not None:
                return code or 1
            if ready:
                return 0
            time.sleep(0.05)
    except KeyboardInterrupt:
        child.terminate()
        child.wait()
        raise
    child.terminate()
    raise StateError(f"it was not ready within {READY_SECONDS:g} s: see {log}")


def _down(options: argparse.Namespace) -> int:
    ended = State(options.state).end_owner()
    print("the local cloud is down" if ended else "no local cloud runs there")
    return 0


def _status(options: argparse.Namespace) -> int:
    state = State(options.state)
    pid, info = state.owner(), state.info()
    answer: dict[str, Any] = {
        "running": pid is not None and info is not None,
        "pid": pid,
        **(info or {}),
        "machines": [],
    }
    if answer["running"]:
        with urllib.request.urlopen(f"{answer['endpoint']}/_local_cloud/status", timeout=10) as reply:
            answer["machines"] = json.load(reply)
    if options.json:
        print(json.dumps(answer))
    elif not answer["running"]:
        print("down")
    else:
        print(f"up at {answer['endpoint']}, process {pid}, {len(answer['machines'])} machines")
        for machine in answer["machines"]:
            print(
                f"  {machine['id']}  {machine['ip']:15}  {machine['state']:8}  {machine['type']}  pid {machine['pid']}"
            )
    return 0 if answer["running"] else 1


if __name__ == "__main__":
    sys.exit(main())
