"""EC2's table of operations, its state, and the way to moto's backend."""

from __future__ import annotations

import base64
import threading
from dataclasses import dataclass, field
from typing import Any

from moto.ec2.models import ec2_backends

from infra.local_cloud.aws import images
from infra.local_cloud.aws.cloud import ACCOUNT, Cloud
from infra.local_cloud.aws.errors import AwsError
from infra.local_cloud.aws.operations import Call, Operations

OPERATIONS = Operations("ec2")


@dataclass
class Launched:
    """What we know of an instance beyond moto's object."""

    user_data: bytes
    market: str
    shutdown: str
    expires: float = 0.0
    credentials: str = ""


class Ec2State:
    """Our EC2 state of one region."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.placement_groups: dict[str, dict[str, Any]] = {}
        self.launched: dict[str, Launched] = {}
        self.tokens: dict[str, str] = {}  # ClientToken -> reservation id


@dataclass
class Faults:
    """Scripted refusals, set by tests and rehearsals; the defaults refuse nothing."""

    capacity: dict[str, int] = field(default_factory=dict)  # instance type -> instances still to be had


def backend(region: str) -> Any:
    """moto's EC2 backend of a region."""
    found = ec2_backends[ACCOUNT][region]
    images.know_local_image(found)
    return found


def know_local_image(cloud: Cloud, call: Call) -> None:
    """Before DescribeImages: the one image that there is."""
    images.know_local_image(ec2_backends[ACCOUNT][call.region])


def dry_run(params: dict[str, Any]) -> None:
    """Answer a DryRun request as EC2 does: with an error that says that it would have worked."""
    if params.get("DryRun"):
        message = "Request would have succeeded, but DryRun flag is set."
        raise AwsError("DryRunOperation", message, status=412)


def tags_of(params: dict[str, Any], kind: str) -> dict[str, str]:
    """The tags that a request's TagSpecifications give to one kind of resource."""
    found: dict[str, str] = {}
    for spec in params.get("TagSpecifications", []):
        if spec.get("ResourceType") == kind:
            found.update({tag["Key"]: tag.get("Value", "") for tag in spec.get("Tags", [])})
    return found


def decode_user_data(encoded: object) -> bytes:
    """User data as the instance sees it, from base64 text or moto's wrapper of it. Raises InvalidUserData.Malformed."""
    if not encoded:
        return b""
    try:
        data = base64.b64decode(str(encoded), validate=True)
    except ValueError as error:
        raise AwsError("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.") from error
    if len(data) > 16 * 1024:
        raise AwsError("InvalidParameterValue", "User data is limited to 16384 bytes")
    return data
