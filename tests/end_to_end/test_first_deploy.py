"""The ladder of a first deployment on the local cloud: what costs nothing, each refusal, and the CPU step."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cloud import LOCAL, ROOT, Cloud, wait_until

pytestmark = [pytest.mark.local_cloud, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A local cloud of this module's own, bootstrapped and otherwise empty."""
    cloud = Cloud.start(tmp_path_factory.mktemp("account"))
    cloud.cdk("bootstrap", "-c", f"cluster={LOCAL}", "--output", str(cloud.state / "cdk.out"))
    yield cloud
    cloud.stop()


@pytest.fixture
def script(account: Cloud) -> Iterator[Any]:
    """Scripts the cloud's refusals, and takes them back."""
    file = account.state / "faults.json"
    yield lambda **faults: file.write_text(json.dumps(faults))
    file.unlink(missing_ok=True)


def live(account: Cloud, file: Path = LOCAL) -> tuple[int, dict[str, Any]]:
    done = account.dure("check", str(file), "--live", "--json", check=False)
    answer: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, answer


def refused(answer: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each["rule"], each["said"]) for each in answer["live"] if each["verdict"] == "fails"]


def edited(tmp_path: Path, old: str, new: str, *, file: Path = LOCAL) -> Path:
    text = file.read_text()
    assert old in text
    path = tmp_path / "cluster.yaml"
    path.write_text(text.replace(old, new))
    return path


def test_what_costs_nothing_passes_and_nothing_is_made(account: Cloud) -> None:
    code, answer = live(account)
    assert (code, refused(answer), answer["stands_on"]) == (0, [], "dry-run")
    assert [step["name"] for step in answer["ladder"]] == ["identity", "quotas", "dry-run", "cpu", "gpu", "all"]
    assert {each["step"] for each in answer["live"]} == {"identity", "quotas", "dry-run"}
    assert account.client("ec2").describe_instances()["Reservations"] == []
    shown = account.dure("check", str(LOCAL), "--live").stdout
    assert shown.index("125.75 USD for each hour") < shown.index("ok credentials")
    assert "stands on: dry-run, the highest step that costs nothing" in shown


def test_a_quota_that_is_too_small_stops_before_the_dry_run(account: Cloud, script: Any) -> None:
    script(quotas={"L-417A185B": 96})
    code, answer = live(account)
    assert (code, answer["stands_on"]) == (3, "identity")
    assert refused(answer) == [("live-quota", "the account may run 96 vCPUs, this file needs 384")]


def test_no_capacity_is_told_as_such(account: Cloud, script: Any) -> None:
    script(capacity={"p3dn.24xlarge": 3})
    code, answer = live(account)
    assert (code, answer["stands_on"]) == (3, "quotas")
    ((rule, said),) = refused(answer)
    assert rule == "live-dry-run"
    assert said.startswith("EC2 has no free machines of the type there now (InsufficientInstanceCapacity:")


def test_an_image_that_is_not_there_and_one_with_another_root_device(account: Cloud, tmp_path: Path) -> None:
    file = edited(tmp_path, "ami: ami-0000000000000d07e", "ssm_parameter: /dure/images/none")
    assert refused(live(account, file)[1]) == [("live-image", "there is no such parameter in us-east-1")]
    file = edited(tmp_path, "d07e", "d07f")
    assert "sees no image ami-0000000000000d07f" in refused(live(account, file)[1])[0][1]
    file = edited(tmp_path, "d07e", "d07e\n  root_device: /dev/sda1")
    assert "its RootDeviceName is /dev/xvda, needed is /dev/sda1" in refused(live(account, file)[1])[0][1]


def test_an_account_without_bootstrap_or_the_spot_role_is_told_how(account: Cloud) -> None:
    code, answer = live(account, ROOT / "clusters/spot.yaml")
    assert code == 3
    fixes = {each["what"]: each["fix"] for each in answer["live"] if each["verdict"] == "fails"}
    assert fixes["CDK bootstrap"] == "once an account and region: npx cdk bootstrap aws://123456789012/us-west-2"
    assert "--aws-service-name spot.amazonaws.com" in fixes["AWSServiceRoleForEC2Spot"]
    account.client("iam").create_service_linked_role(AWSServiceName="spot.amazonaws.com")

    def missing() -> bool:
        answer = live(account, ROOT / "clusters/spot.yaml")[1]
        return "AWSServiceRoleForEC2Spot" in {each["what"] for each in answer["live"] if each["verdict"] == "fails"}

    # IAM is eventually consistent
    wait_until(lambda: not missing(), what="the role is seen", timeout=30)


def test_who_may_not_launch_is_told_so(account: Cloud) -> None:
    """A role that may look and not launch: the questions pass, the launch is refused by its real cause."""
    iam = account.client("iam")
    trust = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"}, "Action": "sts:AssumeRole"}
    iam.create_role(
        RoleName="looker", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    )
    looks = ["ec2:Describe*", "ssm:GetParameter*", "iam:GetRole", "fsx:Describe*"]
    allow = {"Effect": "Allow", "Action": looks, "Resource": "*"}
    iam.put_role_policy(
        RoleName="looker",
        PolicyName="look",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allow]}),
    )
    session = account.client("sts").assume_role(
        RoleArn="arn:aws:iam::123456789012:role/looker", RoleSessionName="someone"
    )["Credentials"]
    keys = {
        "AWS_ACCESS_KEY_ID": session["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": session["SecretAccessKey"],
        "AWS_SESSION_TOKEN": session["SessionToken"],
    }
    looker = Cloud(state=account.state, env={**account.env, **keys})
    code, answer = live(looker)
    assert (code, answer["stands_on"]) == (3, "quotas")
    unknown = {each["what"]: each["fix"] for each in answer["live"] if each["verdict"] == "unknown"}
    assert unknown["vCPU quotas"].startswith("allow servicequotas:GetServiceQuota")
    ((rule, said),) = refused(answer)
    assert rule == "live-dry-run"
    assert "you may not launch this (UnauthorizedOperation:" in said


@pytest.mark.long
def test_the_cpu_step_deploys_runs_a_job_and_leaves_nothing(account: Cloud, tmp_path: Path) -> None:
    done = account.dure("check", str(LOCAL), "--live", "--step", "cpu", "--yes", cwd=tmp_path, timeout=500)
    shown = done.stdout
    assert shown.index("0.79 USD for each hour that it stands") < shown.index("$ dure up")
    assert shown.splitlines()[-1] == "step cpu passes"
    assert (tmp_path / ".dure/ladder/local-cpu.yaml").exists()
    stacks = account.client("cloudformation").describe_stacks()["Stacks"]
    assert [each["StackName"] for each in stacks] == ["CDKToolkit"]
