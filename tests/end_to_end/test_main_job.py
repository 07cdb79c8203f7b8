"""The main job's edges that the demo does not show: a failed job, refused deletions, and nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud import LOCAL, Cloud

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def own_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    cloud = Cloud.start(tmp_path_factory.mktemp("down") / "cloud")
    yield cloud
    cloud.stop()


def test_a_cluster_comes_with_up_and_goes_whole_with_down(own_cloud: Cloud, tmp_path: Path) -> None:
    own_cloud.cdk("bootstrap", "-c", f"cluster={LOCAL}", "--output", str(tmp_path / "cdk.out"))
    up = own_cloud.dure("up", str(LOCAL), timeout=400)
    assert "USD an hour" in up.stdout
    assert "its head answered" in up.stdout

    larger = tmp_path / "larger.yaml"
    larger.write_text(LOCAL.read_text().replace("max: 4", "max: 5"))
    changed = own_cloud.dure("up", str(larger), timeout=400)
    assert "queues.gpu.max: 4 -> 5" in changed.stdout
    other = tmp_path / "other.yaml"
    other.write_text(
        LOCAL.read_text().replace("instance_type: m5.2xlarge", "instance_type: m5.2xlarge\n  root_volume_gib: 333")
    )
    refused = own_cloud.dure("up", str(other), check=False)
    assert refused.returncode == 2
    assert "--replace" in refused.stderr

    failed = own_cloud.dure("submit", "--no-code", "--wait", "--", "sh", "-c", "echo last words; exit 7", check=False)
    assert failed.returncode == 1
    assert "last words" in failed.stdout
    assert "7" in failed.stderr
    (job,) = own_cloud.json("jobs")
    assert (job["state"], job["exit_code"]) == ("failed", 7)

    bucket = own_cloud.client("s3").list_buckets()["Buckets"]
    own_cloud.dure("submit", "--no-code", "--", "sleep", "300")
    refused = own_cloud.dure("down", str(LOCAL), "--yes", check=False)
    assert refused.returncode == 2
    assert "jobs are in the queue" in refused.stderr
    refused = own_cloud.dure("down", str(LOCAL), "--yes", "--force", check=False)
    assert refused.returncode == 2
    assert "--delete-data" in refused.stderr

    down = own_cloud.dure("down", str(LOCAL), "--yes", "--force", "--delete-data", timeout=400)
    assert "is gone" in down.stdout
    assert own_cloud.instances() == {}
    stacks = own_cloud.client("cloudformation").describe_stacks()["Stacks"]
    assert [s["StackName"] for s in stacks] == ["CDKToolkit"]
    left = [b["Name"] for b in own_cloud.client("s3").list_buckets()["Buckets"]]
    assert len(left) == len(bucket) - 1
    assert own_cloud.client("fsx").describe_file_systems()["FileSystems"] == []
    again = own_cloud.dure("down", str(LOCAL), "--yes")
    assert "nothing to do" in again.stdout
