"""Taking a cluster away: every version goes, what is left is named."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from botocore.stub import Stubber

from cluster_scripts.backends.aws import teardown
from cluster_scripts.backends.aws.session import Aws
from cluster_scripts.jobs.errors import Unreachable


@pytest.fixture
def s3(aws: Aws) -> Iterator[Stubber]:
    with Stubber(aws.s3) as stub:
        yield stub
        stub.assert_no_pending_responses()


def test_versions_and_delete_markers_go_and_the_total_is_told(aws: Aws, s3: Stubber) -> None:
    objects = [{"Key": "a", "VersionId": "1"}, {"Key": "a", "VersionId": "2"}]
    s3.add_response("list_object_versions", {"Versions": objects[:1], "DeleteMarkers": objects[1:]}, {"Bucket": "b"})
    s3.add_response("delete_objects", {}, {"Bucket": "b", "Delete": {"Objects": objects, "Quiet": True}})
    told: list[int] = []
    assert teardown.empty_bucket(aws, "b", progress=told.append) == 2
    assert told == [2]


def test_what_s3_does_not_delete_is_named(aws: Aws, s3: Stubber) -> None:
    s3.add_response("list_object_versions", {"Versions": [{"Key": "a", "VersionId": "1"}]}, {"Bucket": "b"})
    s3.add_response("delete_objects", {"Errors": [{"Key": "a", "Code": "AccessDenied", "Message": "locked"}]})
    with pytest.raises(Unreachable, match="a: AccessDenied locked"):
        teardown.empty_bucket(aws, "b")


def test_a_bucket_that_is_gone_is_empty(aws: Aws, s3: Stubber) -> None:
    s3.add_client_error("list_object_versions", "NoSuchBucket", http_status_code=404)
    assert teardown.empty_bucket(aws, "b") == 0


def test_machines_that_stay_are_named_after_the_time_is_up(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(teardown, "machines", lambda *a, **k: ["i-1"])
    with Stubber(aws.ec2) as ec2:
        ec2.add_response("terminate_instances", {"TerminatingInstances": []}, {"InstanceIds": ["i-1"]})
        with pytest.raises(Unreachable, match="i-1"):
            teardown.end_machines(aws, "local", clock=lambda: now, sleep=sleep, timeout=30)
    assert now > 30


def test_the_head_is_gone_before_the_nodes_are_ended(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    alive = {"head": ["i-head"], "compute": ["i-1", "i-2"]}
    monkeypatch.setattr(teardown, "machines", lambda *a, role, **k: list(alive[role]))

    def sleep(_: float) -> None:
        gone = "head" if alive["head"] else "compute"
        alive[gone] = []

    with Stubber(aws.ec2) as ec2:
        for ids in (["i-head"], ["i-1", "i-2"]):
            ec2.add_response("terminate_instances", {"TerminatingInstances": []}, {"InstanceIds": ids})
        ended = teardown.end_machines(aws, "local", clock=lambda: 0.0, sleep=sleep)
        ec2.assert_no_pending_responses()
    assert ended == ["i-head", "i-1", "i-2"]


def test_the_audit_names_what_is_left(aws: Aws, s3: Stubber, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teardown, "stacks", lambda *a: [])
    monkeypatch.setattr(teardown, "machines", lambda *a, **k: [])
    held = [teardown.Leftover(teardown.BUCKET, "b"), teardown.Leftover(teardown.FILE_SYSTEM, "fs-0123456789abcdef0")]
    held += [teardown.Leftover(teardown.VOLUME, each) for each in ("vol-1", "vol-2")]
    s3.add_response("head_bucket", {}, {"Bucket": "b"})
    with Stubber(aws.ssm) as ssm, Stubber(aws.fsx) as fsx, Stubber(aws.ec2) as ec2:
        asked = {"Path": "/dure/local", "Recursive": True}
        ssm.add_response("get_parameters_by_path", {"Parameters": [], "NextToken": "t"}, asked)
        found = {"Parameters": [{"Name": "/dure/local/facts"}]}
        ssm.add_response("get_parameters_by_path", found, {**asked, "NextToken": "t"})
        fsx.add_client_error("describe_file_systems", "FileSystemNotFound")
        ec2.add_client_error("describe_volumes", "InvalidVolume.NotFound")
        ec2.add_response("describe_volumes", {"Volumes": []}, {"VolumeIds": ["vol-2"]})
        parameter = teardown.Leftover("AWS::SSM::Parameter", "/dure/local/facts")
        assert teardown.audit(aws, "local", held) == [parameter, held[0], held[3]]
