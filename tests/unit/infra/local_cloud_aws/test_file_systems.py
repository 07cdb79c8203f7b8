"""FSx for Lustre: what it accepts, its life, and files that go to and from S3."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local_cloud.aws.errors import AwsError
from infra.local_cloud.aws.fsx import rules, sync, waiting
from infra.local_cloud.aws.fsx.state import FsxState
from tests.unit.infra.local_cloud_aws.conftest import REGION, Api, until

EVENTS = {"Events": ["NEW", "CHANGED", "DELETED"]}


def request(**changes: Any) -> dict[str, Any]:
    lustre = {"DeploymentType": "PERSISTENT_2", "PerUnitStorageThroughput": 250}
    return {
        "FileSystemType": "LUSTRE",
        "StorageCapacity": 1200,
        "SubnetIds": ["s"],
        "FileSystemTypeVersion": "2.15",
        "LustreConfiguration": {**lustre, **changes.pop("LustreConfiguration", {})},
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"StorageCapacity": 1300}, "Invalid StorageCapacity 1300"),
        ({"StorageCapacity": 3600}, "multiple of 2400"),
        ({"LustreConfiguration": {"PerUnitStorageThroughput": 100}}, "allowed: 125, 250, 500, 1000"),
        ({"LustreConfiguration": {"DeploymentType": "PERSISTENT_1"}}, "Invalid PerUnitStorageThroughput 250"),
        ({"LustreConfiguration": {"DeploymentType": "SCRATCH_2"}}, "not supported for SCRATCH_2"),
        ({"FileSystemTypeVersion": "2.10"}, "Invalid FileSystemTypeVersion 2.10"),
        ({"SubnetIds": ["a", "b"]}, "exactly one subnet"),
        ({"LustreConfiguration": {"ImportPath": "s3://b"}}, "does not model LustreConfiguration's ImportPath"),
        ({"FileSystemType": "WINDOWS"}, "has no WINDOWS file systems"),
    ],
)
def test_what_fsx_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(AwsError) as error:
        rules.check_file_system(request(**changes))
    assert message in error.value.message


def test_associations_do_not_overlap() -> None:
    old = {"AssociationId": "dra-1", "FileSystemPath": "/data", "DataRepositoryPath": "s3://b/data"}
    new = {"FileSystemPath": "/data/x", "DataRepositoryPath": "s3://c"}
    with pytest.raises(AwsError, match="FileSystemPath /data/x overlaps with /data of dra-1"):
        rules.check_association(new, "PERSISTENT_2", "2.15", [old])
    with pytest.raises(AwsError, match=r"not supported on PERSISTENT_1 file systems of Lustre 2.10"):
        rules.check_association(new, "PERSISTENT_1", "2.10", [])
    rules.check_association(new, "PERSISTENT_1", "2.15", [])
    rules.check_association(
        {"FileSystemPath": "/data2", "DataRepositoryPath": "s3://b/data2"}, "PERSISTENT_2", "2.15", [old]
    )


def make(api: Api) -> str:
    _, subnet = api.subnet()
    return str(api.client("fsx").create_file_system(**request(SubnetIds=[subnet]))["FileSystem"]["FileSystemId"])


def lifecycle(api: Api, identity: str) -> str:
    found = api.client("fsx").describe_file_systems(FileSystemIds=[identity])["FileSystems"]
    return str(found[0]["Lifecycle"])


def available(api: Api) -> tuple[str, Path]:
    identity = make(api)
    until(lambda: lifecycle(api, identity) == "AVAILABLE")
    return identity, api.machines.root / "fsx" / identity


def associate(api: Api, identity: str, *, batch: bool = False, s3: Any = None) -> str:
    policy = {"AutoImportPolicy": EVENTS, "AutoExportPolicy": EVENTS} if s3 is None else s3
    fsx = api.client("fsx")
    made = fsx.create_data_repository_association(
        FileSystemId=identity,
        FileSystemPath="/data",
        DataRepositoryPath="s3://bucket/data",
        BatchImportMetaDataOnCreate=batch,
        S3=policy,
    )["Association"]["AssociationId"]
    until(
        lambda: (
            fsx.describe_data_repository_associations(AssociationIds=[made])["Associations"][0]["Lifecycle"]
            == "AVAILABLE"
        )
    )
    return str(made)


def keys(api: Api) -> list[str]:
    return [item["Key"] for item in api.client("s3").list_objects_v2(Bucket="bucket").get("Contents", [])]


@pytest.fixture(autouse=True)
def quick_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "SCAN_SECONDS", 0.05)


def test_a_file_system_is_creating_then_available_then_gone(api: Api) -> None:
    identity = make(api)
    assert lifecycle(api, identity) == "CREATING"
    assert api.machines.available == {identity: False}
    until(lambda: lifecycle(api, identity) == "AVAILABLE")
    assert api.machines.available == {identity: True}
    found = api.client("fsx").describe_file_systems()["FileSystems"][0]
    assert found["DNSName"] == f"{identity}.fsx.us-east-1.amazonaws.com"
    assert len(found["LustreConfiguration"]["MountName"]) == 8
    with pytest.raises(ClientError, match="DependencyViolation"):
        api.client("ec2").delete_subnet(SubnetId=found["SubnetIds"][0])
    api.client("fsx").delete_file_system(FileSystemId=identity)
    until(lambda: api.client("fsx").describe_file_systems()["FileSystems"] == [])
    assert api.machines.available == {}
    api.client("ec2").delete_subnet(SubnetId=found["SubnetIds"][0])


def test_existing_objects_come_only_when_asked_for(api: Api) -> None:
    s3 = api.client("s3")
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="data/a/b.txt", Body=b"1")
    identity, root = available(api)
    first = associate(api, identity)
    assert not (root / "data/a").exists()
    api.client("fsx").delete_data_repository_association(AssociationId=first)
    associate(api, identity, batch=True)
    assert (root / "data/a/b.txt").read_bytes() == b"1"


def test_writes_and_deletions_in_s3_show_as_files_of_root(api: Api) -> None:
    s3 = api.client("s3")
    s3.create_bucket(Bucket="bucket")
    identity, root = available(api)
    associate(api, identity)
    s3.put_object(Bucket="bucket", Key="data/x/y.txt", Body=b"one")
    file = root / "data/x/y.txt"
    assert file.read_bytes() == b"one"
    assert (file.stat().st_mode & 0o7777, (root / "data/x").stat().st_mode & 0o7777) == (0o755, 0o755)
    assert file.stat().st_uid == os.getuid()
    s3.put_object(Bucket="bucket", Key="data/x/y.txt", Body=b"two")
    assert file.read_bytes() == b"two"
    s3.put_object(Bucket="bucket", Key="elsewhere", Body=b"")
    s3.put_object(Bucket="bucket", Key="data/../../escape", Body=b"")
    assert not (root.parent / "escape").exists()
    s3.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "data/x/y.txt"}]})
    assert not file.exists()


def test_files_go_to_s3_whole_and_deletions_follow(api: Api) -> None:
    s3 = api.client("s3")
    s3.create_bucket(Bucket="bucket")
    identity, root = available(api)
    associate(api, identity)
    file = root / "data/run/out.bin"
    file.parent.mkdir()
    with file.open("wb") as out:
        out.write(b"x" * 1000)
        out.flush()
        time.sleep(0.4)
        assert keys(api) == []  # still being written
        out.write(b"y")
    until(lambda: keys(api) == ["data/run/out.bin"])
    head = s3.head_object(Bucket="bucket", Key="data/run/out.bin")
    assert head["ContentLength"] == 1001
    assert head["Metadata"]["file-owner"] == str(os.getuid())
    before = file.stat().st_mtime_ns
    time.sleep(0.3)
    assert file.stat().st_mtime_ns == before  # its own export did not come back
    file.unlink()
    until(lambda: keys(api) == [])


def test_policies_decide_what_is_carried(api: Api) -> None:
    s3 = api.client("s3")
    s3.create_bucket(Bucket="bucket")
    identity, root = available(api)
    associate(api, identity, s3={"AutoImportPolicy": {"Events": ["NEW"]}})
    s3.put_object(Bucket="bucket", Key="data/a", Body=b"1")
    s3.put_object(Bucket="bucket", Key="data/a", Body=b"2")
    s3.delete_object(Bucket="bucket", Key="data/a")
    assert (root / "data/a").read_bytes() == b"1"
    (root / "data/b").write_bytes(b"mine")
    time.sleep(0.4)
    assert keys(api) == []
    task = api.client("fsx").create_data_repository_task(
        Type="EXPORT_TO_REPOSITORY", FileSystemId=identity, Report={"Enabled": False}
    )["DataRepositoryTask"]["TaskId"]
    describe = api.client("fsx").describe_data_repository_tasks
    done = until(lambda: next((t for t in describe(TaskIds=[task])["DataRepositoryTasks"] if "EndTime" in t), None))
    assert (done["Lifecycle"], done["Status"]["SucceededCount"]) == ("SUCCEEDED", 1)
    assert keys(api) == ["data/b"]


def test_an_association_needs_its_file_system_and_its_bucket(api: Api) -> None:
    identity = make(api)
    with pytest.raises(ClientError, match="is CREATING, not AVAILABLE"):
        associate(api, identity)
    until(lambda: lifecycle(api, identity) == "AVAILABLE")
    with pytest.raises(ClientError, match="The bucket bucket does not exist"):
        associate(api, identity)
    assert api.cloud.store(FsxState, REGION).associations == {}


def test_a_change_that_waits_shows_in_the_metric_until_it_is_sent(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "SHOWN_SECONDS", 0.05)
    monkeypatch.setattr(waiting, "EVERY_SECONDS", 0.2)
    api.client("s3").create_bucket(Bucket="bucket")
    identity, folder = available(api)
    associate(api, identity, s3={"AutoExportPolicy": EVENTS})

    def newest() -> float | None:
        now = datetime.now(UTC)
        points = api.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/FSx",
            MetricName="AgeOfOldestQueuedMessage",
            Dimensions=[{"Name": "FileSystemId", "Value": identity}, {"Name": "Publisher", "Value": "AutoExport"}],
            StartTime=now - timedelta(seconds=600),
            EndTime=now + timedelta(seconds=60),
            Period=1,
            Statistics=["Maximum"],
        )["Datapoints"]
        found = max(points, key=lambda point: point["Timestamp"], default=None)
        return None if found is None else float(found["Maximum"])

    until(lambda: newest() == 0.0)
    with (folder / "data/open").open("w") as file:
        file.write("x")
        file.flush()
        until(lambda: (newest() or 0.0) > 0.05)
        assert keys(api) == []
    until(lambda: keys(api) == ["data/open"])
    until(lambda: newest() == 0.0)
