"""Every rule refuses what it is about, by its id and at its key, and leaves the ready files alone."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from infra.config import rules
from infra.config.loader import check_document, check_file
from infra.config.rules import RULES
from infra.config.source import Document
from tests.unit.infra.conftest import CLUSTER_FILES, ROOT

BASE = yaml.safe_load((ROOT / "clusters/kogpt2-p3dn.yaml").read_text())
GPU = BASE["queues"][0]
P4D = {"name": "gpu", "instance_type": "p4d.24xlarge", "max": 2, "efa": True, "placement_group": True}
SPOT = {"name": "gpu", "instance_type": "g5.12xlarge", "max": 2, "market": "spot"}
RESERVED = {"capacity_reservation_id": "cr-0123456789abcdef0"}
DATA = {"path": "/data", "prefix": "data"}
GIVEN = {"vpc_id": "vpc-0123456789abcdef0", "subnets": {"use1-az6": "subnet-0123456789abcdef0"}}
OPEN = {"image": {"ssm_parameter": "/dure/images/default", "nvidia_driver": "580-open"}}
THREE = ["use1-az4", "use1-az6", "use1-az1"]


def queue(**changes: Any) -> dict[str, Any]:
    return {"queues": [{**GPU, **changes}]}


def storage(**changes: Any) -> dict[str, Any]:
    return {"storage": {**BASE["storage"], **changes}}


def associations(*each: dict[str, Any]) -> dict[str, Any]:
    return storage(associations=list(each))


# What is changed in the talk's cluster file, the rule that speaks, and where
CASES: list[tuple[dict[str, Any], str, str]] = [
    (queue(instance_type="p3dn.42xlarge"), "known-type", "queues[0].instance_type"),
    ({"head": {"instance_type": "m5.2xlage"}}, "known-type", "head.instance_type"),
    ({"queues": [GPU, GPU]}, "queue-name", "queues[1].name"),
    (queue(name="default"), "queue-name", "queues[0].name"),
    (queue(min=9), "min-max", "queues[0].min"),
    ({"region": "xx-nowhere-1", "zones": ["xxn1-az1"]}, "region", "region"),
    ({"zones": ["usw2-az1"]}, "zone", "zones[0]"),
    ({"zones": ["use1-az6", "use1-az6"]}, "zone", "zones[1]"),
    ({"head": {"zone": "use1-az1"}}, "zone", "head.zone"),
    (queue(zones=["use1-az1"]), "zone", "queues[0].zones[0]"),
    ({"zones": ["use1-az6"], **queue(zones=["use1-az6", "use1-az6"])}, "zone", "queues[0].zones[1]"),
    # p3dn in Seoul, and in a zone of Virginia that has none
    ({"region": "ap-northeast-2", "zones": ["apne2-az2"]}, "type-offered", "queues[0].instance_type"),
    ({"zones": ["use1-az4"]}, "type-offered", "queues[0].instance_type"),
    ({"head": {"instance_type": "t3.medium"}}, "head-type", "head.instance_type"),
    (queue(market="capacity-block", placement_group=False, **RESERVED), "market", "queues[0].instance_type"),
    (queue(market="reservation"), "reservation-id", "queues[0].capacity_reservation_id"),
    (queue(**RESERVED), "reservation-id", "queues[0].capacity_reservation_id"),
    (
        {"queues": [{**P4D, "market": "capacity-block", **RESERVED}]},
        "capacity-block-placement",
        "queues[0].placement_group",
    ),
    (
        {"queues": [{"name": "cpu", "instance_type": "t3.xlarge", "max": 1, "placement_group": True}]},
        "placement-type",
        "queues[0].placement_group",
    ),
    ({"zones": ["use1-az6", "use1-az1"]}, "placement-one-zone", "queues[0].placement_group"),
    ({"queues": [{**P4D, "instance_type": "g5.xlarge"}]}, "efa-type", "queues[0].efa"),
    ({"zones": ["use1-az6", "use1-az1"]}, "efa-one-zone", "queues[0].efa"),
    # p4d beside p5 in one EFA queue
    ({"queues": [{**P4D, "fallback_types": ["p5.48xlarge"]}]}, "efa-one-type", "queues[0].fallback_types"),
    ({"queues": [{**SPOT, "fallback_types": ["g5.xlarge"]}]}, "fallback-size", "queues[0].fallback_types[0]"),
    ({"queues": [{**SPOT, "fallback_types": ["g5.12xlarge"]}]}, "fallback-size", "queues[0].fallback_types[0]"),
    (
        {"queues": [{"name": "cpu", "instance_type": "c5.2xlarge", "max": 1, "nvme_scratch": True}]},
        "nvme-type",
        "queues[0].nvme_scratch",
    ),
    ({"queues": [{**SPOT, "min": 1}]}, "spot-kept", "queues[0].min"),
    ({"queues": [SPOT]}, "spot-role", "queues[0].market"),
    (storage(throughput=100), "lustre-throughput", "storage.throughput"),
    (storage(deployment="PERSISTENT_1"), "lustre-throughput", "storage.throughput"),
    (storage(deployment="SCRATCH_2"), "lustre-throughput", "storage.throughput"),
    (storage(throughput=None), "lustre-throughput", "storage.throughput"),
    (storage(capacity_gib=1300), "lustre-capacity", "storage.capacity_gib"),
    (storage(capacity_gib=3600), "lustre-capacity", "storage.capacity_gib"),
    (associations({"path": "/", "prefix": "data"}), "association-path", "storage.associations[0].path"),
    (associations({"path": "/a/../b", "prefix": "data"}), "association-path", "storage.associations[0].path"),
    (associations({"path": "/.dure/logs", "prefix": "data"}), "association-path", "storage.associations[0].path"),
    (associations({"path": "/data", "prefix": "data/"}), "association-prefix", "storage.associations[0].prefix"),
    (associations({"path": "/data", "prefix": ".dure"}), "association-prefix", "storage.associations[0].prefix"),
    (
        associations(DATA, {"path": "/data/more", "prefix": "x"}),
        "association-overlap",
        "storage.associations[1].path",
    ),
    (associations(DATA, {"path": "/x", "prefix": "data"}), "association-overlap", "storage.associations[1].prefix"),
    (
        associations({**DATA, "import_events": ["NEW", "NEW"]}),
        "association-events",
        "storage.associations[0].import_events",
    ),
    (storage(deployment="SCRATCH_2", throughput=None, on_down="keep"), "scratch-kept", "storage.on_down"),
    (associations({**DATA, "export_events": []}), "unexported", "storage.associations[0].export_events"),
    ({"network": {"cidr": "10.42.0.0/24"}}, "cidr", "network.cidr"),
    ({"network": {"cidr": "10.42.1.0/16"}}, "cidr", "network.cidr"),
    ({"network": {"cidr": "8.8.0.0/16"}}, "cidr", "network.cidr"),
    ({"network": {"cidr": "10.999.0.0/16"}}, "cidr", "network.cidr"),
    ({"network": {"cidr": "10.42.0.0/20", "nat": True}}, "cidr", "network.cidr"),
    ({"network": {"subnets": GIVEN["subnets"]}}, "given-network", "network.subnets"),
    ({"network": {"vpc_id": GIVEN["vpc_id"]}}, "given-network", "network.subnets"),
    ({"network": {**GIVEN, "cidr": "10.9.0.0/16"}}, "given-network", "network.cidr"),
    ({"network": GIVEN}, "given-endpoints", "network.vpc_id"),
    ({"queues": [{**SPOT, "name": f"q{i}", "max": 1000} for i in range(5)]}, "addresses", "queues"),
    ({"image": {}}, "image-one", "image"),
    ({"image": {"ami": "ami-0123456789abcdef0", "ssm_parameter": "/x"}}, "image-one", "image"),
    # a Volta type with an image whose driver dropped it
    ({"image": {"ami": "ami-0123456789abcdef0", "nvidia_driver": "590"}}, "volta-driver", "image.nvidia_driver"),
    (OPEN, "volta-driver", "image.nvidia_driver"),
    (
        {"image": {"ssm_parameter": "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu/latest"}},
        "volta-driver",
        "image.ssm_parameter",
    ),
    ({"queues": [{**P4D, "instance_type": "p6-b200.48xlarge"}]}, "blackwell-driver", "image.nvidia_driver"),
    ({"name": "images"}, "cluster-name", "name"),
    ({"tags": {"dure:x": "1"}}, "tags", "tags.dure:x"),
    ({"tags": {"AWS:x": "1"}}, "tags", "tags.AWS:x"),
    ({"tags": {"Name": "1"}}, "tags", "tags.Name"),
    (
        {"zones": THREE, "queues": [{**SPOT, "name": f"q{i}", "max": 1} for i in range(20)]},
        "facts-size",
        "queues",
    ),
    ({}, "cheaper-equal", "queues[0].instance_type"),
]


def findings(change: dict[str, Any]) -> set[tuple[str, str]]:
    checked = check_document(Document(file="x.yaml", value={**BASE, **change}))
    return {(problem.rule, problem.key) for problem in (*checked.problems, *checked.advice)}


@pytest.mark.parametrize(("change", "rule", "key"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_rule_speaks_at_the_key_that_is_wrong(change: dict[str, Any], rule: str, key: str) -> None:
    assert (rule, key) in findings(change)


def test_every_rule_has_a_case() -> None:
    # No type of the catalog has another architecture than x86_64 yet
    assert {rule.id for rule in RULES} - {rule for _, rule, _ in CASES} == {"architecture"}


def test_rules_have_different_ids_and_say_why_and_from_where() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)
    assert all(rule.why.endswith(".") and rule.source for rule in RULES)


@pytest.mark.parametrize("path", CLUSTER_FILES, ids=lambda path: str(path.stem))
def test_the_ready_files_have_no_error(path: Any) -> None:
    assert check_file(path).problems == ()


def test_rules_speak_of_the_rest_while_the_schema_refuses_a_part() -> None:
    change = {**storage(capacity_gib=1300), "nonsense": 1, "tags": {"a": 5}}
    found = findings({**change, "queues": [{**GPU, "max": "8"}]})
    keys = {"nonsense", "tags.a", "queues[0].max", "storage.capacity_gib"}
    assert {key for _, key in found} >= keys


def test_advice_does_not_refuse() -> None:
    checked = check_document(Document(file="x.yaml", value=BASE))
    assert checked.cluster is not None
    assert [problem.rule for problem in checked.advice] == ["cheaper-equal"]
    assert "p4d.24xlarge costs 21.96 here" in checked.advice[0].allowed


def test_a_queue_in_seoul_is_told_where_the_type_is() -> None:
    checked = check_document(
        Document(file="x.yaml", value={**BASE, "region": "ap-northeast-2", "zones": ["apne2-az2"]})
    )
    (problem,) = [each for each in checked.problems if each.key == "queues[0].instance_type"]
    assert "not offered in ap-northeast-2, but in ap-northeast-1" in problem.allowed


def test_check_is_pure() -> None:
    cluster = check_document(Document(file="x.yaml", value=BASE)).cluster
    assert cluster is not None
    assert rules.check(cluster) == rules.check(cluster)
