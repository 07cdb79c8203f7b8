"""AWS as the adapters get it, with credentials that lead nowhere."""

from __future__ import annotations

import boto3
import pytest

from cluster_scripts.backends.aws.session import Aws


@pytest.fixture
def aws() -> Aws:
    session = boto3.session.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")
    return Aws(session=session, region="us-east-1")
