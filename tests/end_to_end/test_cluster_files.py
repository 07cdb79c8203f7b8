"""Every ready cluster file, whole, on a local cloud: deployed, unchanged, updated and taken away without a trace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.config.facts import Facts, parameter_name
from infra.config.loader import load_cluster
from tests.cloud import ROOT, Cloud
from tests.given_network import given_network

pytestmark = pytest.mark.local_cloud

FILES = sorted((ROOT / "clusters").glob("*.yaml"))
IN_EVERY_RUN = ("local", "kogpt2-p3dn")  # a minute each; the others with `make test LONG=1`
ACCOUNT = "123456789012"
# Another type for each that the ready files use, offered in the same zones and of the same architecture of GPU
OTHER_TYPE = {
    "p3dn.24xlarge": "p4d.24xlarge",
    "p4d.24xlarge": "p5.48xlarge",
    "g5.12xlarge": "g6.12xlarge",
    "c5.2xlarge": "c5.4xlarge",
}


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A local cloud of this module's own, whose account starts empty."""
    cloud = Cloud.start(tmp_path_factory.mktemp("account"))
    yield cloud
    cloud.stop()


def client(account: Cloud, service: Any, region: str) -> Any:
    import boto3

    return boto3.session.Session(
        aws_access_key_id=account.env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=account.env["AWS_SECRET_ACCESS_KEY"],
        region_name=region,
    ).client(service, endpoint_url=account.env["AWS_ENDPOINT_URL"])


def what_costs_money(account: Cloud, region: str) -> dict[str, list[Any]]:
    """What is in a region's account, by kind: all of it must be gone in the end."""
    ec2 = client(account, "ec2", region)
    live = [{"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}]
    own = [{"Name": "is-default", "Values": ["false"]}]
    buckets = client(account, "s3", region).list_buckets()["Buckets"]
    stacks = client(account, "cloudformation", region).describe_stacks()["Stacks"]
    iam = client(account, "iam", region)
    roles, profiles = iam.list_roles()["Roles"], iam.list_instance_profiles()["InstanceProfiles"]
    groups = ec2.describe_security_groups()["SecurityGroups"]
    aliases = client(account, "kms", region).list_aliases()["Aliases"]
    return {
        "instances": ec2.describe_instances(Filters=live)["Reservations"],
        "networks": ec2.describe_vpcs(Filters=own)["Vpcs"],
        "interfaces": ec2.describe_network_interfaces()["NetworkInterfaces"],
        "endpoints": ec2.describe_vpc_endpoints()["VpcEndpoints"],
        "groups": [each for each in groups if each["GroupName"] != "default"],
        "placement groups": ec2.describe_placement_groups()["PlacementGroups"],
        "flow logs": ec2.describe_flow_logs()["FlowLogs"],
        "key aliases": [each for each in aliases if not each["AliasName"].startswith("alias/aws/")],
        "instance profiles": profiles,
        "volumes": ec2.describe_volumes()["Volumes"],
        "templates": ec2.describe_launch_templates()["LaunchTemplates"],
        "file systems": client(account, "fsx", region).describe_file_systems()["FileSystems"],
        "log groups": client(account, "logs", region).describe_log_groups()["logGroups"],
        "secrets": client(account, "secretsmanager", region).list_secrets()["SecretList"],
        "alarms": client(account, "cloudwatch", region).describe_alarms()["MetricAlarms"],
        "dashboards": client(account, "cloudwatch", region).list_dashboards()["DashboardEntries"],
        "parameters": client(account, "ssm", region).get_parameters_by_path(Path="/dure/", Recursive=True)[
            "Parameters"
        ],
        "stacks": [each for each in stacks if each["StackName"].startswith("dure-")],
        "budgets": client(account, "budgets", "us-east-1").describe_budgets(AccountId=ACCOUNT)["Budgets"],
        "buckets": [each for each in buckets if each["Name"].startswith("dure-")],
        "roles": [each for each in roles if each["RoleName"].startswith("dure-")],
    }


def placed(path: Path, account: Cloud, folder: Path) -> Path:
    """The file itself, or, where its network is given, a copy that names a network made here."""
    cluster = load_cluster(path)
    if cluster.network.vpc_id is None:
        return path
    network = given_network(client(account, "ec2", cluster.region), cluster)
    content = yaml.safe_load(path.read_text())
    content["network"] |= {"vpc_id": network.vpc_id, "subnets": dict(network.subnets)}
    new = folder / path.name
    new.write_text(yaml.safe_dump(content))
    return new


def updated(path: Path, folder: Path) -> Path:
    """The same file with another type and one node more in each queue."""
    content = yaml.safe_load(path.read_text())
    for queue in content["queues"]:
        queue["max"] += 1
        queue["instance_type"] = OTHER_TYPE[queue["instance_type"]]
        queue.pop("fallback_types", None)
    content["image"].pop("nvidia_driver", None)
    new = folder / f"updated-{path.name}"
    new.write_text(yaml.safe_dump(content))
    return new


def synthesized(account: Cloud, path: Path, out: Path) -> tuple[str, str]:
    """The options that name the app of a cluster file, made once: the sources may change meanwhile."""
    account.cdk("synth", "--quiet", "-c", f"cluster={path}", "--output", str(out))
    return "--app", str(out)


def refused(account: Cloud) -> list[str]:
    """Requests that the local cloud could not answer: none, or it does not model what the project uses."""
    lines = [json.loads(line) for line in (account.state / "aws.jsonl").read_text().splitlines()]
    return [f"{r['service']}:{r['operation']} {r['error']}" for r in lines if r.get("status") == 501]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=() if path.stem in IN_EVERY_RUN else pytest.mark.long) for path in FILES],
)
def test_a_cluster_file_is_deployed_updated_and_taken_away(path: Path, account: Cloud, tmp_path: Path) -> None:
    cluster = load_cluster(path)
    ssm = client(account, "ssm", cluster.region)
    image = cluster.image.ssm_parameter
    if image is not None:
        # As the image pipeline does
        ami = str(load_cluster(ROOT / "clusters/local.yaml").image.ami)
        ssm.put_parameter(Name=image, Value=ami, Type="String", Overwrite=True)  # two files share a region and a name
    path = placed(path, account, tmp_path)
    before = what_costs_money(account, cluster.region)
    app = synthesized(account, path, tmp_path / "old")
    account.cdk("bootstrap", *app)
    account.cdk("deploy", "--all", "--require-approval", "never", *app)

    facts = Facts.from_json(ssm.get_parameter(Name=parameter_name(cluster.name))["Parameter"]["Value"])
    assert [(queue.name, queue.max) for queue in facts.queues] == [(queue.name, queue.max) for queue in cluster.queues]

    diff = account.cdk("diff", "--all", "--fail", *app, check=False)
    assert diff.returncode == 0, diff.stdout + diff.stderr

    app = synthesized(account, updated(path, tmp_path), tmp_path / "new")
    account.cdk("deploy", "--all", "--require-approval", "never", *app)
    changed = Facts.from_json(ssm.get_parameter(Name=parameter_name(cluster.name))["Parameter"]["Value"])
    for was, becomes in zip(facts.queues, changed.queues, strict=True):
        assert becomes.max == was.max + 1
        assert becomes.instance_type == OTHER_TYPE[was.instance_type]
        assert all(each.version == "2" for each in becomes.launch_templates)
    # Neither head nor file system were touched
    assert (changed.head, changed.file_system) == (facts.head, facts.file_system)

    account.cdk("destroy", "--all", "--force", *app)
    assert what_costs_money(account, cluster.region) == before
    assert refused(account) == []
