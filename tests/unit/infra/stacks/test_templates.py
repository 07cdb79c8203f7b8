from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.config import changes
from infra.config.facts import Facts
from infra.config.loader import load_cluster
from tests.unit.infra.conftest import CLUSTER_FILES, FULL, ROOT, Templates


def pasted(value: Any) -> str:
    """The text that CloudFormation would make of a value: what it knows only later becomes a made-up one."""
    if isinstance(value, str):
        return value
    ((function, argument),) = value.items()
    if function == "Fn::Join":
        parts = argument[1] if isinstance(argument[1], list) else pasted_list(argument[1])
        return str(argument[0]).join(pasted(part) for part in parts)
    if function == "Fn::GetAtt" and argument[1] == "PrimaryPrivateIpAddress":
        return "10.42.0.10"
    if function == "Fn::GetAtt" and argument[1] == "LatestVersionNumber":
        return "3"
    return f"id-{hashlib.sha256(json.dumps(value).encode()).hexdigest()[:8]}"


def pasted_list(value: dict[str, Any]) -> list[str]:
    separator, text = value["Fn::Split"]
    return pasted(text).split(separator)


def only(template: dict[str, Any], kind: str) -> dict[str, Any]:
    (found,) = [resource for resource in template["Resources"].values() if resource["Type"] == kind]
    return dict(found)


def ssm_parameters(templates: Templates) -> dict[str, dict[str, Any]]:
    found = [each for each in templates["cluster"]["Resources"].values() if each["Type"] == "AWS::SSM::Parameter"]
    return {each["Properties"]["Name"]: each["Properties"] for each in found}


@pytest.mark.parametrize("path", CLUSTER_FILES, ids=lambda path: str(path.stem))
def test_a_cluster_keeps_the_file_that_it_was_made_from(path: Path, templates: Callable[[Path], Templates]) -> None:
    cluster = load_cluster(path)
    parameter = ssm_parameters(templates(path))[changes.parameter_name(cluster.name)]
    assert changes.from_json(parameter["Value"]) == cluster
    assert changes.compare(changes.from_json(parameter["Value"]), cluster) == ()


@pytest.mark.parametrize("path", CLUSTER_FILES, ids=lambda path: str(path.stem))
def test_facts_say_what_the_file_says(path: Path, templates: Callable[[Path], Templates]) -> None:
    cluster = load_cluster(path)
    parameter = ssm_parameters(templates(path))[f"/dure/{cluster.name}/facts"]
    facts = Facts.from_json(pasted(parameter["Value"]))
    assert parameter["Tier"] == "Intelligent-Tiering"
    assert (facts.name, facts.region) == (cluster.name, cluster.region)
    assert (facts.head.private_ip, facts.head.host_name) == ("10.42.0.10", "ip-10-42-0-10")
    assert facts.head.state_volume
    assert [queue.name for queue in facts.queues] == [queue.name for queue in cluster.queues]
    for queue, wanted in zip(facts.queues, cluster.queues, strict=True):
        assert (queue.max, queue.min, queue.market) == (wanted.max, wanted.min, wanted.market)
        assert [each.zone_id for each in queue.launch_templates] == list(cluster.queue_zones(wanted))
        assert (queue.placement_group is not None) == wanted.placement_group
        assert queue.fallback_types == wanted.fallback_types
    assert [(each.path, each.prefix) for each in facts.file_system.associations] == [
        (each.path, each.prefix) for each in cluster.storage.associations
    ]


def test_the_facts_estimate_of_the_rules_is_no_underestimate(templates: Callable[[Path], Templates]) -> None:
    from infra.config.rules.money import FACTS_BASE, FACTS_QUEUE, FACTS_TEMPLATE

    value = pasted(ssm_parameters(templates(FULL))["/dure/full/facts"]["Value"])
    # Real ids are longer than the made-up ones: 24 for a subnet or a template, 90 for a secret or placement group
    assert len(value) + 12 * 8 + 3 * 80 < FACTS_BASE + 3 * FACTS_QUEUE + 4 * FACTS_TEMPLATE


def test_the_head_stands_on_its_own_interface_and_waits_for_what_it_reads(local: Templates) -> None:
    template = local["cluster"]
    head = only(template, "AWS::EC2::Instance")
    (interface,) = head["Properties"]["NetworkInterfaces"]
    assert interface["DeviceIndex"] == "0"
    assert template["Resources"][interface["NetworkInterfaceId"]["Ref"]]["Type"] == "AWS::EC2::NetworkInterface"
    kinds = {template["Resources"][name]["Type"] for name in head["DependsOn"]}
    assert kinds >= {"AWS::SSM::Parameter", "AWS::Logs::LogGroup"}


def test_machines_boot_by_one_command_and_know_themselves_by_tags(local: Templates) -> None:
    found = [
        each["Properties"]["LaunchTemplateData"]
        for each in local["cluster"]["Resources"].values()
        if each["Type"] == "AWS::EC2::LaunchTemplate"
    ]
    assert len(found) == 2
    for data in found:
        assert data["UserData"] == {"Fn::Base64": "#!/bin/bash\nset -euo pipefail\nexec /opt/dure/bin/dure-node boot\n"}
        for specification in data["TagSpecifications"]:
            tags = {tag["Key"]: tag["Value"] for tag in specification["Tags"]}
            assert tags["dure:cluster"] == "local"
            assert tags["dure:role"] in ("head", "compute")
            assert (tags["dure:role"] == "compute") == ("dure:queue" in tags)


def test_commands_never_enter_a_script(local: Templates) -> None:
    documents = {each["Properties"]["Name"]: each["Properties"]["Content"] for each in all_of(local["cluster"])}
    for content in documents.values():
        assert {name: each["interpolationType"] for name, each in content["parameters"].items()} == {
            "Verb": "ENV_VAR",
            "Argument": "ENV_VAR",
        }
        assert "{{" not in json.dumps(content)
        assert content["mainSteps"][0]["inputs"]["runCommand"] == ["exec /opt/dure/bin/dure-node serve"]
    verbs = {name: content["parameters"]["Verb"]["allowedValues"] for name, content in documents.items()}
    assert verbs == {
        "Dure-local": ["submit", "cancel", "jobs", "show", "nodes"],
        "Dure-local-watch": ["jobs", "show", "nodes"],
    }


def all_of(template: dict[str, Any]) -> list[dict[str, Any]]:
    """The SSM documents of a template."""
    return [each for each in template["Resources"].values() if each["Type"] == "AWS::SSM::Document"]


def test_subnets_are_placed_by_zone_id(local: Templates) -> None:
    subnet = only(local["network"], "AWS::EC2::Subnet")["Properties"]
    assert subnet["AvailabilityZoneId"] == "use1-az6"
    assert "AvailabilityZone" not in subnet


def test_the_dashboard_is_json_and_draws_the_file_system(local: Templates) -> None:
    body = only(local["monitoring"], "AWS::CloudWatch::Dashboard")["Properties"]["DashboardBody"]
    text = pasted(body)
    assert json.loads(text)["widgets"]
    assert "AWS/FSx" in text


@pytest.mark.parametrize("path", CLUSTER_FILES, ids=lambda path: str(path.stem))
def test_a_head_is_moved_sooner_than_it_is_rebooted(path: Path, templates: Callable[[Path], Templates]) -> None:
    alarms = {
        each["Properties"]["MetricName"]: each["Properties"]
        for template in templates(path).values()
        for each in template["Resources"].values()
        if each["Type"] == "AWS::CloudWatch::Alarm" and each["Properties"]["Namespace"] == "AWS/EC2"
    }
    found = {
        metric: (pasted(each["AlarmActions"][0]).rpartition(":")[2], each["EvaluationPeriods"])
        for metric, each in alarms.items()
    }
    assert found == {"StatusCheckFailed_System": ("recover", 2), "StatusCheckFailed_Instance": ("reboot", 3)}


def test_a_kept_file_system_and_bucket_survive_the_stack(templates: Callable[[Path], Templates]) -> None:
    storage = templates(FULL)["storage"]
    assert only(storage, "AWS::FSx::FileSystem")["DeletionPolicy"] == "Retain"
    assert only(storage, "AWS::S3::Bucket")["DeletionPolicy"] == "Retain"


def test_an_image_by_parameter_is_read_at_each_deployment(templates: Callable[[Path], Templates]) -> None:
    template = templates(FULL)["cluster"]
    assert template["Parameters"]["Image"] == {
        "Type": "AWS::SSM::Parameter::Value<AWS::EC2::Image::Id>",
        "Default": "/dure/images/default",
    }


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the app and of what it bundles, which nobody edits meanwhile."""
    root = tmp_path / "copy"
    for name in ("app.py", "infra", "clusters", "cluster_scripts", "monitoring", "training"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__", "local_cloud"))
        else:
            root.mkdir(exist_ok=True)
            shutil.copy(source, root / name)
    return root


def synthesize(folder: Path, cluster: str, *, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "CDK_CONTEXT_JSON": json.dumps({"cluster": cluster}),
        "CDK_OUTDIR": str(folder),
        "PYTHONHASHSEED": "random",
    }
    return subprocess.run(
        [sys.executable, "app.py"], cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=100
    )


def test_two_synths_give_the_same_bytes(copy: Path, tmp_path: Path) -> None:
    def content(folder: Path) -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}

    found = []
    for name in ("one", "two"):
        assert synthesize(tmp_path / name, "clusters/local.yaml", root=copy).returncode == 0
        found.append(content(tmp_path / name))
    assert found[0] == found[1]


def test_a_wrong_cluster_file_ends_with_2_and_every_problem(tmp_path: Path) -> None:
    wrong = tmp_path / "cluster.yaml"
    wrong.write_text((ROOT / "clusters/local.yaml").read_text().replace("max: 4", "max: 0") + "nonsense: 1\n")
    done = synthesize(tmp_path / "out", str(wrong))
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == "2 problems in the cluster file:"
    assert "Traceback" not in done.stderr


def test_a_head_is_replaced_by_a_deployment_without_it(local: Templates, tmp_path: Path) -> None:
    import aws_cdk as cdk

    from infra.stacks.assemble import assemble

    app = cdk.App(analytics_reporting=False, outdir=str(tmp_path))
    assemble(app, load_cluster(ROOT / "clusters/local.yaml"), root=ROOT, account=None, head=False)
    app.synth()
    without = json.loads((tmp_path / "dure-local-cluster.template.json").read_text())["Resources"]
    gone = {name: each["Type"] for name, each in local["cluster"]["Resources"].items() if name not in without}
    assert sorted(gone.values()) == ["AWS::CloudWatch::Alarm", "AWS::CloudWatch::Alarm", "AWS::EC2::Instance"]
    assert set(without) < set(local["cluster"]["Resources"])
    # No other stack holds on to the head by an export
    others = json.dumps([local[stack] for stack in ("network", "storage", "monitoring")])
    assert not [name for name in gone if name in others]


@pytest.mark.parametrize("path", CLUSTER_FILES, ids=lambda path: str(path.stem))
def test_the_heads_state_has_a_volume_in_its_zone(path: Path, templates: Callable[[Path], Templates]) -> None:
    cluster = load_cluster(path)
    volume = only(templates(path)["storage"], "AWS::EC2::Volume")
    assert volume["Properties"]["AvailabilityZoneId"] == cluster.home_zone
    assert volume["Properties"]["Size"] == cluster.head.state_volume_gib
    policy = "Retain" if cluster.storage.on_down == "keep" else "Delete"
    assert (volume["DeletionPolicy"], volume["UpdateReplacePolicy"]) == (policy, policy)
    # An attachment of CloudFormation's would wait for ever: the head has the volume mounted when it is to let go
    kinds = {each["Type"] for stack in templates(path).values() for each in stack["Resources"].values()}
    assert "AWS::EC2::VolumeAttachment" not in kinds


def test_user_data_is_small_enough() -> None:
    from infra.constructs.launch_template import USER_DATA

    assert len(base64.b64encode(USER_DATA.encode())) < 16 * 1024
