"""The verbs that reach the head through the SSM document: one verb in, one line of JSON out.

    {"ok": true, "answer": {...}}
    {"ok": true, "answer_key": ".dure/answers/ID.json"}  the answer is in the bucket: SSM shows 24,000 characters
    {"ok": false, "error": {"kind": "no_such_job", "message": "..."}}

Answers: submit {"job_id": "7"}, jobs {"jobs": [...]}, show {"job": {...}}, cancel {}, nodes {"nodes": [...]}.

Verb and argument come as environment variables, checked by the document, and are checked again here: this runs as root.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from cluster_scripts.jobs.errors import DureError, InvalidArgument, InvalidSpec, NoSuchQueue
from cluster_scripts.jobs.model import PENDING, Job
from cluster_scripts.jobs.spec import JOB_ID, MAX_TEXT, JobSpec
from cluster_scripts.node import code
from cluster_scripts.node.accounts import JOB_USER
from cluster_scripts.node.slurm import Slurm
from cluster_scripts.slurm import commands
from infra.config.facts import Facts

SPEC_KEY = re.compile(r"\.dure/specs/[A-Za-z0-9-]{1,100}\.json", re.ASCII)
#: SSM keeps 24,000 characters of a command's output.
MAX_ANSWER = 20_000

#: States of a node that is on its way out.
GOING = frozenset({"powering_down", "power_down"})

Answer = dict[str, Any]


class Services(Protocol):
    """What the verbs ask of AWS; backends.aws.node_services.NodeServices is one."""

    def object(self, bucket: str, key: str) -> bytes | None: ...

    def download(self, bucket: str, key: str, *, to: Path, limit: int) -> bool: ...

    def put_object(self, bucket: str, key: str, content: bytes) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Server:
    """Answers verbs. `services` is called only by a verb that needs AWS; `new_id` gives names that never come twice."""

    facts: Facts
    slurm: Slurm
    services: Callable[[], Services]
    new_id: Callable[[], str]

    def line(self, verb: str, argument: str) -> tuple[str, bool]:
        """The line to print, and whether it went well. Raises nothing that a request could cause."""
        try:
            answer = self.answer(verb, argument)
        except DureError as error:
            return _line({"ok": False, "error": {"kind": error.kind, "message": error.message}}), False
        line = _line({"ok": True, "answer": answer})
        if len(line) <= MAX_ANSWER:
            return line, True
        key = f".dure/answers/{self.new_id()}.json"
        try:
            self.services().put_object(self.facts.bucket, key, _line(answer).encode())
        except DureError as error:
            return _line({"ok": False, "error": {"kind": error.kind, "message": error.message}}), False
        return _line({"ok": True, "answer_key": key}), True

    def answer(self, verb: str, argument: str) -> Answer:
        """What a verb answers. InvalidArgument for an unknown verb or an argument of another form."""
        verbs: dict[str, tuple[re.Pattern[str], Callable[[str], Answer]]] = {
            "submit": (SPEC_KEY, self._submit),
            "jobs": (re.compile(""), lambda _: {"jobs": [job.to_json() for job in self._told(self.slurm.jobs())]}),
            "show": (JOB_ID, lambda id: {"job": self._told([self.slurm.job(id)])[0].to_json()}),
            "cancel": (JOB_ID, self._cancel),
            "nodes": (re.compile(""), lambda _: {"nodes": [node.to_json() for node in self.slurm.nodes()]}),
        }
        if verb not in verbs:
            raise InvalidArgument(f"unknown verb {verb[:40]!r}; known: {', '.join(verbs)}")
        form, act = verbs[verb]
        if not form.fullmatch(argument):
            raise InvalidArgument(f"{verb}: the argument {argument[:80]!r} is not of the form {form.pattern!r}")
        return act(argument)

    def _told(self, jobs: list[Job]) -> list[Job]:
        """The jobs, with a reason that says more where a job waits for nodes that are on their way out."""
        if not any(_waits_for_nodes(job) for job in jobs):
            return jobs
        going = {node.queue for node in self.slurm.bare_nodes() if node.state in GOING}
        seconds = self.facts.slurm.suspend_timeout_seconds
        reason = f"waits for nodes: those that are being given back can be used again within {seconds} s"
        return [replace(job, reason=reason) if _waits_for_nodes(job) and job.queue in going else job for job in jobs]

    def _cancel(self, id: str) -> Answer:
        self.slurm.cancel(id)
        return {}

    def _submit(self, key: str) -> Answer:
        text = self.services().object(self.facts.bucket, key)
        if text is None:
            raise InvalidArgument(f"the bucket has no {key}; was the specification sent?")
        if len(text) > MAX_TEXT:
            raise InvalidSpec(f"the specification is {len(text)} bytes long, at most {MAX_TEXT} are allowed")
        try:
            spec = JobSpec.from_json(text.decode())
        except UnicodeDecodeError as error:
            raise InvalidSpec(f"the specification is not UTF-8: {error}") from error
        gpus = self._check_queue(spec)
        if spec.code is not None:
            folder = self.slurm.system.path(commands.MACHINE.code_dir)
            code.unpacked(spec.code, folder=folder, download=self._download)
        script = commands.batch_script(spec, cluster=self.facts.name)
        return {"job_id": self.slurm.submit(commands.submit(spec, gpus=gpus), script=script, user=JOB_USER)}

    def _download(self, key: str, to: Path, limit: int) -> bool:
        return self.services().download(self.facts.bucket, key, to=to, limit=limit)

    def _check_queue(self, spec: JobSpec) -> int:
        """The GPUs of one node of the job's queue; an error if the queue can never run the job."""
        try:
            queue = self.facts.queue(spec.queue)
        except KeyError as error:
            raise NoSuchQueue(str(error.args[0])) from error
        if spec.nodes > queue.max:
            raise InvalidSpec(f"nodes: found {spec.nodes}, queue {queue.name} has at most {queue.max}")
        if spec.tasks_per_node > queue.cpus:
            raise InvalidSpec(
                f"tasks_per_node: found {spec.tasks_per_node}, {queue.instance_type} has {queue.cpus} CPUs"
            )
        return queue.gpus


def _waits_for_nodes(job: Job) -> bool:
    """Whether Slurm's word for why a job waits means no more than "there is no node for it"."""
    return job.state == PENDING and job.reason.startswith(
        ("Nodes required for job are DOWN", "ReqNodeNotAvail", "Resources")
    )


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))
