"""Who a machine is: the metadata service, version 2."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cluster_scripts.jobs.errors import StepFailed
from cluster_scripts.node.identity import Identity, Metadata, identify
from tests.unit.cluster_scripts.made import Machine

COMPUTE = {
    "instance-id": "i-0abc",
    "instance-type": "p3dn.24xlarge",
    "placement/region": "us-east-1",
    "local-ipv4": "10.0.0.11",
    "tags/instance/dure:cluster": "local",
    "tags/instance/dure:role": "compute",
    "tags/instance/dure:queue": "gpu",
    "tags/instance/dure:launch": "L1",
}


@dataclass
class Service:
    """The metadata service, with a session that it insists on."""

    tree: dict[str, str]
    asked: list[str] = field(default_factory=list)
    late: int = 0

    def __call__(self, method: str, path: str, headers: Mapping[str, str]) -> str | None:
        self.asked.append(f"{method} {path}")
        if method == "PUT":
            assert int(headers["X-aws-ec2-metadata-token-ttl-seconds"]) > 0
            return "TOKEN"
        assert headers == {"X-aws-ec2-metadata-token": "TOKEN"}
        if "/dure:" in path and self.late:
            self.late -= 1
            return None
        return self.tree.get(path.removeprefix("meta-data/"))


def test_a_node(tmp_path: Path) -> None:
    service = Service(COMPUTE)
    identity = identify(Machine(tmp_path).system, Metadata(service))
    assert identity == Identity(
        cluster="local",
        role="compute",
        queue="gpu",
        node="",
        instance_id="i-0abc",
        region="us-east-1",
        instance_type="p3dn.24xlarge",
        private_ip="10.0.0.11",
        launch="L1",
    )
    assert [line for line in service.asked if line.startswith("PUT")] == ["PUT api/token"]


def test_a_head(tmp_path: Path) -> None:
    tree = {**COMPUTE, "tags/instance/dure:role": "head"}
    del tree["tags/instance/dure:queue"], tree["tags/instance/dure:launch"]
    identity = identify(Machine(tmp_path).system, Metadata(Service(tree)))
    assert (identity.role, identity.node, identity.queue, identity.launch) == ("head", "head", "", "")


def test_what_others_read_has_no_secret() -> None:
    identity = Identity(
        cluster="c",
        role="head",
        queue="",
        node="head",
        instance_id="i",
        region="r",
        instance_type="t",
        private_ip="1",
        launch="",
    )
    assert list(json.loads(identity.to_json())) == [
        "cluster",
        "role",
        "queue",
        "node",
        "instance_id",
        "region",
        "instance_type",
    ]


def test_tags_that_come_late_are_waited_for(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    assert identify(machine.system, Metadata(Service(COMPUTE, late=3))).role == "compute"
    assert len(machine.time.slept) == 3


def test_no_tags_at_all_is_said(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="dure:role of this instance"):
        identify(Machine(tmp_path).system, Metadata(Service({"instance-id": "i-1"})))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("tags/instance/dure:role", "queen", "expected head or compute"),
        ("tags/instance/dure:launch", None, "has no tags/instance/dure:launch"),
        ("placement/region", None, "has no placement/region"),
    ],
)
def test_what_is_missing_or_wrong_is_named(key: str, value: str | None, message: str, tmp_path: Path) -> None:
    tree = {name: text for name, text in {**COMPUTE, key: value}.items() if text is not None}
    with pytest.raises(StepFailed, match=message):
        identify(Machine(tmp_path).system, Metadata(Service(tree)))


def test_without_version_2_it_stops() -> None:
    with pytest.raises(StepFailed, match="session token"):
        Metadata(lambda method, path, headers: None).get("instance-id")
