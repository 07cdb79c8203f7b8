"""The cluster's bucket: small objects of ours, and archives that are sent once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import ClientError

from cluster_scripts.backends.aws.errors import translated, translating
from cluster_scripts.backends.aws.objects import is_absent
from cluster_scripts.backends.aws.session import Aws

SPECS = ".dure/specs"


@dataclass(frozen=True)
class Bucket:
    """One bucket in S3; objects appear there whole or not at all."""

    aws: Aws
    name: str

    def get_text(self, key: str) -> str:
        """An object as text. Raises an OtherSide, also when there is no such object."""
        with translating(f"reading s3://{self.name}/{key}"):
            return self.aws.s3.get_object(Bucket=self.name, Key=key)["Body"].read().decode("utf-8", "replace")

    def put_text(self, key: str, text: str) -> None:
        """Write a small object."""
        with translating(f"writing s3://{self.name}/{key}"):
            self.aws.s3.put_object(Bucket=self.name, Key=key, Body=text.encode(), ContentType="application/json")

    def has(self, key: str) -> bool:
        """Whether there is an object of that name."""
        try:
            self.aws.s3.head_object(Bucket=self.name, Key=key)
        except ClientError as error:
            if is_absent(self.aws.s3, self.name, key, error):
                return False
            raise translated(error, f"looking for s3://{self.name}/{key}") from error
        return True

    def put_file_once(self, key: str, path: Path) -> bool:
        """Send a file unless an object of that name is there; True if it was sent. For names made of the content."""
        with translating(f"sending {path.name} to s3://{self.name}/{key}"):
            if self.has(key):
                return False
            self.aws.s3.upload_file(str(path), self.name, key)
        return True
