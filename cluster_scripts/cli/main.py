"""The entry point of `dure`.

`dure --help` must come at once, so this module imports next to nothing: what the commands are stands in
a table, and a command's own module is imported only when it is called.

Exit codes, the same for every command:
    0  done
    1  the thing asked for failed (a job, a deployment)
    2  the request was wrong (usage, a cluster file)
    3  the other side could not be reached or refused (credentials, capacity, throttling)
"""

from __future__ import annotations

import sys

PACKAGE = "cluster_scripts.cli"

# name, one-line help, module inside this package
COMMANDS: tuple[tuple[str, str, str], ...] = (
    ("cloud", "start, stop or look at the local cloud: an AWS on this machine", "cloud"),
    ("check", "check a cluster file and list everything that is wrong with it", "check"),
    ("cost", "say what a cluster file costs: by queue, by month, for a job", "cost"),
    ("up", "deploy a cluster and wait until it takes jobs", "up"),
    ("down", "take a cluster away, whole, and show that nothing is left", "down"),
    ("policy", "print the IAM policy that a deployment takes", "policy"),
    ("submit", "pack the working folder and run a command as a job on the cluster", "submit"),
    ("jobs", "list the jobs of the cluster", "jobs"),
    ("show", "show all about one job", "show"),
    ("logs", "print or follow what a job writes", "logs"),
    ("cancel", "cancel jobs", "cancel"),
    ("nodes", "list the nodes of the cluster", "nodes"),
    ("top", "watch CPU, memory, GPU and training figures of every node", "top"),
    ("cp", "copy files to and from the cluster's file system", "cp"),
)

HEAD = """\
usage: dure [-h] [--version] COMMAND ...

Training clusters on AWS from one YAML file: submit jobs, read their logs,
watch them.

commands:
"""

TAIL = """
`dure COMMAND --help` tells all about one command. The cluster is the one that
--cluster or DURE_CLUSTER names, else the only one in the region.

exit codes:
  0  done
  1  what was asked for failed
  2  the request was wrong
  3  the cluster or AWS could not be reached, or refused
"""


def help_text() -> str:
    """What `dure --help` prints."""
    width = max(len(name) for name, _, _ in COMMANDS)
    return HEAD + "".join(f"  {name:<{width}}  {line}\n" for name, line, _ in COMMANDS) + TAIL


def main(argv: list[str] | None = None) -> int:
    """Run one command line (default: the process's own) and return the exit code."""
    words = sys.argv[1:] if argv is None else argv
    if not words:
        sys.stderr.write(help_text())
        return 2
    first, rest = words[0], words[1:]
    if first in ("-h", "--help", "help"):
        return _print_help()
    if first == "--version":
        return _print_version()
    for name, _, module in COMMANDS:
        if name == first:
            from cluster_scripts.cli.calling import call

            return call(f"{PACKAGE}.{module}", rest)
    return _unknown(first)


def _print_help() -> int:
    try:
        sys.stdout.write(help_text())
        sys.stdout.flush()
    except BrokenPipeError:
        from cluster_scripts.cli.calling import abandon_output

        abandon_output()
    return 0


def _print_version() -> int:
    from importlib.metadata import PackageNotFoundError, version

    try:
        print("dure", version("dure"))
    except PackageNotFoundError:
        print("dure (not installed as a package)")
    return 0


def _unknown(word: str) -> int:
    from difflib import get_close_matches

    near = get_close_matches(word, [name for name, _, _ in COMMANDS], n=1)
    hint = f"did you mean `dure {near[0]}`?" if near else "`dure --help` lists the commands."
    sys.stderr.write(f"dure: there is no command {word!r}; {hint}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
