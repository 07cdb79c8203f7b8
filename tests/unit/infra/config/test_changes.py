from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.config.changes import _TABLE, Effect, compare
from infra.config.schema import ClusterFile, Head, Image, Monitoring, Network, Queue, Section, Slurm, Storage
from tests.unit.infra.conftest import ROOT, Templates

BASE = yaml.safe_load((ROOT / "clusters/kogpt2-p3dn.yaml").read_text())
GPU = BASE["queues"][0]


def model(**changes: Any) -> ClusterFile:
    return ClusterFile.model_validate({**BASE, **changes})


def queue(**changes: Any) -> dict[str, Any]:
    return {"queues": [{**GPU, **changes}]}


def storage(**changes: Any) -> dict[str, Any]:
    return {"storage": {**BASE["storage"], **changes}}


CASES: list[tuple[dict[str, Any], str, Effect]] = [
    ({"name": "other"}, "name", Effect.ANOTHER_CLUSTER),
    ({"zones": ["use1-az6", "use1-az1"]}, "zones.added", Effect.NONE),
    ({"zones": ["use1-az1"]}, "zones", Effect.ANOTHER_CLUSTER),
    ({"network": {"cidr": "10.9.0.0/16"}}, "network.cidr", Effect.ANOTHER_CLUSTER),
    ({"network": {"nat": True}}, "network.nat", Effect.NONE),
    ({"head": {**BASE["head"], "instance_type": "m5.4xlarge"}}, "head.instance_type", Effect.RESTARTS_HEAD),
    ({"head": {**BASE["head"], "root_volume_gib": 200}}, "head.root_volume_gib", Effect.REPLACES_HEAD),
    ({"head": {**BASE["head"], "state_volume_gib": 20}}, "head.state_volume_gib", Effect.NONE),
    ({"head": {**BASE["head"], "state_volume_gib": 5}}, "head.state_volume_gib", Effect.ANOTHER_CLUSTER),
    ({"image": {"ami": "ami-0123456789abcdef0"}}, "image.ami", Effect.REPLACES_HEAD),
    ({"image": {**BASE["image"], "nvidia_driver": "570"}}, "image.nvidia_driver", Effect.NONE),
    (queue(max=16), "queues.gpu.max", Effect.NONE),
    (queue(max=4), "queues.gpu.max", Effect.DRAINS),
    (queue(idle_seconds=60), "queues.gpu.idle_seconds", Effect.NONE),
    (queue(instance_type="p4d.24xlarge"), "queues.gpu.instance_type", Effect.DRAINS),
    (queue(root_volume_gib=400), "queues.gpu.root_volume_gib", Effect.NEXT_LAUNCH),
    ({"queues": [GPU, {**GPU, "name": "b"}]}, "queues.b.added", Effect.NONE),
    (queue(name="b"), "queues.gpu.removed", Effect.DRAINS),
    (storage(capacity_gib=4800), "storage.capacity_gib", Effect.NONE),
    (storage(capacity_gib=1200), "storage.capacity_gib", Effect.REPLACES_DATA),
    (storage(deployment="SCRATCH_2"), "storage.deployment", Effect.REPLACES_DATA),
    (storage(associations=[{"path": "/other", "prefix": "x"}]), "storage.associations./other.added", Effect.NONE),
    ({"tags": {"a": "b"}}, "tags", Effect.NEXT_LAUNCH),
    ({"budget": {"usd_per_month": 5.0, "email": "a@example.org"}}, "budget", Effect.NONE),
    ({"monitoring": {"interval_seconds": 5}}, "monitoring.interval_seconds", Effect.NONE),
    ({"protect": True}, "protect", Effect.NONE),
]


@pytest.mark.parametrize(("change", "key", "effect"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_changed_key_has_its_effect(change: dict[str, Any], key: str, effect: Effect) -> None:
    found = {each.key: each for each in compare(model(), model(**change))}
    assert found[key].effect == effect
    assert found[key].why


def test_nothing_changed_is_nothing_said() -> None:
    assert compare(model(), model()) == ()


def test_the_gravest_comes_first_and_each_says_what_it_does() -> None:
    found = compare(model(), model(**queue(max=9), **storage(deployment="SCRATCH_2")))
    assert [each.effect for each in found] == [Effect.REPLACES_DATA, Effect.NONE]
    assert str(found[0]) == (
        'storage.deployment: "PERSISTENT_2" -> "SCRATCH_2": replaces data '
        "(FSx makes a new file system: what is not exported is lost)"
    )
    assert found[0].effect.needs_replace and not found[1].effect.needs_replace


def every_key() -> list[str]:
    """Every key that may differ, as the comparison writes it."""
    found = [key for key in ClusterFile.model_fields if key not in ("zones", "queues", "image", "storage")]
    sections: dict[str, type[Section]] = {
        "network": Network,
        "head": Head,
        "image": Image,
        "monitoring": Monitoring,
        "slurm": Slurm,
        "storage": Storage,
        "queues.gpu": Queue,
    }
    for name, section in sections.items():
        found += [f"{name}.{key}" for key in section.model_fields if key != "associations"]
    sizes = {"storage.capacity_gib", "queues.gpu.max"}
    directions = [f"{key}.{way}" for key in sorted(sizes) for way in ("raised", "lowered")]
    return [key for key in found if key not in {*sections, *sizes}] + directions


@pytest.mark.parametrize("key", every_key())
def test_the_table_knows_every_key(key: str) -> None:
    assert any(re.fullmatch(pattern, key) for pattern, _, _ in _TABLE)


# The resources whose replacement is grave, and the effect that must have been announced
GRAVE = {
    "AWS::EC2::Instance": Effect.REPLACES_HEAD,
    "AWS::FSx::FileSystem": Effect.REPLACES_DATA,
    "AWS::EC2::VPC": Effect.ANOTHER_CLUSTER,
    "AWS::EC2::Subnet": Effect.ANOTHER_CLUSTER,
    "AWS::EC2::NetworkInterface": Effect.REPLACES_HEAD,
}


def create_only(kind: str) -> set[str]:
    """The properties of a resource that CloudFormation changes by replacing it, from its provider schema."""
    spec = importlib.util.find_spec("cfnlint")
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent / "data/schemas"
    schema = json.loads((folder / "providers/us-east-1.json").read_text())[kind]
    properties = json.loads((folder / f"resources/{schema}.json").read_text()).get("createOnlyProperties", [])
    return {each.split("/")[2] for each in properties}


def replaced(old: Templates, new: Templates) -> dict[str, set[str]]:
    """Kinds of grave resources that an update would replace, or take away, with the reasons."""
    found: dict[str, set[str]] = {}
    for stack, template in old.items():
        changed_templates = {
            name
            for name, each in template["Resources"].items()
            if each["Type"] == "AWS::EC2::LaunchTemplate" and new[stack]["Resources"].get(name) != each
        }
        for name, each in template["Resources"].items():
            if each["Type"] not in GRAVE:
                continue
            after = new[stack]["Resources"].get(name)
            if after is None:
                found.setdefault(each["Type"], set()).add("removed")
                continue
            for key in create_only(each["Type"]):
                before_value, after_value = each["Properties"].get(key), after["Properties"].get(key)
                # A reference to a launch template's version changes when that template does
                moved = key == "LaunchTemplate" and before_value["LaunchTemplateId"]["Ref"] in changed_templates
                if before_value != after_value or moved:
                    found.setdefault(each["Type"], set()).add(key)
    return found


@pytest.mark.parametrize(
    "change",
    [
        {"zones": ["use1-az6", "use1-az1"], "queues": [{**GPU, "zones": ["use1-az6"]}]},
        {"network": {"cidr": "10.9.0.0/16"}},
        {"network": {"nat": True, "flow_logs": False}},
        {"head": {"instance_type": "m5.4xlarge"}},
        {"head": {"instance_type": "m5.2xlarge", "root_volume_gib": 200}},
        {"image": {"ami": "ami-0123456789abcdef0"}},
        {"image": {**BASE["image"], "root_device": "/dev/sda1"}},
        queue(max=16, idle_seconds=5, instance_type="p4d.24xlarge"),
        queue(root_volume_gib=500, placement_group=False),
        storage(capacity_gib=4800, throughput=500, compression="NONE", on_down="keep"),
        {"tags": {"a": "b"}, "monitoring": {"interval_seconds": 5, "log_retention_days": 7}},
    ],
    ids=lambda change: json.dumps(change)[:60],
)
def test_no_grave_replacement_comes_unannounced(
    change: dict[str, Any], templates: Callable[[Path], Templates], tmp_path: Path
) -> None:
    path = tmp_path / "new.yaml"
    path.write_text(yaml.safe_dump({**BASE, **change}))
    announced = max((each.effect for each in compare(model(), model(**change))), default=Effect.NONE)
    found = replaced(templates(ROOT / "clusters/kogpt2-p3dn.yaml"), templates(path))
    for kind, reasons in found.items():
        assert announced >= GRAVE[kind], f"{kind} would be replaced by {reasons}"
    if announced.needs_replace:
        assert found or "deployment" in json.dumps(change) or "ssm_parameter" in json.dumps(BASE["image"])
