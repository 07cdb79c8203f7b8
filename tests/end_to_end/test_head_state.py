"""A head is replaced, and the next one finds Slurm's queue and its numbers: they lie on a volume of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cloud import LOCAL, Cloud, wait_until

pytestmark = [pytest.mark.timeout(1200), pytest.mark.long]

DEPLOY = ("deploy", "--all", "--require-approval", "never", "-c", f"cluster={LOCAL}")


def submit(cluster: Cloud, *command: str, nodes: int = 1) -> str:
    words = ("submit", "--json", "--no-code", "--nodes", str(nodes), "--", *command)
    return str(json.loads(cluster.dure(*words).stdout)["job_id"])


def states(cluster: Cloud) -> dict[str, str]:
    return {str(job["id"]): str(job["state"]) for job in cluster.json("jobs")}


def volume(cluster: Cloud) -> dict[str, Any]:
    """The one volume that is the cluster's state."""
    wanted = [{"Name": "tag:Name", "Values": ["dure-local-state"]}]
    (found,) = cluster.client("ec2").describe_volumes(Filters=wanted)["Volumes"]
    return dict(found)


def test_a_new_head_finds_the_queue_of_the_one_before(own_cluster: Cloud, tmp_path: Path) -> None:
    before = own_cluster.head()
    assert volume(own_cluster)["Encrypted"] is True
    assert [each["InstanceId"] for each in volume(own_cluster)["Attachments"]] == [before]
    code, mounted, _ = own_cluster.shell(before, "mountpoint /var/lib/dure && cat /var/lib/dure/slurm/clustername")
    assert code == 0, mounted

    done = submit(own_cluster, "true")
    wait_until(lambda: states(own_cluster)[done] == "completed", what=f"job {done} ends", timeout=120)
    busy = submit(own_cluster, "sleep", "3600", nodes=4)  # all nodes of the queue
    wait_until(lambda: states(own_cluster)[busy] == "running", what=f"job {busy} runs", timeout=120)
    waiting = [submit(own_cluster, "echo", "at last") for _ in range(2)]
    had = states(own_cluster)
    assert [had[each] for each in waiting] == ["pending", "pending"]

    output = ("--output", str(tmp_path / "cdk.out"))
    own_cluster.cdk(*DEPLOY, *output, "-c", "head=off")
    assert own_cluster.instances(role="head") == {}
    assert volume(own_cluster)["State"] == "available"
    own_cluster.cdk(*DEPLOY, *output)
    own_cluster.wait_for_head()
    after = own_cluster.head()
    assert after != before
    assert [each["InstanceId"] for each in volume(own_cluster)["Attachments"]] == [after]

    assert states(own_cluster) == had  # pending ones wait, the running one runs on, the ended one is remembered
    boot = own_cluster.shell(after, "cat /var/log/dure/boot.log; cat /var/log/cloud-init-output.log")[1]
    assert "state volume" in boot
    assert int(submit(own_cluster, "true")) == max(map(int, had)) + 1
    own_cluster.dure("cancel", busy)
    for job in waiting:
        wait_until(lambda job=job: states(own_cluster)[job] == "completed", what=f"job {job} ends", timeout=120)
        wait_until(lambda job=job: "at last" in own_cluster.dure("logs", job).stdout, what="its output", timeout=30)

    # a second boot of the same head changes nothing
    code, said, error = own_cluster.shell(after, "/opt/dure/bin/dure-node boot", timeout=120)
    assert code == 0, said + error
    assert set(had) < set(states(own_cluster))


def test_down_leaves_no_volume(own_cluster: Cloud) -> None:
    identity = volume(own_cluster)["VolumeId"]
    down = own_cluster.dure("down", str(LOCAL), "--yes", "--force", "--delete-data", timeout=400)
    assert "is gone" in down.stdout
    left = [each["VolumeId"] for each in own_cluster.client("ec2").describe_volumes()["Volumes"]]
    assert identity not in left
    assert not (own_cluster.state / "volumes" / identity).exists()
