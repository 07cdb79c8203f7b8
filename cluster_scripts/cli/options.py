"""Options that several commands share, and what they mean."""

from __future__ import annotations

import argparse
import os
import shutil
import textwrap
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cluster_scripts.backends.choose import Target


def parser(name: str, description: str, *, epilog: str | None = None) -> argparse.ArgumentParser:
    """A command's parser; usage errors exit with 2, as argparse does."""
    return argparse.ArgumentParser(
        prog=f"dure {name}",
        description=_wrapped(description),
        epilog=epilog,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _wrapped(text: str) -> str:
    """The paragraphs, each as wide as the terminal; an epilog, by contrast, is printed as it stands."""
    width = min(shutil.get_terminal_size().columns - 2, 100)
    return "\n\n".join(textwrap.fill(part, width) for part in text.split("\n\n"))


def add_target(to: argparse.ArgumentParser, *, ssh: bool = True) -> None:
    """Which cluster is meant."""
    group = to.add_argument_group("which cluster")
    group.add_argument("--cluster", metavar="NAME", help="its name (else DURE_CLUSTER, else the only one there is)")
    group.add_argument("--region", metavar="REGION", help="AWS region (else the one of your AWS configuration)")
    if ssh:
        group.add_argument(
            "--ssh",
            metavar="[USER@]HOST[:PORT]",
            help="an existing Slurm cluster, through ssh to its login machine (else DURE_SSH)",
        )


def add_json(to: argparse.ArgumentParser) -> None:
    to.add_argument("--json", action="store_true", help="print JSON instead of text")


def target_of(options: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> Target:
    """The target that the options and the environment name; options win, and --cluster wins over DURE_SSH."""
    from cluster_scripts.backends.choose import Target

    ssh = getattr(options, "ssh", None)
    if hasattr(options, "ssh") and not ssh and not options.cluster:
        ssh = environ.get("DURE_SSH") or None
    return Target(cluster=options.cluster or environ.get("DURE_CLUSTER") or None, region=options.region, ssh=ssh)


def whole(low: int, high: int) -> Callable[[str], int]:
    """A converter for argparse: a whole number from low to high."""

    def convert(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return int(text)

    return convert
