"""Whether an object of a bucket is not there, told apart from one that may not be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from cluster_scripts.backends.aws.errors import PERMISSION, code_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# A HEAD request has no body, so its code is the status
NOT_THERE = frozenset({"NoSuchKey", "404", "NotFound"})


def is_absent(s3: S3Client, bucket: str, key: str, error: ClientError) -> bool:
    """Whether S3's answer to a read means that there is no such object.

    To who may list no more than some prefixes of a bucket S3 answers 403, not 404, for an object that isn't there: the
    read itself has no prefix. So after a 403 the object is looked for by listing its own name. If that is refused too,
    or finds it, the answer is False: the error is then one of permissions.
    """
    if code_of(error) in NOT_THERE:
        return True
    if code_of(error) not in PERMISSION:
        return False
    try:
        found = s3.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1).get("Contents", [])
    except ClientError:
        return False
    return not any(each.get("Key") == key for each in found)
