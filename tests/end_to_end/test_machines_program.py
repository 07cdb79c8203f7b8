"""The program itself: up, status, down, up again after a kill; an instance launched through its API is a machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

pytestmark = [pytest.mark.local_cloud, pytest.mark.timeout(180)]

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".envs/local-cloud/bin/python"
USER_DATA = """#!/bin/bash
of() { sed -n "/^$1 =/{n;s/.*= //p}" /root/.aws/config; }
curl -s -m 10 -o /dev/null -w '%{http_code} ' "$(of ssm)"
curl -s -m 1 -o /dev/null -w '%{http_code}' "$(of ec2)"
echo " from $(hostname -I)"
"""


def program(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    argv = [str(PYTHON), "-m", "infra.local_cloud", *words]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "cloud"
    program("down", "--state", str(tmp_path / "cloud"))


def info(state: Path) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(program("status", "--json", "--state", str(state)).stdout)
    return answer


def launch(endpoint: str) -> tuple[str, str]:
    """An instance in a subnet of its own; its id and its address."""
    ec2 = boto3.client(
        "ec2", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="local", aws_secret_access_key="x"
    )
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="all", Description="all", VpcId=vpc)["GroupId"]
    https = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "10.9.0.0/16"}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[https])
    ec2.create_vpc_endpoint(
        VpcId=vpc,
        ServiceName="com.amazonaws.us-east-1.ssm",
        VpcEndpointType="Interface",
        SubnetIds=[subnet],
        SecurityGroupIds=[group],
        PrivateDnsEnabled=True,
    )
    image = ec2.describe_images(Owners=["self", "amazon"])["Images"][0]["ImageId"]
    made = ec2.run_instances(
        ImageId=image, InstanceType="m5.large", MinCount=1, MaxCount=1, SubnetId=subnet, UserData=USER_DATA
    )
    ec2.close()
    return made["Instances"][0]["InstanceId"], made["Instances"][0]["PrivateIpAddress"]


def test_an_instance_is_a_machine_that_reaches_the_api_and_a_kill_leaves_room_for_the_next(state: Path) -> None:
    shown = program("up", "--detach", "--state", str(state)).stdout
    assert "ready at http://127.0.0.1:" in shown
    first = info(state)
    refused = program("up", "--state", str(state), check=False)
    assert refused.returncode == 1 and first["endpoint"] in refused.stderr and "Traceback" not in refused.stderr
    port = str(first["port"])
    taken = program("up", "--state", str(state.with_name("other")), "--port", port, check=False)
    assert taken.returncode == 1 and f"port {port} of 127.0.0.1" in taken.stderr and "--port 0" in taken.stderr

    instance, address = launch(first["endpoint"])
    log = state / "machines" / instance / "log" / "cloud-init-output.log"
    end = time.monotonic() + 30
    while not (log.exists() and log.read_text().endswith("\n")):
        assert time.monotonic() < end, "the user data never ended"
        time.sleep(0.1)
    code, none, _, whence = log.read_text().split()
    assert code != "000" and whence == address, "a service with an endpoint answers in the machines' network"
    assert none == "000", "one without does not"
    (machine,) = info(state)["machines"]
    assert (machine["id"], machine["ip"], machine["state"]) == (instance, address, "running")

    os.kill(first["pid"], signal.SIGKILL)
    while Path(f"/proc/{machine['pid']}/status").exists() and "Z" not in _state_of(machine["pid"]):
        assert time.monotonic() < end + 10, "the machine outlived its owner"
        time.sleep(0.05)
    assert program("status", "--state", str(state), check=False).stdout == "down\n"
    program("up", "--detach", "--state", str(state))
    assert info(state)["machines"] == []


def _state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_down_where_nothing_runs(state: Path) -> None:
    assert program("down", "--state", str(state)).stdout == "no local cloud runs there\n"
    assert program("status", "--state", str(state), check=False).returncode == 1
