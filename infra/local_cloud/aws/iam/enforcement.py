"""Who asks, which policies that gives, and AWS's words for a refusal.

Requests that are signed with an assumed role's credentials (a machine's from its metadata service, the CDK CLI's from
sts:AssumeRole) are judged by that role's policies as they are now. All others are the account's administrator.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from moto.iam.models import iam_backends
from moto.sts.models import sts_backends

from infra.local_cloud.aws.cloud import ACCOUNT, PARTITION, Cloud
from infra.local_cloud.aws.errors import AwsError, NotModelled
from infra.local_cloud.aws.iam.actions import questions
from infra.local_cloud.aws.iam.policy import Decision, Question, decide
from infra.local_cloud.aws.operations import Call

TEMPORARY = "ASIA"  # what the access keys of temporary credentials begin with
_XML = frozenset({"s3", "cloudformation", "iam", "sts", "sns", "cloudwatch"})


class Enforcement:
    """The judge of a cloud's requests. `on=False` lets everything pass."""

    def __init__(self, cloud: Cloud, *, on: bool = True) -> None:
        self._cloud = cloud
        self._on = on
        self._sessions: dict[str, Any] = {}

    def caller(self, access_key: str) -> str | None:
        """The ARN of the assumed role session that an access key belongs to; None for anybody else."""
        session = self._session(access_key)
        return None if session is None else str(session.arn)

    def check(self, call: Call, query: Mapping[str, str]) -> None:
        """Raise AWS's error unless the caller may do all that the request asks for. `query`: of the address."""
        if not self._on or not call.access_key.startswith(TEMPORARY):
            return
        session = self._session(call.access_key)
        if session is None:
            raise AwsError("InvalidClientTokenId", "The security token included in the request is invalid.", status=403)
        documents = self._documents(session)
        common = _common(session, call)
        for question in questions(self._cloud, call, query):
            self._require(documents, replace(question, context={**common, **question.context}), call, session)

    def check_missing(self, call: Call) -> None:
        """Before S3's 404: who may not list a bucket is not told that an object isn't there, but 403."""
        session = self._session(call.access_key)
        if not self._on or session is None or call.operation not in ("GetObject", "HeadObject"):
            return
        question = Question("s3:ListBucket", f"arn:{PARTITION}:s3:::{call.params['Bucket']}", _common(session, call))
        self._require(self._documents(session), question, call, session)

    def _require(self, documents: list[str], question: Question, call: Call, session: Any) -> None:
        decision = decide(documents, question)
        if not decision.allowed:
            raise refusal(call.service, str(session.arn), question, decision)

    def _session(self, access_key: str) -> Any:
        if access_key not in self._sessions and access_key.startswith(TEMPORARY):
            backend = sts_backends[ACCOUNT][PARTITION]
            found = backend.get_assumed_role_from_access_key(access_key)
            if found is None:
                return None
            self._sessions[access_key] = found
        return self._sessions.get(access_key)

    def _documents(self, session: Any) -> list[str]:
        """The role's inline and attached policies; none when the role is gone."""
        if session.policy:
            raise NotModelled("session policies of sts:AssumeRole")
        roles: Iterable[Any] = iam_backends[ACCOUNT][PARTITION].roles.values()
        role = next((each for each in roles if each.arn == session.role_arn), None)
        if role is None:
            return []
        if role.permissions_boundary_arn:
            raise NotModelled(f"permissions boundaries (of {role.arn})")
        attached = [
            str(version.document)
            for policy in role.managed_policies.values()
            for version in policy.versions
            if version.is_default
        ]
        return [*map(str, role.policies.values()), *attached]


def _common(session: Any, call: Call) -> dict[str, tuple[str, ...]]:
    return {
        "aws:principalaccount": (ACCOUNT,),
        "aws:principalarn": (str(session.role_arn),),
        "aws:requestedregion": (call.region,),
        "aws:securetransport": ("true",),  # as everywhere here: the local cloud answers for TLS
    }


def refusal(service: str, caller: str, question: Question, decision: Decision) -> AwsError:
    """The error that a service answers with, which names caller, action and resource as AWS does."""
    resource = f'"{question.resource}"' if service == "s3" else question.resource
    why = (
        "with an explicit deny in an identity-based policy"
        if decision.explicit
        else f"because no identity-based policy allows the {question.action} action"
    )
    said = f"User: {caller} is not authorized to perform: {question.action} on resource: {resource} {why}"
    if service == "ec2":
        return AwsError(
            "UnauthorizedOperation", f"You are not authorized to perform this operation. {said}", status=403
        )
    if service in _XML:
        return AwsError("AccessDenied", said, status=403)
    return AwsError("AccessDeniedException", said)
