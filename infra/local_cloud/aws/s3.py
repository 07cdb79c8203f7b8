"""S3: bucket policies with conditions, and what a write or deletion sets off. The rest is moto's."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from typing import Any

from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.s3.models import FakeBucket

from infra.local_cloud.aws.cloud import Cloud
from infra.local_cloud.aws.fsx import sync
from infra.local_cloud.aws.loopback import ACCESS_KEY
from infra.local_cloud.aws.operations import Call

# What these keys are for every request here. The local cloud speaks plain HTTP on this machine only and answers
# for TLS, as it answers for everything else of AWS's edge.
CONTEXT = {"aws:securetransport": "true", "s3:tlsversion": "1.3"}
_TESTS: dict[str, Callable[[str, str], bool]] = {
    "bool": lambda have, want: have.lower() == want.lower(),
    "stringequals": lambda have, want: have == want,
    "stringnotequals": lambda have, want: have != want,
    "numericlessthan": lambda have, want: float(have) < float(want),
}


def condition_holds(condition: dict[str, Any]) -> bool:
    """Whether a statement's Condition holds for a request to the local cloud; one of unknown keys does not."""
    for operator, tests in condition.items():
        test = _TESTS.get(operator.lower())
        for key, wanted in tests.items():
            have = CONTEXT.get(key.lower())
            values = wanted if isinstance(wanted, list) else [wanted]
            if test is None or have is None or not any(test(have, str(value)) for value in values):
                return False
    return True


def get_permission(self: Any, action: str, resource: str) -> Any:
    """Takes the place of `FakeBucket.get_permission`, which does not read conditions."""
    if self.policy is None:
        return PermissionResult.NEUTRAL
    document = json.loads(self.policy.decode())
    listed = document["Statement"]
    statements = listed if isinstance(listed, list) else [listed]
    document["Statement"] = [item for item in statements if condition_holds(item.get("Condition", {}))]
    if not document["Statement"]:
        return PermissionResult.NEUTRAL
    return IAMPolicy(json.dumps(document)).is_action_permitted(action, resource)


def install() -> None:
    """Put our function in moto's place, once. It remembers the one that it replaces, which `pins` looks at."""
    if FakeBucket.get_permission is not get_permission:
        get_permission.__wrapped__ = FakeBucket.get_permission  # type: ignore[attr-defined]
        FakeBucket.get_permission = get_permission  # type: ignore[method-assign]


# ---- what S3 sets off


def object_written(cloud: Cloud, call: Call) -> None:
    """After an object was written."""
    if call.access_key != ACCESS_KEY:  # a file system's own export is not imported again
        sync.object_changed(cloud, call.region, call.params["Bucket"], call.params["Key"], deleted=False)


def upload_completed(cloud: Cloud, call: Call) -> None:
    """After CompleteMultipartUpload: free the parts, which sit in cycles of moto's and werkzeug's making."""
    gc.collect()
    object_written(cloud, call)


def object_deleted(cloud: Cloud, call: Call) -> None:
    """After DeleteObject of the current version."""
    if call.access_key != ACCESS_KEY:
        sync.object_changed(cloud, call.region, call.params["Bucket"], call.params["Key"], deleted=True)


def objects_deleted(cloud: Cloud, call: Call) -> None:
    """After DeleteObjects: the request's body is gone by now, so look which files have lost their object."""
    if call.access_key != ACCESS_KEY:
        sync.objects_vanished(cloud, call.region, call.params["Bucket"])
