"""What people need who use a cluster: those who submit to it, and those who only watch it.

Both get at the cluster by its name: they are not allowed to list the clusters of the account. Who watches sends a
document of their own, whose verbs change nothing: IAM can tell documents apart, not what is asked in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from infra.config.access.cluster import Place
from infra.config.access.statements import Statement

# The keys under which `dure submit` writes and the head answers
SPECS, CODE, ANSWERS = ".dure/specs/*", ".dure/code/*", ".dure/answers/*"


@dataclass(frozen=True)
class Used:
    """What of a cluster its users touch. `prefixes`: the bucket's that are tied to the file system, no slash behind."""

    place: Place
    bucket_arn: str
    key_arn: str
    jobs_log_group: str
    document: str
    watch_document: str
    prefixes: Sequence[str]


def watcher(used: Used) -> list[Statement]:
    """`dure jobs, show, nodes, logs, top`: nothing that changes anything, and no file of the file system."""
    return [*_see(used), _ask(used, used.watch_document), *_read(used, [ANSWERS])]


def submitter(used: Used) -> list[Statement]:
    """All of a watcher's, and `dure submit, cancel, cp`."""
    files = [f"{prefix}/*" for prefix in used.prefixes]
    listed = {"StringLike": {"s3:prefix": [CODE, *used.prefixes, *files]}}
    return [
        *_see(used),
        _ask(used, used.watch_document, used.document),
        *_read(used, [ANSWERS, CODE, *files]),
        # Who may not list is not told that an object isn't there
        Statement("ListObjects", ("s3:ListBucket",), (used.bucket_arn,), listed),
        Statement("WriteObjects", ("s3:PutObject",), _objects(used, [SPECS, CODE, *files])),
        Statement("EndUploads", ("s3:AbortMultipartUpload",), _objects(used, [CODE, *files])),
        Statement("WriteKey", ("kms:GenerateDataKey",), (used.key_arn,), used.place.by("s3")),
    ]


def _see(used: Used) -> list[Statement]:
    """The cluster's facts, its head, its jobs' output and its figures."""
    place = used.place
    logs = place.arn("logs", f"log-group:{used.jobs_log_group}:*")
    return [
        Statement("ReadFacts", ("ssm:GetParameter",), (place.parameter("facts"),)),
        # These three know no resources
        Statement("FindHead", ("ec2:DescribeInstances",), ("*",)),
        Statement("ReadFigures", ("cloudwatch:GetMetricData",), ("*",)),
        Statement("SeeAnswers", ("ssm:GetCommandInvocation",), ("*",)),
        Statement("ReadOutput", ("logs:GetLogEvents",), (logs,)),
    ]


def _ask(used: Used, *documents: str) -> Statement:
    """Send these documents, which have no tags themselves: to which machine is the next statement's."""
    names = tuple(used.place.arn("ssm", f"document/{name}") for name in documents)
    return Statement("Ask", ("ssm:SendCommand",), names)


def _read(used: Used, keys: Sequence[str]) -> list[Statement]:
    """Send to the head, and read what it, or anybody, put under these keys."""
    place = used.place
    head = {"StringEquals": {"ssm:resourceTag/dure:cluster": place.cluster, "ssm:resourceTag/dure:role": "head"}}
    return [
        Statement("AskTheHead", ("ssm:SendCommand",), (place.instances,), head),
        Statement("ReadObjects", ("s3:GetObject",), _objects(used, keys)),
        Statement("ReadKey", ("kms:Decrypt",), (used.key_arn,), place.by("s3")),
    ]


def _objects(used: Used, keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{used.bucket_arn}/{key}" for key in keys)
