"""Who may take a role on: its trust policy, asked with IAM's decision, or for a service alone."""

from __future__ import annotations

from typing import Any

from infra.local_cloud.aws.cloud import ACCOUNT, Cloud
from infra.local_cloud.aws.errors import AwsError
from infra.local_cloud.aws.iam.callers import role_of
from infra.local_cloud.aws.iam.conditions import Context
from infra.local_cloud.aws.iam.policy import Decision, Question
from infra.local_cloud.aws.iam.resource_policy import Principal, Reach, judge

ASSUME = "sts:AssumeRole"


def decision(role_arn: str, who: Principal, by_iam: Decision, context: Context) -> Decision:
    """Whether a principal may take a role on. A role that is not there nobody may."""
    role = role_of(role_arn)
    if role is None:
        return Decision(allowed=False)
    verdict = judge(str(role.assume_role_policy_document), Question(ASSUME, role_arn, context), who)
    if by_iam.explicit or verdict.denied:
        return Decision(allowed=False, explicit=True)
    if verdict.reach is Reach.PRINCIPAL:
        return Decision(allowed=True)
    return Decision(allowed=verdict.reach is Reach.ACCOUNT and by_iam.allowed)


def trusts(role_arn: str, service: str, *, source: str = "") -> bool:
    """Whether a role lets a service take it on. `source`: the ARN of what the service does it for, if it says so."""
    context = {"aws:sourceaccount": (ACCOUNT,), "aws:sourcearn": (source,)} if source else {}
    return decision(role_arn, Principal(account=ACCOUNT, service=service), Decision(allowed=False), context).allowed


def assume(cloud: Cloud, region: str, role_arn: str, *, service: str, session: str, source: str = "") -> str:
    """A service takes a role on, for an hour: the access key. Raises AccessDenied when the role does not trust it."""
    if not trusts(role_arn, service, source=source):
        raise AwsError("AccessDenied", f"{service} is not authorized to perform: {ASSUME} on resource: {role_arn}")
    made: Any = cloud.client("sts", region).assume_role(RoleArn=role_arn, RoleSessionName=session)
    return str(made["Credentials"]["AccessKeyId"])
