"""KMS keys: their policies decide with IAM's, and services that use a key for themselves need them too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from moto.kms.models import kms_backends
from moto.logs.models import logs_backends

from infra.local_cloud.aws.cloud import ACCOUNT, Cloud
from infra.local_cloud.aws.iam.launching import key_arn
from infra.local_cloud.aws.iam.policy import Decision, Question
from infra.local_cloud.aws.iam.resource_policy import Principal, Reach, judge
from infra.local_cloud.aws.operations import Call

# What CloudWatch Logs does with the key of a group, in its own name. Source: its guide on encryption with KMS.
_LOGS_USE: Mapping[str, str] = {
    "CreateLogGroup": "kms:GenerateDataKey",
    "FilterLogEvents": "kms:Decrypt",
    "GetLogEvents": "kms:Decrypt",
    "PutLogEvents": "kms:GenerateDataKey",
}


def policy_of(resource: str) -> str | None:
    """The policy of the key that an ARN names; None when there is no such key."""
    parts = resource.split(":", 5)
    if len(parts) < 6 or parts[2] != "kms" or not parts[5].startswith("key/"):
        return None
    key: Any = kms_backends[ACCOUNT][parts[3]].keys.get(parts[5].removeprefix("key/"))
    return None if key is None else str(key.policy)


def with_key_policy(policy: str, question: Question, who: Principal, by_iam: Decision) -> Decision:
    """IAM's decision and the key's together: the key must name the principal, or the account and IAM the rest."""
    verdict = judge(policy, question, who)
    if by_iam.explicit or verdict.denied:
        return Decision(allowed=False, explicit=True)
    if verdict.reach is Reach.PRINCIPAL:
        return Decision(allowed=True)
    return Decision(allowed=verdict.reach is Reach.ACCOUNT and by_iam.allowed)


def uses_by_service(cloud: Cloud, call: Call) -> Iterator[tuple[Principal, Question]]:
    """What a service asks of a key in its own name before it answers a request: CloudWatch Logs, of a group's key."""
    if call.service != "logs" or call.operation not in _LOGS_USE:
        return
    name = call.params.get("logGroupName", "")
    group: Any = logs_backends[ACCOUNT][call.region].groups.get(name)
    key = call.params.get("kmsKeyId") or getattr(group, "kms_key_id", None)
    if not key:
        return
    arn = cloud.arn("logs", call.region, f"log-group:{name}")
    who = Principal(account=ACCOUNT, service=f"logs.{call.region}.amazonaws.com")
    context = {"kms:encryptioncontext:aws:logs:arn": (arn,), "kms:calleraccount": (ACCOUNT,)}
    yield who, Question(_LOGS_USE[call.operation], key_arn(cloud, call.region, key), context)
