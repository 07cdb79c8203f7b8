"""AWS clients of one region: made when first asked for, with the time-outs and retries that this toolkit wants.

Everything about where AWS is (profile, credentials, endpoint, proxy) is left to boto3's own configuration.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from cluster_scripts.backends.aws.errors import translated
from cluster_scripts.jobs.errors import Refused

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_fsx import FSxClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_sts import STSClient

# "standard" retries throttling, time-outs and 5xx with exponential back-off and jitter (at most 20 s a wait);
# 6 attempts stay under the minute that the port allows.
CONFIG = Config(
    connect_timeout=5,
    read_timeout=30,
    retries={"mode": "standard", "total_max_attempts": 6},
    user_agent_extra="dure",
)


@dataclass(frozen=True)
class Aws:
    """One session in one region. Threads may share it once the clients that they use were made."""

    session: boto3.session.Session
    region: str

    @cached_property
    def ssm(self) -> SSMClient:
        return self.session.client("ssm", region_name=self.region, config=CONFIG)

    @cached_property
    def s3(self) -> S3Client:
        return self.session.client("s3", region_name=self.region, config=CONFIG)

    @cached_property
    def ec2(self) -> EC2Client:
        return self.session.client("ec2", region_name=self.region, config=CONFIG)

    @cached_property
    def logs(self) -> CloudWatchLogsClient:
        return self.session.client("logs", region_name=self.region, config=CONFIG)

    @cached_property
    def cloudwatch(self) -> CloudWatchClient:
        return self.session.client("cloudwatch", region_name=self.region, config=CONFIG)

    @cached_property
    def secrets(self) -> SecretsManagerClient:
        return self.session.client("secretsmanager", region_name=self.region, config=CONFIG)

    @cached_property
    def cloudformation(self) -> CloudFormationClient:
        return self.session.client("cloudformation", region_name=self.region, config=CONFIG)

    @cached_property
    def fsx(self) -> FSxClient:
        return self.session.client("fsx", region_name=self.region, config=CONFIG)

    @cached_property
    def iam(self) -> Any:
        return self.session.client("iam", region_name=self.region, config=CONFIG)

    @cached_property
    def quotas(self) -> Any:
        return self.session.client("service-quotas", region_name=self.region, config=CONFIG)

    @cached_property
    def sts(self) -> STSClient:
        return self.session.client("sts", region_name=self.region, config=CONFIG)


def open_session(region: str | None = None) -> Aws:
    """A session in the region given, else in the one that boto3's configuration names.

    Makes no call to AWS. Raises Refused when no region is configured or the profile named does not exist.
    """
    try:
        session = boto3.session.Session(region_name=region)
    except BotoCoreError as error:
        raise translated(error, "reading the AWS configuration") from error
    if not session.region_name:
        raise Refused(
            "no AWS region is configured: give --region, set AWS_REGION or AWS_DEFAULT_REGION, or run `aws configure`"
        )
    return Aws(session=session, region=session.region_name)
