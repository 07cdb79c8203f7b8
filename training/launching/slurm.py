"""The address of the node that holds rank 0, asked from Slurm."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence

from training.errors import LaunchError


def address_of_first_node(environment: Mapping[str, str]) -> str:
    """NodeAddr of the step's first node: an address also where node names resolve nowhere. Runs scontrol."""
    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
    first = _scontrol(["show", "hostnames", nodes]).split()
    if not first:
        raise LaunchError(f"scontrol knows no node in {nodes!r}")
    return node_address(_scontrol(["show", "--oneliner", "node", first[0]]), name=first[0])


def node_address(text: str, *, name: str) -> str:
    """NodeAddr in the output of ``scontrol show --oneliner node``; the name itself if there is none."""
    match = re.search(r"\bNodeAddr=(\S+)", text)
    return match[1] if match else name


def _scontrol(arguments: Sequence[str]) -> str:
    try:
        done = subprocess.run(["scontrol", *arguments], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LaunchError(f"scontrol {' '.join(arguments)} could not run: {error}") from error
    if done.returncode:
        raise LaunchError(f"scontrol {' '.join(arguments)} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
