"""A head that reboots, or is stopped and started, is the head again by itself: EC2's recovery, and another type for it.
A node that reboots joins again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cloud import LOCAL, Cloud, wait_until

pytestmark = [pytest.mark.timeout(1200), pytest.mark.long]


def submit(cluster: Cloud, *command: str, nodes: int = 1) -> str:
    words = ("submit", "--json", "--no-code", "--nodes", str(nodes), "--", *command)
    return str(json.loads(cluster.dure(*words).stdout)["job_id"])


def states(cluster: Cloud) -> dict[str, str]:
    return {str(job["id"]): str(job["state"]) for job in cluster.json("jobs")}


def until_state(cluster: Cloud, job: str, wanted: str) -> None:
    wait_until(lambda: states(cluster)[job] == wanted, what=f"job {job} is {wanted}", timeout=120)


def boots(cluster: Cloud, head: str) -> tuple[int, int]:
    """How often the head has become a part of the cluster, and how often the user data ran."""
    log = cluster.state / "machines" / head / "log"
    ready = [json.loads(line)["step"] for line in (log / "dure/boot.log").read_text().splitlines()].count("ready")
    return ready, (log / "cloud-init-output.log").read_text().count("  ready (")


def power(cluster: Cloud, head: str, verb: str, wanted: str) -> None:
    ec2 = cluster.client("ec2")
    getattr(ec2, f"{verb}_instances")(InstanceIds=[head])
    wait_until(lambda: cluster.instances(role="head")[head]["State"]["Name"] == wanted, what=wanted, timeout=60)


def ready_again(cluster: Cloud, head: str, *, times: int) -> None:
    wait_until(lambda: boots(cluster, head)[0] == times, what=f"boot {times} of the head ends", timeout=120)
    cluster.wait_for_head()


def restart(cluster: Cloud, head: str, act: Callable[[], Any], *, times: int) -> None:
    """Do something that makes the head boot again, with the nodes full and a job waiting; all is as it was."""
    busy = submit(cluster, "sleep", "3600", nodes=4)  # all nodes of the queue
    until_state(cluster, busy, "running")
    waiting = submit(cluster, "echo", "at last")
    had = states(cluster)
    assert had[waiting] == "pending"
    act()
    ready_again(cluster, head, times=times)
    assert boots(cluster, head)[1] == 1, "user data runs once in an instance's life"
    assert states(cluster) == had
    cluster.dure("cancel", busy)
    until_state(cluster, waiting, "completed")
    wait_until(lambda: "at last" in cluster.dure("logs", waiting).stdout, what="its output", timeout=30)


def test_a_head_comes_back(own_cluster: Cloud) -> None:
    head = own_cluster.head()
    address = own_cluster.instances(role="head")[head]["PrivateIpAddress"]
    done = submit(own_cluster, "true")
    until_state(own_cluster, done, "completed")

    ec2 = own_cluster.client("ec2")
    restart(own_cluster, head, lambda: ec2.reboot_instances(InstanceIds=[head]), times=2)

    def stop_and_start() -> None:
        power(own_cluster, head, "stop", "stopped")
        power(own_cluster, head, "start", "running")

    restart(own_cluster, head, stop_and_start, times=3)
    restart(own_cluster, head, lambda: own_cluster.shell(head, "(sleep 1; reboot) >/dev/null 2>&1 &"), times=4)
    assert own_cluster.head() == head
    assert own_cluster.instances(role="head")[head]["PrivateIpAddress"] == address
    units = own_cluster.shell(head, "systemctl is-active dure-boot dure-munged dure-slurmctld dure-keeper dure-agent")
    assert units[1].split() == ["active"] * 5
    code, rules, _ = own_cluster.shell(head, "nft list ruleset | grep -c 169.254.169.254")
    assert (code, int(rules) > 0) == (0, True), "the metadata is closed to users again"


def test_a_node_comes_back(own_cluster: Cloud) -> None:
    """What becomes of its job is Slurm's: a reboot of two seconds is over before Slurm takes the node for lost."""
    job = submit(own_cluster, "sleep", "3600")
    until_state(own_cluster, job, "running")
    (node,) = own_cluster.instances(role="compute")
    identity = own_cluster.shell(node, "cat /etc/dure/identity.json")[1]
    own_cluster.client("ec2").reboot_instances(InstanceIds=[node])
    wait_until(lambda: boots(own_cluster, node)[0] == 2, what="the node's second boot ends", timeout=60)
    units = "systemctl is-active dure-boot dure-munged dure-slurmd dure-agent"
    wait_until(lambda: own_cluster.shell(node, units)[1].split() == ["active"] * 4, what="its units", timeout=30)
    assert own_cluster.shell(node, "cat /etc/dure/identity.json; mountpoint -q /fsx || echo none")[1] == identity
    own_cluster.dure("cancel", job)


def test_another_type_is_the_same_head(own_cluster: Cloud, tmp_path: Path) -> None:
    head = own_cluster.head()
    content = yaml.safe_load(LOCAL.read_text())
    content["head"] = {**content.get("head", {}), "instance_type": "m5.4xlarge"}
    file = tmp_path / "local.yaml"
    file.write_text(yaml.safe_dump(content))
    context = ("-c", f"cluster={file}", "--output", str(tmp_path / "cdk.out"))
    deploy = ("deploy", "--all", "--require-approval", "never", *context)
    restart(own_cluster, head, lambda: own_cluster.cdk(*deploy), times=5)
    assert own_cluster.instances(role="head")[head]["InstanceType"] == "m5.4xlarge"
