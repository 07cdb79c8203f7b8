"""What nodes go through: they come when a job needs them and go when none does; one that dies or is unfit costs its
job a new start, no more."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from tests.cloud import Cloud, wait_until

pytestmark = pytest.mark.timeout(300)

ENDED = ("completed", "failed", "cancelled", "node_fail", "timeout")


def submit(cluster: Cloud, *words: str) -> str:
    """Submits a command; the job's id."""
    return str(json.loads(cluster.dure("submit", "--json", "--no-code", *words).stdout)["job_id"])


def show(cluster: Cloud, job: str) -> dict[str, Any]:
    answer: dict[str, Any] = cluster.json("show", job)
    return answer


def ended(cluster: Cloud, job: str, timeout: float) -> dict[str, Any]:
    wait_until(lambda: show(cluster, job)["state"] in ENDED, what=f"job {job} ends", timeout=timeout)
    return show(cluster, job)


def running(cluster: Cloud, job: str) -> dict[str, Any]:
    wait_until(lambda: show(cluster, job)["state"] == "running", what=f"job {job} runs", timeout=60)
    return show(cluster, job)


def machines(cluster: Cloud) -> dict[str, str]:
    """Node -> instance id, of the nodes that have one."""
    return {node["name"]: node["instance_id"] for node in cluster.json("nodes") if node["instance_id"]}


def all_away(cluster: Cloud) -> None:
    """No compute machine is left, and every node can be used again."""
    wait_until(lambda: not cluster.instances(role="compute"), what="no compute machine is left", timeout=90)
    away = {"powered_down"}
    wait_until(lambda: {n["state"] for n in cluster.json("nodes")} == away, what="every node is put away", timeout=60)


def test_machines_come_for_a_job_and_go_when_it_is_over(cluster: Cloud) -> None:
    all_away(cluster)
    # The job ends when it is told to: its nodes must not be given back while they are looked at
    over = "/fsx/.dure/over-test-machines-come"
    job = submit(cluster, "--nodes", "2", "--", "sh", "-c", f"until [ -e {over} ]; do sleep 0.2; done")
    submitted = time.monotonic()
    shown = running(cluster, job)
    assert time.monotonic() - submitted < 30
    instances = cluster.instances(role="compute")
    assert len(instances) == len(shown["nodes"]) == 2
    assert {machines(cluster)[name] for name in shown["nodes"]} == set(instances)
    assert len({tag["Value"] for i in instances.values() for tag in i["Tags"] if tag["Key"] == "dure:launch"}) == 1
    assert cluster.shell(cluster.head(), f"touch {over}")[0] == 0
    assert ended(cluster, job, 30)["state"] == "completed"
    assert cluster.shell(cluster.head(), f"rm {over}")[0] == 0
    all_away(cluster)


def test_a_job_whose_node_dies_starts_again_on_another_machine(cluster: Cloud) -> None:
    script = 'echo "start ${SLURM_RESTART_COUNT:-0}"; [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] || sleep 200'
    job = submit(cluster, "--nodes", "2", "--", "sh", "-c", script)
    shown = running(cluster, job)
    dead = machines(cluster)[shown["nodes"][-1]]
    cluster.client("ec2").terminate_instances(InstanceIds=[dead])
    shown = ended(cluster, job, 120)
    assert (shown["state"], shown["exit_code"]) == ("completed", 0)
    assert "start 1" in cluster.dure("logs", job).stdout
    assert dead not in machines(cluster).values()


def test_a_node_that_is_unfit_is_replaced_and_the_job_runs(cluster: Cloud) -> None:
    first = submit(cluster, "--nodes", "4", "--", "sleep", "20")
    name = running(cluster, first)["nodes"][0]
    second = submit(cluster, "--nodes", "4", "--", "hostname")
    broken = machines(cluster)[name]
    assert cluster.shell(broken, "umount /dev/nvidia3; rm /dev/nvidia3")[0] == 0
    shown = ended(cluster, second, 150)
    assert (shown["state"], shown["exit_code"]) == ("completed", 0)
    assert broken not in machines(cluster).values()
    # the prolog took the node out for its reason; whether the keeper or its idle time then ended it is a race
    log = cluster.shell(cluster.head(), f"grep -F 'node {name} ' /var/log/slurm/slurmctld.log")[1]
    assert re.search(rf"node {name} reason set to: .*GPU", log), log
    assert re.search(rf"node {name} state set to DRAIN", log), log


def test_a_job_that_nothing_can_run_is_told_why(cluster: Cloud) -> None:
    """The head's own copy of the facts names a launch template that is gone: EC2's words reach the job."""
    all_away(cluster)
    head = cluster.head()
    spoil = 'sed -i.kept \'s/"launch_template_id": *"lt-[0-9a-f]*"/"launch_template_id":"lt-00000000000000000"/\''
    assert cluster.shell(head, f"{spoil} /etc/dure/facts.json")[0] == 0
    try:
        job = submit(cluster, "--", "hostname")
        wait_until(lambda: show(cluster, job)["reason"].startswith("dure: "), what="the job says why", timeout=30)
        shown = show(cluster, job)
        assert shown["state"] in ("pending", "configuring")
        assert "lt-00000000000000000" in shown["reason"]
        assert "RunInstances said" in shown["reason"]
    finally:
        cluster.shell(head, "mv /etc/dure/facts.json.kept /etc/dure/facts.json")
    assert ended(cluster, job, 90)["state"] == "completed"
