"""What the machines ask of AWS, against botocore's own models: a wrong parameter or shape fails here."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.response import StreamingBody
from botocore.stub import Stubber

from cluster_scripts.backends.aws.node_services import Launch, NodeServices
from cluster_scripts.backends.aws.session import Aws
from cluster_scripts.jobs.errors import InvalidCode, NoCapacity, NoSuchCluster, OtherSide, Refused, Throttled

WISH = Launch(
    template_id="lt-1",
    template_version="3",
    instance_type="p3dn.24xlarge",
    count=2,
    token="L1",
    tags={"dure:launch": "L1", "Name": "dure-local-gpu"},
)
RUN = {
    "LaunchTemplate": {"LaunchTemplateId": "lt-1", "Version": "3"},
    "InstanceType": "p3dn.24xlarge",
    "MinCount": 2,
    "MaxCount": 2,
    "ClientToken": "L1",
    "TagSpecifications": [
        {
            "ResourceType": "instance",
            "Tags": [{"Key": "Name", "Value": "dure-local-gpu"}, {"Key": "dure:launch", "Value": "L1"}],
        }
    ],
}


@pytest.fixture(scope="module")
def services() -> NodeServices:
    """One for all: making EC2's client takes most of a second."""
    session = boto3.session.Session(aws_access_key_id="x", aws_secret_access_key="x", region_name="us-east-1")
    return NodeServices(Aws(session=session, region="us-east-1"))


@pytest.fixture
def ec2(services: NodeServices) -> Iterator[Stubber]:
    with Stubber(services.aws.ec2) as stub:
        yield stub
        stub.assert_no_pending_responses()


def described(**changes: Any) -> dict[str, Any]:
    instance = {
        "InstanceId": "i-1",
        "PrivateIpAddress": "10.0.0.1",
        "PrivateDnsName": "ip-10-0-0-1.ec2.internal",
        "InstanceType": "p4d.24xlarge",
        "Placement": {"AvailabilityZone": "us-east-1a"},
        "State": {"Name": "running"},
        "LaunchTime": datetime(2020, 5, 13, tzinfo=UTC),
        "NetworkInterfaces": [{"InterfaceType": kind} for kind in ("efa", "efa-only", "interface")],
        "Tags": [{"Key": "dure:launch", "Value": "L1"}],
        **changes,
    }
    return {"Reservations": [{"Instances": [instance]}]}


def test_a_launch_is_all_or_none(services: NodeServices) -> None:
    with Stubber(services._launching) as stub:
        stub.add_response("run_instances", {"Instances": [{"InstanceId": "i-1"}, {"InstanceId": "i-2"}]}, RUN)
        assert services.launch(WISH) == ["i-1", "i-2"]


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("InsufficientInstanceCapacity", 500, NoCapacity),
        ("MaxSpotInstanceCountExceeded", 400, NoCapacity),
        ("Unsupported", 400, NoCapacity),
        ("RequestLimitExceeded", 503, Throttled),
        ("UnauthorizedOperation", 403, Refused),
        ("VcpuLimitExceeded", 400, OtherSide),
    ],
)
def test_what_ec2_says_of_a_launch(code: str, status: int, error: type[OtherSide], services: NodeServices) -> None:
    with Stubber(services._launching) as stub:
        stub.add_client_error("run_instances", code, "EC2's own words", http_status_code=status)
        with pytest.raises(error, match="EC2's own words") as caught:
            services.launch(WISH)
        assert type(caught.value) is error


def test_a_launch_is_tried_once_by_the_client(services: NodeServices) -> None:
    assert services._launching.meta.config.retries["total_max_attempts"] == 1  # type: ignore[attr-defined]
    assert services.aws.ec2.meta.config.retries["total_max_attempts"] > 1  # type: ignore[attr-defined]


def test_instances_as_plain_values(services: NodeServices, ec2: Stubber) -> None:
    filters = [{"Name": "instance-id", "Values": ["i-1", "i-2"]}]
    ec2.add_response("describe_instances", described(), {"Filters": filters})
    (instance,) = services.instances(["i-1", "i-2"])
    assert (instance.id, instance.private_ip, instance.host_name) == ("i-1", "10.0.0.1", "ip-10-0-0-1")
    assert (instance.efa_interfaces, instance.launch, instance.zone) == (2, "L1", "us-east-1a")


def test_instances_of_a_cluster(services: NodeServices, ec2: Stubber) -> None:
    filters = [
        {"Name": "tag:dure:cluster", "Values": ["local"]},
        {"Name": "tag:dure:role", "Values": ["compute"]},
        {"Name": "instance-state-name", "Values": ["pending", "running"]},
    ]
    ec2.add_response("describe_instances", described(), {"Filters": filters})
    assert [instance.id for instance in services.cluster_nodes("local")] == ["i-1"]


def ended(*ids: str) -> dict[str, Any]:
    return {"TerminatingInstances": [{"InstanceId": id} for id in ids]}


def test_attach_volume(services: NodeServices, ec2: Stubber) -> None:
    wanted = {"VolumeId": "vol-1", "InstanceId": "i-1", "Device": "/dev/sdf"}
    ec2.add_response("attach_volume", {"State": "attaching"}, wanted)
    assert services.attach_volume("vol-1", instance_id="i-1", device="/dev/sdf")
    for code in ("VolumeInUse", "IncorrectState", "InvalidInstanceID.NotFound"):
        ec2.add_client_error("attach_volume", code, "not now")
        assert not services.attach_volume("vol-1", instance_id="i-1", device="/dev/sdf")
    ec2.add_client_error("attach_volume", "InvalidVolume.ZoneMismatch", "elsewhere")
    with pytest.raises(OtherSide, match=r"attaching vol-1 to i-1: AttachVolume said InvalidVolume\.ZoneMismatch"):
        services.attach_volume("vol-1", instance_id="i-1", device="/dev/sdf")


def test_terminate(services: NodeServices, ec2: Stubber) -> None:
    ec2.add_response("terminate_instances", ended("i-1", "i-2"), {"InstanceIds": ["i-1", "i-2"]})
    assert services.terminate(["i-2", "i-1", "i-2"]) == ["i-1", "i-2"]
    assert services.terminate([]) == []


def test_one_that_is_gone_does_not_save_the_others(services: NodeServices, ec2: Stubber) -> None:
    ec2.add_client_error("terminate_instances", "InvalidInstanceID.NotFound", "no i-1")
    ec2.add_client_error("terminate_instances", "InvalidInstanceID.NotFound", "no i-1")
    ec2.add_response("terminate_instances", ended("i-2"), {"InstanceIds": ["i-2"]})
    assert services.terminate(["i-1", "i-2"]) == ["i-2"]
    ec2.add_client_error("terminate_instances", "UnauthorizedOperation", "no")
    with pytest.raises(Refused):
        services.terminate(["i-1"])


def test_parameters_and_secrets(services: NodeServices) -> None:
    with Stubber(services.aws.ssm) as ssm:
        ssm.add_response("get_parameter", {"Parameter": {"Value": "{}"}}, {"Name": "/dure/local/facts"})
        assert services.parameter("/dure/local/facts") == "{}"
        ssm.add_client_error("get_parameter", "ParameterNotFound")
        with pytest.raises(NoSuchCluster, match="/dure/x/facts in us-east-1"):
            services.parameter("/dure/x/facts")
        ssm.add_client_error("get_parameter", "AccessDeniedException")
        with pytest.raises(Refused):
            services.parameter("/dure/x/facts")
    with Stubber(services.aws.secrets) as secrets:
        secrets.add_response("get_secret_value", {"SecretString": "key"}, {"SecretId": "arn"})
        assert services.secret("arn") == "key"


def body(content: bytes) -> dict[str, Any]:
    return {"Body": StreamingBody(io.BytesIO(content), len(content)), "ContentLength": len(content)}


def test_objects(services: NodeServices, tmp_path: Path) -> None:
    with Stubber(services.aws.s3) as s3:
        s3.add_response("get_object", body(b"{}"), {"Bucket": "b", "Key": "k"})
        assert services.object("b", "k") == b"{}"
        s3.add_client_error("get_object", "NoSuchKey", http_status_code=404)
        assert services.object("b", "k") is None
        s3.add_client_error("get_object", "NoSuchKey", http_status_code=404)
        assert not services.download("b", "k", to=tmp_path / "file", limit=10)
        s3.add_response("get_object", body(b"0123456789"))
        assert services.download("b", "k", to=tmp_path / "file", limit=10)
        assert (tmp_path / "file").read_bytes() == b"0123456789"
        s3.add_response("get_object", body(b"0123456789"))
        with pytest.raises(InvalidCode, match="at most 9"):
            services.download("b", "k", to=tmp_path / "other", limit=9)
        s3.add_response("put_object", {}, {"Bucket": "b", "Key": "k", "Body": b"x", "ContentType": "application/json"})
        services.put_object("b", "k", b"x")


def test_an_object_that_is_refused_is_missing_only_if_the_listing_says_so(services: NodeServices) -> None:
    said = "User: me is not authorized to perform: s3:GetObject on resource: x because no policy allows it"
    listing = {"Bucket": "b", "Prefix": "k", "MaxKeys": 1}
    with Stubber(services.aws.s3) as s3:
        s3.add_client_error("get_object", "AccessDenied", said, http_status_code=403)
        s3.add_response("list_objects_v2", {"Contents": [{"Key": "k2"}]}, listing)
        assert services.object("b", "k") is None
        s3.add_client_error("get_object", "AccessDenied", said, http_status_code=403)
        s3.add_response("list_objects_v2", {"Contents": [{"Key": "k"}]}, listing)
        with pytest.raises(Refused, match="the permission s3:GetObject is missing"):
            services.object("b", "k")
        s3.add_client_error("get_object", "AccessDenied", said, http_status_code=403)
        s3.add_client_error("list_objects_v2", "AccessDenied", http_status_code=403)
        with pytest.raises(Refused, match="the permission s3:GetObject is missing"):
            services.object("b", "k")
