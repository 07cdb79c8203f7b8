"""The real CDK CLI against the local cloud: each ready cluster file is deployed, changed, and leaves nothing behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cloud import ROOT, Cloud

pytestmark = [pytest.mark.timeout(600), pytest.mark.local_cloud]

IMAGE = "ami-0000000000000d07e"
BOOTSTRAP = "cdk-hnb659fds-"
OTHER_TYPE = {"local": "p4d.24xlarge", "kogpt2": "p4d.24xlarge", "kogpt2-p4d": "p4de.24xlarge", "spot": "g5.24xlarge"}


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    """A local cloud of one test: each looks at the whole account, and machines of all VPCs share one network."""
    running = Cloud.start(tmp_path / "cloud")
    yield running
    running.stop()


def in_region(cloud: Cloud, region: str) -> Cloud:
    """The same cloud, seen from another region."""
    names = ("AWS_REGION", "AWS_DEFAULT_REGION", "CDK_DEFAULT_REGION")
    return Cloud(state=cloud.state, env={**cloud.env, **{name: region for name in names if name in cloud.env}})


def left_over(cloud: Cloud) -> dict[str, list[str]]:
    """Everything in the account and region that a cluster may have made and that is still there."""
    ec2, iam = cloud.client("ec2"), cloud.client("iam")
    vpcs = [vpc["VpcId"] for vpc in ec2.describe_vpcs()["Vpcs"] if not vpc["IsDefault"]]
    instances = [i for r in ec2.describe_instances()["Reservations"] for i in r["Instances"]]
    groups = ec2.describe_security_groups()["SecurityGroups"]
    aliases = [item["AliasName"] for item in cloud.client("kms").list_aliases()["Aliases"]]
    found = {
        "stacks": [s["StackName"] for s in cloud.client("cloudformation").describe_stacks()["Stacks"]],
        "vpcs": vpcs,
        "instances": [i["InstanceId"] for i in instances if i["State"]["Name"] != "terminated"],
        "interfaces": [i["NetworkInterfaceId"] for i in ec2.describe_network_interfaces()["NetworkInterfaces"]],
        "endpoints": [e["VpcEndpointId"] for e in ec2.describe_vpc_endpoints()["VpcEndpoints"]],
        "groups": [g["GroupId"] for g in groups if g["GroupName"] != "default"],
        "volumes": [v["VolumeId"] for v in ec2.describe_volumes()["Volumes"]],
        "templates": [t["LaunchTemplateName"] for t in ec2.describe_launch_templates()["LaunchTemplates"]],
        "placement": [g["GroupName"] for g in ec2.describe_placement_groups()["PlacementGroups"]],
        "flow logs": [f["FlowLogId"] for f in ec2.describe_flow_logs()["FlowLogs"]],
        "file systems": [f["FileSystemId"] for f in cloud.client("fsx").describe_file_systems()["FileSystems"]],
        "buckets": [b["Name"] for b in cloud.client("s3").list_buckets()["Buckets"]],
        "roles": [r["RoleName"] for r in iam.list_roles()["Roles"]],
        "profiles": [p["InstanceProfileName"] for p in iam.list_instance_profiles()["InstanceProfiles"]],
        "log groups": [g["logGroupName"] for g in cloud.client("logs").describe_log_groups()["logGroups"]],
        "secrets": [s["Name"] for s in cloud.client("secretsmanager").list_secrets()["SecretList"]],
        "dashboards": [d["DashboardName"] for d in cloud.client("cloudwatch").list_dashboards()["DashboardEntries"]],
        "alarms": [a["AlarmName"] for a in cloud.client("cloudwatch").describe_alarms()["MetricAlarms"]],
        "parameters": [p["Name"] for p in cloud.client("ssm").describe_parameters()["Parameters"]],
        "aliases": [name for name in aliases if not name.startswith("alias/aws/")],
    }
    kept = ("CDKToolkit", "/cdk-bootstrap/", "/dure/images/", BOOTSTRAP)
    return {kind: left for kind, names in found.items() if (left := [n for n in names if not n.startswith(kept)])}


@pytest.mark.parametrize("file", sorted((ROOT / "clusters").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_cluster_file_is_deployed_changed_and_leaves_nothing(cloud: Cloud, tmp_path: Path, file: Path) -> None:
    settings: dict[str, Any] = yaml.safe_load(file.read_text())
    here = in_region(cloud, settings["region"])
    for name in ("volta", "default"):
        here.client("ssm").put_parameter(Name=f"/dure/images/{name}", Value=IMAGE, Type="String", Overwrite=True)
    here.cdk("bootstrap", "-c", f"cluster={file}")
    assembly = synthesize(here, file, tmp_path / "first")
    here.cdk("deploy", "--all", "--require-approval", "never", "--app", assembly)
    assert "Number of stacks with differences: 0" in diff(here, assembly)
    assert facts(here, settings["name"])["queues"][0]["max"] == settings["queues"][0]["max"]

    changed = tmp_path / "cluster.yaml"
    queue = settings["queues"][0]
    queue |= {"max": queue["max"] + 1, "instance_type": OTHER_TYPE[settings["name"]]}
    queue.pop("fallback_types", None)
    changed.write_text(yaml.safe_dump(settings))
    before = versions(here, settings["name"])
    assembly = synthesize(here, changed, tmp_path / "second")
    assert "Number of stacks with differences: 0" not in diff(here, assembly)
    here.cdk("deploy", "--all", "--require-approval", "never", "--app", assembly)
    after = facts(here, settings["name"])["queues"][0]
    assert (after["max"], after["instance_type"]) == (queue["max"], queue["instance_type"])
    assert all(versions(here, settings["name"])[name] == version + 1 for name, version in before.items())

    here.cdk("destroy", "--all", "--force", "--app", assembly)
    assert left_over(here) == {}
    assert refused(cloud) == []


def synthesize(cloud: Cloud, file: Path, folder: Path) -> str:
    """The assembly of a cluster file: made once, so that an edit of the sources meanwhile is no difference."""
    cloud.cdk("synth", "--quiet", "--output", str(folder), "-c", f"cluster={file}")
    return str(folder)


def diff(cloud: Cloud, assembly: str) -> str:
    """What `cdk diff` says; it writes to its standard error."""
    done = cloud.cdk("diff", "--app", assembly)
    return done.stdout + done.stderr


def facts(cloud: Cloud, name: str) -> dict[str, Any]:
    """The facts that the cluster's programs read, with queues' numbers as numbers."""
    text = cloud.client("ssm").get_parameter(Name=f"/dure/{name}/facts")["Parameter"]["Value"]
    found: dict[str, Any] = json.loads(text)
    for queue in found["queues"]:
        queue["max"] = int(queue["max"])
    return found


def versions(cloud: Cloud, name: str) -> dict[str, int]:
    """The latest version of the first queue's launch templates, by id, as EC2 tells it."""
    ids = [item["launch_template_id"] for item in facts(cloud, name)["queues"][0]["launch_templates"]]
    found = cloud.client("ec2").describe_launch_templates(LaunchTemplateIds=ids)["LaunchTemplates"]
    return {item["LaunchTemplateId"]: item["LatestVersionNumber"] for item in found}


def refused(cloud: Cloud) -> list[str]:
    """Requests that the local cloud could not answer: none, or it does not model what the project uses."""
    lines = [json.loads(line) for line in (cloud.state / "aws.jsonl").read_text().splitlines()]
    return [f"{r['service']}:{r['operation']} {r['error']}" for r in lines if r.get("status") == 501]
