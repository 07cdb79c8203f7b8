"""Every error of AWS's becomes one of ours, with the right exit code and with what to do."""

from __future__ import annotations

import pytest
from boto3.exceptions import S3UploadFailedError
from botocore import exceptions as boto

from cluster_scripts.backends.aws.errors import translated, translating
from cluster_scripts.jobs.errors import (
    DureError,
    NoCapacity,
    OtherSide,
    Refused,
    Throttled,
    UnexpectedAnswer,
    Unreachable,
)


def answer(code: str, operation: str = "SendCommand") -> boto.ClientError:
    return boto.ClientError({"Error": {"Code": code, "Message": "as AWS says"}}, operation)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (answer("ThrottlingException"), Throttled),
        (answer("RequestLimitExceeded"), Throttled),
        (answer("ExpiredTokenException"), Refused),
        (answer("AccessDeniedException"), Refused),
        (answer("UnauthorizedOperation"), Refused),
        (answer("403", "HeadObject"), Refused),
        (answer("InsufficientInstanceCapacity", "RunInstances"), NoCapacity),
        (answer("InternalServerError"), Unreachable),
        (answer("SomethingNew"), OtherSide),
        (boto.NoCredentialsError(), Refused),
        (boto.ProfileNotFound(profile="x"), Refused),
        (boto.EndpointConnectionError(endpoint_url="https://ssm"), Unreachable),
        (boto.ConnectTimeoutError(endpoint_url="https://ssm"), Unreachable),
        (boto.ReadTimeoutError(endpoint_url="https://ssm"), Unreachable),
        (boto.NoRegionError(), Refused),
        (boto.ParamValidationError(report="x"), UnexpectedAnswer),
    ],
)
def test_errors_are_translated(error: Exception, kind: type[DureError]) -> None:
    with pytest.raises(DureError) as raised, translating("asking the head"):
        raise error
    assert type(raised.value) is kind
    assert raised.value.exit_code == 3
    assert str(raised.value).startswith("asking the head: ")
    assert raised.value.__cause__ is error


def test_an_answer_is_quoted_with_its_operation_and_code() -> None:
    text = str(translated(answer("AccessDeniedException"), "asking"))
    assert "SendCommand said AccessDeniedException: as AWS says" in text


def test_a_failed_transfer_shows_what_s3_said() -> None:
    with pytest.raises(Refused, match="AccessDenied"), translating("sending"):
        try:
            raise answer("AccessDenied", "PutObject")
        except boto.ClientError as inner:
            raise S3UploadFailedError("Failed to upload") from inner


def test_our_own_errors_pass() -> None:
    with pytest.raises(Throttled, match=r"^mine$"), translating("asking"):
        raise Throttled("mine")
