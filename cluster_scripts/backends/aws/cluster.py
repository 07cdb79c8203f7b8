"""The port over AWS: facts in SSM, verbs to the head over SSM, archives in S3, output in CloudWatch Logs."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster_scripts.backends.aws.bucket import SPECS, Bucket
from cluster_scripts.backends.aws.command import Asking
from cluster_scripts.backends.aws.errors import translating
from cluster_scripts.backends.aws.facts import load_facts
from cluster_scripts.backends.aws.head import head_instance
from cluster_scripts.backends.aws.logs import JobLogs, is_end
from cluster_scripts.backends.aws.session import Aws
from cluster_scripts.backends.aws.waiting import SYSTEM_CLOCK, Clock
from cluster_scripts.backends.reached import QueueLimits, check_queue
from cluster_scripts.jobs.errors import InvalidArgument, UnexpectedAnswer, Unreachable
from cluster_scripts.jobs.model import Job, LogEvent, LogPage, Node
from cluster_scripts.jobs.spec import JOB_ID, JobSpec
from infra.config.facts import Facts

# the agent looks every second, and CloudWatch Logs shows an event some seconds after it took it
DRAIN_SECONDS = 20.0


def _new_id() -> str:
    return uuid.uuid4().hex


class AwsCluster:
    """A deployed cluster; implements `cluster_scripts.jobs.ports.Cluster`. Not for several threads at once."""

    def __init__(
        self, *, aws: Aws, facts: Facts, clock: Clock = SYSTEM_CLOCK, new_id: Callable[[], str] = _new_id
    ) -> None:
        """No call is made. `new_id` names specifications: letters and digits that never come twice."""
        self.aws = aws
        self.facts = facts
        self.bucket = Bucket(aws=aws, name=facts.bucket)
        self._logs = JobLogs(aws=aws, group=facts.log_groups.jobs)
        self._clock = clock
        self._new_id = new_id
        self._head: str | None = None

    @classmethod
    def open(cls, aws: Aws, name: str) -> AwsCluster:
        """The cluster of that name. Raises NoSuchCluster and any OtherSide."""
        return cls(aws=aws, facts=load_facts(aws, name))

    @property
    def name(self) -> str:
        return self.facts.name

    @property
    def drain_seconds(self) -> float:
        return DRAIN_SECONDS

    def caller(self) -> str:
        """The ARN of who runs this program, as AWS sees it."""
        with translating("asking AWS who you are"):
            return self.aws.sts.get_caller_identity()["Arn"]

    def submit(self, spec: JobSpec, *, code: Path | None) -> str:
        """See the port. Side effects: an object for the specification, one for the code unless it is there."""
        if (spec.code is None) != (code is None):
            raise InvalidArgument("an archive belongs to a specification with code, and only to one")
        check_queue(spec.queue, nodes=spec.nodes, queues=self.queues())
        if spec.code is not None and code is not None:
            self.bucket.put_file_once(spec.code.key, code)
        key = f"{SPECS}/{self._new_id()}.json"
        self.bucket.put_text(key, spec.to_json())
        job_id: str = _field(self._ask("submit", key), "job_id", str)
        return job_id

    def jobs(self) -> list[Job]:
        return [Job.from_json(item) for item in _field(self._ask("jobs"), "jobs", list)]

    def job(self, id: str) -> Job:
        return Job.from_json(_field(self._ask("show", _checked(id)), "job", dict))

    def cancel(self, id: str) -> None:
        self._ask("cancel", _checked(id))

    def nodes(self) -> list[Node]:
        return [Node.from_json(item) for item in _field(self._ask("nodes"), "nodes", list)]

    def log_events(self, id: str, *, cursor: str | None) -> LogPage:
        return self._logs.page(_checked(id), cursor)

    @property
    def marks_log_end(self) -> bool:
        return True

    def is_log_end(self, event: LogEvent) -> bool:
        return is_end(event)

    def last_lines(self, id: str, count: int) -> tuple[LogEvent, ...]:
        """The last lines of a job's output so far, at most `count`."""
        return self._logs.last(_checked(id), count)

    def queues(self) -> tuple[QueueLimits, ...]:
        """The queues of the facts, in the cluster file's order."""
        return tuple(QueueLimits(name=q.name, nodes=q.max, gpus=q.gpus) for q in self.facts.queues)

    def _ask(self, verb: str, argument: str = "") -> dict[str, Any]:
        if self._head is None:
            self._head = head_instance(self.aws, self.name)
        asking = Asking(
            aws=self.aws,
            document=self.facts.document_for(verb),
            instance_id=self._head,
            fetch=self.bucket.get_text,
            clock=self._clock,
        )
        try:
            return asking.ask(verb, argument)
        except Unreachable:
            self._head = None  # it may have been replaced: look it up again the next time
            raise


def _checked(id: str) -> str:
    if not JOB_ID.fullmatch(id):
        raise InvalidArgument(f"{id!r} is no job id; `dure jobs` lists them (a number such as 12)")
    return id


def _field(answer: dict[str, Any], key: str, kind: type) -> Any:
    value = answer.get(key)
    if not isinstance(value, kind):
        raise UnexpectedAnswer(
            f"the head's answer has no {key!r} of type {kind.__name__}: {sorted(answer)}; "
            "do the cluster and this toolkit have the same version?"
        )
    return value
