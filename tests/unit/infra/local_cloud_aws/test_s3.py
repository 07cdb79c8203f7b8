"""S3: large objects on disk, policies with conditions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from infra.local_cloud.aws.s3 import condition_holds
from tests.unit.infra.local_cloud_aws.conftest import Api


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({}, True),
        ({"Bool": {"aws:SecureTransport": "false"}}, False),
        ({"Bool": {"aws:SecureTransport": "true"}}, True),
        ({"NumericLessThan": {"s3:TlsVersion": 1.2}}, False),
        ({"StringEquals": {"aws:PrincipalOrgID": "o-1"}}, False),
    ],
)
def test_conditions(condition: dict[str, dict[str, object]], holds: bool) -> None:
    assert condition_holds(condition) is holds


def test_a_policy_against_plain_http_stops_nobody_and_a_denial_does(api: Api) -> None:
    s3 = api.client("s3")
    s3.create_bucket(Bucket="bucket")
    deny = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": ["arn:aws:s3:::bucket", "arn:aws:s3:::bucket/*"],
    }
    secure = {**deny, "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    s3.put_bucket_policy(Bucket="bucket", Policy=json.dumps({"Version": "2012-10-17", "Statement": [secure]}))
    s3.put_object(Bucket="bucket", Key="k", Body=b"1")
    assert s3.get_object(Bucket="bucket", Key="k")["Body"].read() == b"1"
    one = {**deny, "Resource": "arn:aws:s3:::bucket/k", "Action": "s3:GetObject"}
    s3.put_bucket_policy(Bucket="bucket", Policy=json.dumps({"Version": "2012-10-17", "Statement": [secure, one]}))
    with pytest.raises(ClientError, match=r"AccessDenied|Forbidden"):
        s3.get_object(Bucket="bucket", Key="k")


def resident() -> float:
    """This process's memory in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / (1 << 20)


def test_large_objects_lie_on_disk(api: Api, tmp_path: Path) -> None:
    s3 = api.client("s3")
    s3.create_bucket(Bucket="bucket")
    source = tmp_path / "large"
    with source.open("wb") as out:
        for number in range(64):
            out.write(bytes([number]) * (1 << 20))
    s3.upload_file(str(source), "bucket", "large")
    before = resident()
    for _ in range(3):
        s3.upload_file(str(source), "bucket", "large")
    grown = resident() - before
    assert s3.head_object(Bucket="bucket", Key="large")["ContentLength"] == 64 << 20
    part = s3.get_object(Bucket="bucket", Key="large", Range=f"bytes={5 << 20}-{(5 << 20) + 9}")["Body"].read()
    assert part == bytes([5]) * 10
    assert grown < 64, f"{grown:.0f} MB more for three times 64 MB"
