"""botocore's errors in our words. Pure: an error in, an error out; the caller raises it `from` the old one.

What travels in an error is the operation, AWS's code and AWS's message; never a request's parameters, which
may hold what a job's environment holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from boto3.exceptions import Boto3Error
from botocore import exceptions as boto

from cluster_scripts.jobs.errors import (
    DureError,
    NoCapacity,
    OtherSide,
    Refused,
    Throttled,
    UnexpectedAnswer,
    Unreachable,
)

# Error codes of the AWS APIs. Source: the "Common errors" page of each API's reference.
THROTTLING = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "BandwidthLimitExceeded",
        "PriorRequestNotComplete",
        "SlowDown",
    }
)
CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "InvalidAccessKeyId",
        "UnrecognizedClientException",
        "SignatureDoesNotMatch",
        "IncompleteSignature",
        "InvalidToken",
        "AuthFailure",
        "MissingAuthenticationToken",
    }
)
PERMISSION = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "UnauthorizedOperation",
        "UnauthorizedAccess",
        "Forbidden",
        "403",
        "OptInRequired",
    }
)
CAPACITY = frozenset(
    {
        "InsufficientInstanceCapacity",
        "InsufficientHostCapacity",
        "InsufficientReservedInstanceCapacity",
        "InsufficientCapacity",
        "InsufficientCapacityOnOutpost",
        "MaxSpotInstanceCountExceeded",
        "SpotMaxPriceTooLow",
    }
)
UNAVAILABLE = frozenset(
    {
        "500",
        "503",
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "ServiceUnavailable",
        "ServiceUnavailableException",
    }
)

# "User: ARN is not authorized to perform: ACTION on resource: ARN because ...", in the answers of nearly all services
_REFUSED_ACTION = re.compile(r"is not authorized to perform: (\S+)")
# S3 answers HEAD without a body, so without an action: these need the same as GET. Source: S3's API reference
_HEAD_ACTIONS = {"HeadObject": "s3:GetObject", "HeadBucket": "s3:ListBucket"}

NO_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.TokenRetrievalError,
    boto.SSOTokenLoadError,
    boto.UnauthorizedSSOTokenError,
    boto.ProfileNotFound,
    boto.ConfigNotFound,
)


def code_of(error: Exception) -> str:
    """AWS's error code, or "" if the error is none of AWS's answers."""
    if isinstance(error, boto.ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return ""


def translated(error: boto.ClientError | boto.BotoCoreError, doing: str) -> DureError:
    """The error in our words. `doing` says what was tried: "sending the command to the head"."""
    if isinstance(error, boto.ClientError):
        return _from_answer(error, doing)
    if isinstance(error, NO_CREDENTIALS):
        return Refused(
            f"{doing}: no usable AWS credentials ({error}); run `aws configure` or `aws sso login`, or set AWS_PROFILE"
        )
    if isinstance(error, boto.HTTPClientError | boto.ConnectionError):
        return Unreachable(
            f"{doing}: AWS did not answer ({error}); check the network, the proxy and the region, then try again"
        )
    if isinstance(error, boto.NoRegionError):
        return Refused(f"{doing}: no AWS region is configured; give --region or set AWS_REGION")
    return UnexpectedAnswer(f"{doing}: {type(error).__name__}: {error}")


def _from_answer(error: boto.ClientError, doing: str) -> DureError:
    code = code_of(error)
    said = f"{error.operation_name} said {code or 'no code'}: {_message_of(error)}"
    if code in THROTTLING:
        return Throttled(
            f"{doing}: AWS limits the request rate, also after retries ({said}); wait a minute, then try again"
        )
    if code in CREDENTIALS:
        return Refused(f"{doing}: AWS does not accept the credentials ({said}); log in again or set AWS_PROFILE")
    if code in PERMISSION:
        action = missing_action(error)
        named = f"the permission {action}" if action else "a permission"
        return Refused(f"{doing}: {named} is missing ({said}); ask for it, or use another AWS_PROFILE")
    if code in CAPACITY:
        return NoCapacity(f"{doing}: AWS has no such machine now ({said})")
    if code in UNAVAILABLE:
        return Unreachable(f"{doing}: AWS has trouble ({said}); try again in a few minutes")
    return OtherSide(f"{doing}: {said}")


def missing_action(error: boto.ClientError) -> str:
    """The action that AWS's refusal names (s3:GetObject); "" where it names none and none is known."""
    found = _REFUSED_ACTION.search(_message_of(error))
    return found[1].rstrip(",.") if found else _HEAD_ACTIONS.get(error.operation_name, "")


def _message_of(error: boto.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Message", "") or "no message")


@contextmanager
def translating(doing: str) -> Iterator[None]:
    """Raise what botocore raises inside as one of our errors."""
    try:
        yield
    except (boto.ClientError, boto.BotoCoreError) as error:
        raise translated(error, doing) from error
    except Boto3Error as error:  # what its transfers raise hides the answer of S3 inside
        inner = error.__cause__ or error.__context__
        if isinstance(inner, boto.ClientError | boto.BotoCoreError):
            raise translated(inner, doing) from error
        raise UnexpectedAnswer(f"{doing}: {error}") from error
