"""An AWS session whose clients answer from a list, and complain about any call that is not on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import boto3
from botocore.stub import Stubber

from cluster_scripts.backends.aws.session import CONFIG, Aws
from infra.config.facts import (
    Association,
    Facts,
    FileSystem,
    Head,
    LaunchTemplate,
    LogGroups,
    Queue,
    SlurmTimes,
    Toolkit,
)

SERVICES = ("ssm", "s3", "ec2", "logs", "cloudwatch", "sts")
HEAD = "i-0123456789abcdef0"

FACTS = Facts(
    name="kogpt2",
    region="us-east-1",
    account="123456789012",
    bucket="the-bucket",
    file_system=FileSystem(
        id="fs-0123456789abcdef0",
        dns_name="fs-0123456789abcdef0.fsx.us-east-1.amazonaws.com",
        mount_name="abcdefgh",
        mount_point="/fsx",
        associations=(Association(path="/data", prefix="data"), Association(path="/data/ko", prefix="korean")),
    ),
    head=Head(private_ip="10.0.0.10", host_name="ip-10-0-0-10"),
    queues=(
        Queue(
            name="gpu",
            instance_type="p3dn.24xlarge",
            min=0,
            max=4,
            market="on-demand",
            efa=True,
            idle_seconds=600,
            cpus=96,
            memory_mib=786432,
            gpus=8,
            placement_group=None,
            launch_templates=(
                LaunchTemplate(
                    zone_id="use1-az6", subnet_id="subnet-01234567", launch_template_id="lt-01234567", version="1"
                ),
            ),
        ),
    ),
    munge_secret="arn:aws:secretsmanager:us-east-1:123456789012:secret:munge",
    log_groups=LogGroups(jobs="/dure/kogpt2/jobs", nodes="/dure/kogpt2/nodes"),
    document="Dure-kogpt2",
    metrics_namespace="Dure",
    toolkit=Toolkit(bucket="assets", key="t.zip", sha256="0" * 64),
    slurm=SlurmTimes(resume_timeout_seconds=1800, suspend_timeout_seconds=120),
)


@cache
def _session() -> boto3.session.Session:
    return boto3.session.Session(aws_access_key_id="x", aws_secret_access_key="x", region_name="us-east-1")


@cache
def _client(service: str) -> Any:
    """One client for all tests: making one takes longer than most tests."""
    return _session().client(service, config=CONFIG)  # type: ignore[call-overload]


class Stubs:
    """The clients' stubs by service: `stubs["ssm"].add_response(...)`."""

    def __init__(self) -> None:
        self.aws = Aws(session=_session(), region="us-east-1")
        self._stubs: dict[str, Stubber] = {}
        for service in SERVICES:
            client = _client(service)
            self.aws.__dict__[service] = client
            self._stubs[service] = Stubber(client)

    def __getitem__(self, service: str) -> Stubber:
        return self._stubs[service]

    def head_is_found(self, *, state: str = "running") -> None:
        instance = {"InstanceId": HEAD, "LaunchTime": "2026-01-01T00:00:00Z", "State": {"Name": state}}
        self["ec2"].add_response("describe_instances", {"Reservations": [{"Instances": [instance]}]})

    def command_answers(self, stdout: str, *, verb: str, argument: str = "", **result: Any) -> None:
        """One command to the head and its whole answer."""
        parameters = {"Verb": [verb], **({"Argument": [argument]} if argument else {})}
        expected = {
            "InstanceIds": [HEAD],
            "DocumentName": FACTS.document_for(verb),
            "Parameters": parameters,
            "TimeoutSeconds": 30,
            "Comment": f"dure {verb}",
        }
        self["ssm"].add_response("send_command", {"Command": {"CommandId": "c" * 36}}, expected)
        self.invocation(StandardOutputContent=stdout, **{"Status": "Success", **result})

    def invocation(self, **result: Any) -> None:
        self["ssm"].add_response("get_command_invocation", result, {"CommandId": "c" * 36, "InstanceId": HEAD})


@contextmanager
def stubbed() -> Iterator[Stubs]:
    """Active stubs; at the end every answer must have been fetched."""
    stubs = Stubs()
    with ExitStack() as stack:
        for service in SERVICES:
            stack.enter_context(stubs[service])
        yield stubs
        for service in SERVICES:
            stubs[service].assert_no_pending_responses()
