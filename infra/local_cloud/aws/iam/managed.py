"""IAM: AWS's own managed policies, made known one by one as they are asked for. The rest is moto's.

moto can load all 1,300 at start; that takes a second and 50 MB, for the two that anybody uses.
"""

from __future__ import annotations

import functools
import json
from typing import Any

from moto.iam.aws_managed_policies import aws_managed_policies_data
from moto.iam.models import AWSManagedPolicy, iam_backends

from infra.local_cloud.aws.cloud import ACCOUNT, PARTITION, Cloud
from infra.local_cloud.aws.operations import Call

_PREFIX = f"arn:{PARTITION}:iam::aws:policy/"


@functools.cache
def _catalog() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(aws_managed_policies_data)
    return found


def know_managed_policy(cloud: Cloud, call: Call) -> None:
    """Before an operation on a policy: if it is one of AWS's, make it exist."""
    arn = call.params.get("PolicyArn", "")
    backend = iam_backends[ACCOUNT][PARTITION]
    if not arn.startswith(_PREFIX) or arn in backend.managed_policies:
        return
    name = arn.rsplit("/", 1)[-1]
    if name in _catalog():
        policy = AWSManagedPolicy.from_data(name, ACCOUNT, call.region, _catalog()[name])
        if policy.arn == arn:
            backend.managed_policies[arn] = policy
