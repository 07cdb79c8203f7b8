"""In whose name a stack's operation makes its calls: a role that trusts CloudFormation, else who asked for it."""

from __future__ import annotations

from infra.local_cloud.aws.cloud import Cloud
from infra.local_cloud.aws.cloudformation.model import Stack
from infra.local_cloud.aws.cloudformation.template import invalid
from infra.local_cloud.aws.errors import AwsError
from infra.local_cloud.aws.iam import trust
from infra.local_cloud.aws.operations import Call

SERVICE, SESSION = "cloudformation.amazonaws.com", "AWSCloudFormation"


def actor(cloud: Cloud, call: Call, role_arn: str | None) -> tuple[str | None, str]:
    """The role of the operation that begins and the access key that it uses: the role's, else the caller's.

    Raises ValidationError when the role does not trust CloudFormation.
    """
    return role_arn, _assumed(cloud, call, role_arn) if role_arn else call.access_key


def act_for(cloud: Cloud, call: Call, stack: Stack, role_arn: str | None) -> None:
    """Settle that for a stack, which keeps its role once it has one."""
    stack.role_arn, stack.access_key = actor(cloud, call, role_arn or stack.role_arn)


def _assumed(cloud: Cloud, call: Call, role_arn: str) -> str:
    try:
        return trust.assume(cloud, call.region, role_arn, service=SERVICE, session=SESSION, source=_source(call))
    except AwsError as error:
        raise invalid(f"Role {role_arn} is invalid or cannot be assumed") from error


def _source(call: Call) -> str:
    """The ARN that CloudFormation names as its reason: any stack of the account and region."""
    return f"arn:aws:cloudformation:{call.region}:{call.account}:stack/*"
