"""A cluster in a given network, on the local cloud: other types when there is no capacity, scratch space, protection,
and what `dure down` asks before data goes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from infra.config.loader import load_cluster
from tests.cloud import LOCAL, ROOT, Cloud
from tests.given_network import given_network

pytestmark = [pytest.mark.local_cloud, pytest.mark.timeout(900), pytest.mark.long]
FILE = ROOT / "clusters/given-network.yaml"
MODELS = {"path": "/models", "prefix": "models", "export_events": []}


@dataclass(frozen=True)
class Given:
    """The cluster, the file that it was deployed from, and its bucket."""

    cloud: Cloud
    file: Path
    bucket: str

    def objects(self) -> list[str]:
        found = self.cloud.client("s3").list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return [each["Key"] for each in found if not each["Key"].startswith(".dure/")]

    def down(self, *options: str) -> tuple[int, str]:
        done = self.cloud.dure("down", str(self.file), "--yes", *options, check=False, timeout=500)
        return done.returncode, done.stdout + done.stderr

    def job(self, script: str) -> list[str]:
        """The lines that a job on one node says, after its id."""
        done = self.cloud.dure("submit", "--cluster", "given", "--no-code", "--wait", "--", "sh", "-c", script)
        return [line.rstrip() for line in done.stdout.splitlines()[1:]]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Given]:
    folder = tmp_path_factory.mktemp("given")
    cloud = Cloud.start(folder / "cloud")
    try:
        content = yaml.safe_load(FILE.read_text())
        network = given_network(cloud.client("ec2"), load_cluster(FILE))
        content["network"] |= {"vpc_id": network.vpc_id, "subnets": dict(network.subnets)}
        content["storage"]["associations"] = [{"path": "/data", "prefix": "data"}, MODELS]
        content["queues"][0]["idle_seconds"] = 60
        content["protect"] = True
        file = folder / "given.yaml"
        file.write_text(yaml.safe_dump(content))
        image = content["image"]["ssm_parameter"]
        cloud.client("ssm").put_parameter(Name=image, Value=str(load_cluster(LOCAL).image.ami), Type="String")
        cloud.deploy(file)
        facts = cloud.client("ssm").get_parameter(Name="/dure/given/facts")["Parameter"]["Value"]
        yield Given(cloud, file, json.loads(facts)["bucket"])
    finally:
        cloud.stop()


def test_another_type_is_launched_when_the_first_has_no_capacity_in_any_zone(given: Given) -> None:
    (given.cloud.state / "faults.json").write_text(json.dumps({"capacity": {"g5.12xlarge": 0}}))
    (line,) = given.job("echo it runs")
    assert line == "it runs"
    (node,) = given.cloud.instances(role="compute").values()
    assert node["InstanceType"] == "g5.24xlarge"
    assert node["VpcId"] == load_cluster(given.file).network.vpc_id


def test_a_job_finds_its_scratch_space_empty_whatever_the_one_before_left(given: Given) -> None:
    script = 'echo "$DURE_SCRATCH: $(ls -A "$DURE_SCRATCH" | grep -v lost+found)"; touch "$DURE_SCRATCH/left"'
    assert given.job(script) == ["/scratch:"]
    (before,) = given.cloud.instances(role="compute")
    assert given.job(script) == ["/scratch:"]
    (after,) = given.cloud.instances(role="compute")
    assert after == before
    log = (given.cloud.state / "machines" / after / "log/dure/boot.log").read_text()
    assert "no NVMe instance store: /scratch is a folder of its root volume" in log


def test_the_budget_is_there(given: Given) -> None:
    (budget,) = given.cloud.client("budgets").describe_budgets(AccountId="123456789012")["Budgets"]
    assert budget["BudgetLimit"]["Amount"] == "2000"
    assert budget["CostFilters"] == {"TagKeyValue": ["user:dure:cluster$given"]}


def test_protected_stacks_are_not_destroyed(given: Given) -> None:
    destroyed = given.cloud.cdk("destroy", "--all", "--force", "-c", f"cluster={given.file}", check=False)
    assert destroyed.returncode
    assert "TerminationProtection is enabled" in destroyed.stdout + destroyed.stderr
    code, said = given.down()
    assert code == 2
    assert "these stacks are protected from deletion: dure-given-cluster, dure-given-monitoring" in said
    assert given.cloud.instances(role="head")


def test_down_asks_for_the_data_before_it_deletes_anything(given: Given) -> None:
    """A folder that does not export by itself: refused, then sent, then only the bucket is in the way, then gone."""
    given.job("echo model > /fsx/models/m1 && echo text > /fsx/data/t1")
    code, said = given.down("--unprotect")
    assert code == 2
    assert "its folder /models exports nothing by itself" in said
    assert "models/m1" not in given.objects()
    code, said = given.down("--unprotect", "--export")
    assert code == 2
    assert "files exported" in said
    assert "CloudFormation deletes only an empty bucket" in said
    assert given.objects() == ["data/t1", "models/m1"]
    assert given.cloud.instances(role="head")
    code, said = given.down("--unprotect", "--discard-unexported", "--delete-data")
    assert code == 0, said
    assert "no longer protected: dure-given-cluster" in said
    assert "cluster 'given' is gone: nothing of it is left" in said
    assert given.cloud.client("budgets").describe_budgets(AccountId="123456789012").get("Budgets", []) == []
    vpc = str(load_cluster(given.file).network.vpc_id)
    assert given.cloud.client("ec2").describe_vpcs(VpcIds=[vpc])["Vpcs"]
