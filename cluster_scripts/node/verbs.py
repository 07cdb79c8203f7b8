"""The verbs of `dure-node`, wired: each makes what it needs from the machine it runs on. What AWS needs is imported
only by those that call AWS."""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cluster_scripts.jobs.errors import StepFailed
from cluster_scripts.jobs.spec import JOB_ID
from cluster_scripts.node.system import System
from cluster_scripts.slurm import commands
from infra.config.facts import Facts, FactsError

if TYPE_CHECKING:
    from cluster_scripts.backends.aws.node_services import NodeServices
    from cluster_scripts.node.power import Power
    from cluster_scripts.node.steps import StepLog

FACTS_FILE = "/etc/dure/facts.json"
IDENTITY_FILE = "/etc/dure/identity.json"
POWER_LOG = "/var/log/slurm/power.log"
NODE_LOG = "/var/log/dure/node.log"


def boot(arguments: Sequence[str]) -> int:
    """See cluster_scripts.node.boot."""
    from cluster_scripts.node.boot import LOG_FILE, Boot
    from cluster_scripts.node.identity import Metadata, identify

    system = System()
    system.folder("/var/log/dure")
    log = _log("boot", system, LOG_FILE)
    with log.step("identity"):
        identity = identify(system, Metadata())
    log.note("this is", f"{identity.instance_id}, {identity.role} of cluster {identity.cluster} in {identity.region}")
    Boot(system, _services(identity.region), identity, log).run()
    log.note("ready")
    return 0


def serve(arguments: Sequence[str]) -> int:
    """See cluster_scripts.node.serve. An error of the request is an answer too: SSM shows it, and the client raises
    it."""
    from cluster_scripts.node.serve import Server
    from cluster_scripts.node.slurm import Slurm

    system = System()
    facts = _facts(system)
    server = Server(facts=facts, slurm=Slurm(system), services=lambda: _services(facts.region), new_id=_new_id)
    # SSM names these variables after the document's parameters
    line, ok = server.line(os.environ.get("SSM_Verb", ""), os.environ.get("SSM_Argument", ""))  # noqa: SIM112
    print(line)
    return 0 if ok else 1


def keep(arguments: Sequence[str]) -> int:
    """See cluster_scripts.node.keep."""
    from cluster_scripts.node.keep import Keeper
    from cluster_scripts.node.slurm import Slurm

    system = System()
    facts = _facts(system)
    log = _log("keeper", system, POWER_LOG)
    Keeper(facts=facts, services=_services(facts.region), slurm=Slurm(system), log=log, clock=system.clock).run()
    return 0


def resume(arguments: Sequence[str]) -> int:
    """ResumeProgram: one argument, the nodes; the file SLURM_RESUME_FILE says which job waits for which."""
    from cluster_scripts.slurm.power import Resume, resume_file

    power = _power("resume")
    names = _nodes(arguments)
    file = os.environ.get("SLURM_RESUME_FILE")
    wanted = (
        resume_file(Path(file).read_text(encoding="utf-8"), wanted=names)
        if file
        else [Resume(job_id=None, nodes=names)]
    )
    return 0 if power.resume(wanted) else 1


def suspend(arguments: Sequence[str]) -> int:
    """SuspendProgram: one argument, the nodes."""
    _power("suspend").suspend(_nodes(arguments))
    return 0


def resume_fail(arguments: Sequence[str]) -> int:
    """ResumeFailProgram: one argument, the nodes that did not join in time."""
    _power("resume-fail").fail(_nodes(arguments))
    return 0


def prolog_slurmctld(arguments: Sequence[str]) -> int:
    """PrologSlurmctld. Another code than 0 makes Slurm queue the job again."""
    from cluster_scripts.node.hooks import wait_for_nodes

    system = System()
    seconds = _facts(system).slurm.resume_timeout_seconds
    return 0 if wait_for_nodes(system, os.environ.get("SLURM_JOB_NODELIST", ""), seconds=seconds) else 1


def prolog(arguments: Sequence[str]) -> int:
    """Prolog of slurmd. Another code than 0 drains this node, for the reason that `dure nodes` then shows."""
    from cluster_scripts.node import hooks
    from cluster_scripts.node.slurm import Slurm

    system, job = System(), _job()
    try:
        with _log(f"prolog of job {job}", system, NODE_LOG).step("check"):
            hooks.prolog(system, _facts(system), job=job, queue=_queue(system), gpus=hooks.count_gpus)
    except StepFailed as error:
        hooks.refuse_node(Slurm(system), os.environ.get("SLURMD_NODENAME", ""), error)
        raise
    return 0


def epilog(arguments: Sequence[str]) -> int:
    """Epilog of slurmd. Another code than 0 drains this node."""
    from cluster_scripts.node import hooks

    system = System()
    job = _job()
    log = _log(f"epilog of job {job}", system, NODE_LOG)
    if ended := hooks.epilog(system, job=job):
        log.note("ended what the job left running", f"{ended} processes")
    return 0


def lost(arguments: Sequence[str]) -> int:
    """Whether a node of this job is lost: LOST_EXIT, and its name, or 0."""
    from cluster_scripts.node.hooks import lost_nodes

    names = lost_nodes(System(), os.environ)
    if names:
        print(f"dure: {', '.join(names)} do not answer: the job starts again on other machines", file=sys.stderr)
        return commands.LOST_EXIT
    return 0


def _facts(system: System) -> Facts:
    try:
        return Facts.from_json(system.path(FACTS_FILE).read_text(encoding="utf-8"))
    except (OSError, FactsError) as error:
        raise StepFailed(f"{FACTS_FILE} can't be used; has this machine booted? ({error})") from error


def _job() -> str:
    job = os.environ.get("SLURM_JOB_ID", "")
    if not JOB_ID.fullmatch(job):
        raise StepFailed(f"SLURM_JOB_ID is {job!r}: Slurm calls this, nobody else")
    return job


def _queue(system: System) -> str:
    try:
        return str(json.loads(system.path(IDENTITY_FILE).read_text(encoding="utf-8"))["queue"])
    except (OSError, ValueError, KeyError) as error:
        raise StepFailed(f"{IDENTITY_FILE} can't be used; has this machine booted? ({error})") from error


def _services(region: str) -> NodeServices:
    from cluster_scripts.backends.aws.node_services import NodeServices

    return NodeServices.open(region=region)


def _log(program: str, system: System, file: str) -> StepLog:
    from cluster_scripts.node.steps import StepLog

    return StepLog(program, file=system.path(file), clock=system.clock)


def _power(program: str) -> Power:
    from cluster_scripts.node.power import Power
    from cluster_scripts.node.slurm import Slurm

    system = System()
    facts = _facts(system)
    return Power(
        facts=facts,
        services=_services(facts.region),
        slurm=Slurm(system),
        log=_log(program, system, POWER_LOG),
        clock=system.clock,
        new_id=_new_id,
    )


def _nodes(arguments: Sequence[str]) -> tuple[str, ...]:
    from cluster_scripts.slurm.hostlist import expand

    try:
        return expand(arguments[0])
    except (IndexError, ValueError) as error:
        raise StepFailed(f"expected one argument, a list of nodes, found {list(arguments)}") from error


def _new_id() -> str:
    return uuid.uuid4().hex
