"""`dure-node VERB`: what the machine's units, Slurm's hooks and the SSM document call.

    boot                       from user data, later from dure-boot.service, as root
    serve                      from the SSM document, as root on the head (SSM_Verb, SSM_Argument)
    keep                       dure-keeper.service, as slurm on the head
    resume, suspend, resume-fail NODES; prolog-slurmctld    from slurmctld, as slurm
    prolog, epilog             from slurmd, as root
    lost                       from a job's batch script, as the job's user

Exit codes: 0 done; 1 failed, with the reason on standard error; 2 usage; `lost` ends with 10 if a node does not answer.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from cluster_scripts.jobs.errors import DureError
from cluster_scripts.node import verbs

VERBS: dict[str, Callable[[Sequence[str]], int]] = {
    "boot": verbs.boot,
    "serve": verbs.serve,
    "keep": verbs.keep,
    "resume": verbs.resume,
    "suspend": verbs.suspend,
    "resume-fail": verbs.resume_fail,
    "prolog-slurmctld": verbs.prolog_slurmctld,
    "prolog": verbs.prolog,
    "epilog": verbs.epilog,
    "lost": verbs.lost,
}


def main(arguments: Sequence[str]) -> int:
    """Run one verb."""
    if not arguments or arguments[0] not in VERBS:
        print(f"usage: dure-node {{{','.join(VERBS)}}} [NODES]", file=sys.stderr)
        return 2
    os.umask(0o022)
    try:
        return VERBS[arguments[0]](arguments[1:])
    except DureError as error:
        print(f"dure-node {arguments[0]}: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
