"""What a caller may, by policies as they are at that moment, and AWS's words for a refusal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from infra.local_cloud.aws.cloud import ACCOUNT, Cloud
from infra.local_cloud.aws.errors import AwsError, NotModelled
from infra.local_cloud.aws.iam import keys, trust
from infra.local_cloud.aws.iam.actions import questions
from infra.local_cloud.aws.iam.callers import Caller, Callers, documents
from infra.local_cloud.aws.iam.policy import Decision, Question, decide
from infra.local_cloud.aws.iam.resource_policy import Principal
from infra.local_cloud.aws.operations import Call

_XML = frozenset({"s3", "cloudformation", "iam", "sts", "sns", "cloudwatch"})
# Services whose operations may ask for a key; only there are an administrator's requests looked at
_KEYED = frozenset({"ec2", "fsx", "kms", "s3", "secretsmanager"})


class Enforcement:
    """The judge of a cloud's requests. `on=False` lets everything pass."""

    def __init__(self, cloud: Cloud, *, on: bool = True) -> None:
        self._cloud = cloud
        self._on = on
        self._callers = Callers()

    def caller(self, access_key: str) -> str | None:
        """The ARN of the role session or user that an access key belongs to; None for anybody else."""
        try:
            caller = self._callers.find(access_key)
        except AwsError:
            return None
        return None if caller is None or caller.administrator else caller.arn

    def check(self, call: Call, query: Mapping[str, str]) -> None:
        """Raise AWS's error unless the caller may do all that the request asks for. `query`: of the address."""
        if not self._on:
            return
        self._check_services(call)
        caller = self._callers.find(call.access_key)
        if caller is None:
            return
        assuming = (call.service, call.operation) == ("sts", "AssumeRole")
        if caller.administrator and call.service not in _KEYED and not assuming:
            return
        if assuming and call.params.get("PolicyArns"):
            raise NotModelled("session policies of sts:AssumeRole")
        held = () if caller.administrator else documents(caller.principal)
        for question in questions(self._cloud, call, query):
            self._require(held, question, call, caller)

    def _check_services(self, call: Call) -> None:
        for service, question in keys.uses_by_service(self._cloud, call):
            policy = keys.policy_of(question.resource)
            allowed = policy and keys.with_key_policy(policy, question, service, Decision(allowed=False)).allowed
            if not allowed:
                said = f"{service.service} is not authorized to perform: {question.action} on: {question.resource}"
                raise AwsError("InvalidParameterException", f"The specified KMS key can't be used: {said}")

    def check_missing(self, call: Call) -> None:
        """Before S3's 404: who may not list a bucket is not told that an object isn't there, but 403.

        This question has no s3:prefix, which only a listing has: a statement that requires one does not help.
        """
        if not self._on or call.operation not in ("GetObject", "HeadObject"):
            return
        caller = self._callers.find(call.access_key)
        if caller is None or caller.administrator:
            return
        question = Question("s3:ListBucket", f"arn:aws:s3:::{call.params['Bucket']}")
        self._require(documents(caller.principal), question, call, caller)

    def _require(self, held: list[str] | tuple[()], question: Question, call: Call, caller: Caller) -> None:
        asked = replace(question, context={**_common(caller, call), **question.context})
        by_iam = Decision(allowed=True) if caller.administrator else decide(held, asked)
        decision, by = by_iam, "identity"
        who = Principal(account=ACCOUNT, arn=caller.principal, session=caller.arn)
        if asked.action == trust.ASSUME:
            decision = trust.decision(asked.resource, who, by_iam, asked.context)
        elif asked.action.startswith("kms:") and (policy := keys.policy_of(asked.resource)) is not None:
            decision = keys.with_key_policy(policy, asked, who, by_iam)
        if by_iam.allowed and not decision.allowed:
            by = "resource"
        if not decision.allowed:
            raise refusal(call.service, caller.arn, question, decision, by=by)


def _common(caller: Caller, call: Call) -> dict[str, tuple[str, ...]]:
    external = {"sts:externalid": (call.params["ExternalId"],)} if "ExternalId" in call.params else {}
    return {
        **external,
        "aws:principalaccount": (ACCOUNT,),
        "aws:principalarn": (caller.principal,),
        "aws:requestedregion": (call.region,),
        "aws:securetransport": ("true",),  # as everywhere here: the local cloud answers for TLS
        "kms:calleraccount": (ACCOUNT,),
    }


def refusal(service: str, caller: str, question: Question, decision: Decision, *, by: str = "identity") -> AwsError:
    """The error that a service answers with, which names caller, action and resource as AWS does.

    `by`: whose policy said no, identity or resource.
    """
    resource = f'"{question.resource}"' if service == "s3" else question.resource
    why = (
        f"with an explicit deny in {'an' if by == 'identity' else 'a'} {by}-based policy"
        if decision.explicit
        else f"because no {by}-based policy allows the {question.action} action"
    )
    said = f"User: {caller} is not authorized to perform: {question.action} on resource: {resource} {why}"
    if service == "ec2":
        return AwsError(
            "UnauthorizedOperation", f"You are not authorized to perform this operation. {said}", status=403
        )
    if service in _XML:
        return AwsError("AccessDenied", said, status=403)
    return AwsError("AccessDeniedException", said)
