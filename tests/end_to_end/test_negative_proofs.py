"""What must not work: each of these fails, or the local cloud proves nothing.

A cluster without user data gets no node; a wrong file system is not mounted; a job cannot harm this machine, read the
munge key or reach the metadata service; what the local cloud does not know fails loudly.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest

from tests.cloud import Cloud, wait_until

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def own_cloud(tmp_path: Path) -> Iterator[Cloud]:
    """A local cloud of its own, for a test that breaks its cluster."""
    cloud = Cloud.start(tmp_path / "cloud")
    yield cloud
    cloud.stop()


def resources(template: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [r["Properties"] for r in template.get("Resources", {}).values() if r["Type"] == kind]


def test_without_user_data_no_node_joins(own_cloud: Cloud, tmp_path: Path) -> None:
    removed = 0

    def edit(template: dict[str, Any]) -> None:
        nonlocal removed
        for properties in resources(template, "AWS::EC2::LaunchTemplate"):
            data = properties["LaunchTemplateData"]
            if '"compute"' in str(data["TagSpecifications"]).replace("'", '"'):
                removed += bool(data.pop("UserData"))

    own_cloud.deploy_edited(edit, out=tmp_path / "cdk.out")
    assert removed == 1
    own_cloud.wait_for_head()
    own_cloud.dure("submit", "--no-code", "--nodes", "1", "--", "true")
    wait_until(lambda: own_cloud.instances(role="compute"), what="a compute node is launched", timeout=60)
    (node,) = own_cloud.instances(role="compute")
    wait_until(lambda: own_cloud.shell(node, "true")[0] == 0, what="its machine runs", timeout=60)
    # on a whole cluster a node joins within 5 s of this moment; here nothing in it even tries
    assert own_cloud.shell(node, "pgrep -x slurmd || pgrep -x munged || ls /etc/dure/facts.json")[0] != 0
    states = {n["state"] for n in own_cloud.json("nodes")}
    assert not states & {"idle", "allocated", "mixed"}, states
    assert own_cloud.json("jobs")[0]["state"] in ("pending", "configuring")


def test_with_a_wrong_file_system_name_the_boot_fails_at_the_mount(own_cloud: Cloud, tmp_path: Path) -> None:
    def edit(template: dict[str, Any]) -> None:
        for properties in resources(template, "AWS::SSM::Parameter"):
            value = properties["Value"]
            if "Fn::Join" in value and "/facts" in str(properties["Name"]):
                parts = value["Fn::Join"][1]
                for index, part in enumerate(parts):
                    if isinstance(part, str) and part.rstrip().endswith(('"dns_name":"', '"dns_name": "')):
                        parts[index + 1] = "fs-0000000000000dead.fsx.us-east-1.amazonaws.com"

    own_cloud.deploy_edited(edit, out=tmp_path / "cdk.out")
    head = own_cloud.head()
    wait_until(
        lambda: "fs-0000000000000dead" in own_cloud.shell(head, "cat /var/log/cloud-init-output.log")[1],
        what="the boot says that the mount failed",
        timeout=90,
    )
    assert own_cloud.shell(head, "mountpoint -q /fsx || pgrep -x slurmctld")[0] != 0
    answer = own_cloud.dure("nodes", check=False)
    assert answer.returncode == 3, answer.stderr


def test_a_wrong_mount_name_or_file_system_is_refused_by_mount(cluster: Cloud) -> None:
    (system,) = cluster.client("fsx").describe_file_systems()["FileSystems"]
    dns, name = system["DNSName"], system["LustreConfiguration"]["MountName"]
    wrong = dns.replace(system["FileSystemId"], "fs-00000000000000bad")
    for source in (f"{wrong}@tcp:/{name}", f"{dns}@tcp:/zzzzzzzz"):
        code, _, error = cluster.shell(cluster.head(), f"mkdir -p /mnt/x && mount -t lustre {source} /mnt/x")
        assert code != 0
        assert "mount.lustre" in error
    assert cluster.shell(cluster.head(), f"mount -t lustre {dns}@tcp:/{name} /mnt/x && umount /mnt/x")[0] == 0


def fingerprint() -> dict[str, str]:
    """Of this machine's own files: what /etc holds, byte by byte, and which names /tmp, /usr and /var hold."""
    digest = hashlib.sha256()
    for path in sorted(Path("/etc").rglob("*")):
        if path.is_file() and not path.is_symlink() and os.access(path, os.R_OK):
            digest.update(str(path).encode() + path.read_bytes())
    names = {
        top: hashlib.sha256("\n".join(sorted(p.name for p in Path(top).iterdir())).encode()).hexdigest()
        for top in ("/usr", "/usr/bin", "/var")
    }
    return {"/etc": digest.hexdigest(), **names}


def end_compute_nodes(cloud: Cloud) -> None:
    """Terminates the compute nodes and waits until Slurm has put them away."""
    if ids := list(cloud.instances(role="compute")):
        cloud.client("ec2").terminate_instances(InstanceIds=ids)
    away = {"powered down", "powered_down"}
    wait_until(lambda: {n["state"] for n in cloud.json("nodes")} <= away, what="every node is put away", timeout=90)


DESTROY = "rm -rf /tmp/* ; echo x >/etc/passwd; touch /usr/x; echo finished"


def test_a_job_that_destroys_its_machine_leaves_this_one_as_it_was(
    cluster: Cloud, tmp_path_factory: pytest.TempPathFactory
) -> None:
    kept = Path("/tmp") / f"dure-kept-{os.getpid()}"
    kept.write_text("still here")
    try:
        before = fingerprint()
        job = cluster.dure("submit", "--no-code", "--nodes", "1", "--wait", "--", "sh", "-c", DESTROY)
        assert "finished" in job.stdout
        # and once more as root, whom no permission stops
        (node, *_) = cluster.instances(role="compute")
        assert cluster.shell(node, DESTROY)[1].strip() == "finished"
        assert cluster.shell(node, "cat /etc/passwd; ls /usr/x")[1].split() == ["x", "/usr/x"]
        assert fingerprint() == before
        assert kept.read_text() == "still here"
        assert not Path("/usr/x").exists()
    finally:
        kept.unlink()
        end_compute_nodes(cluster)  # what is left of this one is no node for the next job


def test_a_job_can_read_no_munge_key_and_reach_no_metadata(cluster: Cloud) -> None:
    script = (
        "id -un; cat /etc/munge/munge.key && echo LEAK; "
        "curl -s -m 3 http://169.254.169.254/latest/meta-data/ && echo LEAK; "
        "python3 -c \"import urllib.request as u; u.urlopen('http://169.254.169.254/', timeout=3)\" && echo LEAK; "
        "cat /root/.aws/config && echo LEAK; echo checked"
    )
    out = cluster.dure("submit", "--no-code", "--nodes", "1", "--wait", "--", "sh", "-c", script).stdout
    assert "dure" in out
    assert "checked" in out
    assert "LEAK" not in out


def test_an_unknown_resource_type_fails_at_once_and_rolls_back(cloud: Cloud) -> None:
    cloudformation = cloud.client("cloudformation")
    template = '{"Resources": {"X": {"Type": "AWS::Nowhere::Thing", "Properties": {}}}}'
    with pytest.raises(botocore.exceptions.ClientError, match="AWS::Nowhere::Thing"):
        cloudformation.create_stack(StackName="unknown-type", TemplateBody=template)
        stack = cloudformation.describe_stacks(StackName="unknown-type")["Stacks"][0]
        assert stack["StackStatus"] != "CREATE_COMPLETE"
        raise botocore.exceptions.ClientError({"Error": {"Message": stack["StackStatusReason"]}}, "CreateStack")


def test_an_unknown_api_fails_at_once_with_its_name(cloud: Cloud) -> None:
    with pytest.raises(botocore.exceptions.ClientError, match=r"(?i)braket|SearchDevices"):
        cloud.client("braket").search_devices(filters=[])
