from __future__ import annotations

from pathlib import Path

import pytest

from infra.config.loader import check_file, load_cluster
from infra.config.problems import ClusterFileError, Problem
from tests.unit.infra.conftest import CLUSTER_FILES, ROOT

LOCAL = (ROOT / "clusters/local.yaml").read_text()


def problems(text: str, folder: Path) -> list[Problem]:
    path = folder / "cluster.yaml"
    path.write_text(text)
    return list(check_file(path).problems)


@pytest.mark.parametrize("path", CLUSTER_FILES, ids=lambda path: str(path.stem))
def test_the_ready_files_may_be_deployed(path: Path) -> None:
    assert load_cluster(path).name


@pytest.mark.parametrize(
    ("old", "new", "key", "instead"),
    [
        ("image:\n  ami: ami-0000000000000d07e", "image: pipeline", "image", "not built by a pipeline yet"),
        ("region: us-east-1", "region: us-east-1\naccess: ssh", "access", "0007-no-ssh-to-the-head.md"),
    ],
)
def test_what_is_not_here_says_what_to_do_instead(old: str, new: str, key: str, instead: str, tmp_path: Path) -> None:
    assert old in LOCAL
    (problem,) = [each for each in problems(LOCAL.replace(old, new), tmp_path) if each.key == key]
    assert problem.rule == "not-here"
    assert instead in problem.fix


def test_every_problem_at_once_with_line_key_found_and_allowed(tmp_path: Path) -> None:
    text = (
        LOCAL.replace("name: local", "name: Local")
        .replace("head:", "heads:")
        .replace("max: 4", 'max: "4"')
        .replace("throughput: 250", "throughput: 100")
        + "tags: {a: 5}\n"
    )
    found = {problem.key: problem for problem in problems(text, tmp_path)}
    assert set(found) == {"name", "heads", "queues[0].max", "storage.throughput", "tags.a"}
    lines = text.splitlines()
    assert lines[found["name"].line - 1] == "name: Local"
    assert lines[found["queues[0].max"].line - 1].strip() == 'max: "4"'
    assert found["queues[0].max"].found == '"4"'
    assert found["queues[0].max"].allowed == "a whole number from 1 to 1000"
    assert found["heads"].rule == "unknown-key"
    assert found["heads"].fix == 'did you mean "head"?'
    assert found["storage.throughput"].rule == "lustre-throughput"


@pytest.mark.parametrize(
    ("old", "new", "key", "rule"),
    [
        ("region: us-east-1", "region: 5", "region", "type"),
        ("region: us-east-1\n", "", "region", "missing-key"),
        ("zones: [use1-az6]", "zones: []", "zones", "value"),
        ("zones: [use1-az6]", "zones: [us-east-1a]", "zones[0]", "value"),
        ("zones: [use1-az6]", "zones: use1-az6", "zones", "type"),
        ("max: 4", "max: -4", "queues[0].max", "value"),
        ("max: 4", "max: 4.5", "queues[0].max", "type"),
        ("max: 4", "max: yes", "queues[0].max", "type"),
        ("max: 4", "max: .inf", "queues[0].max", "type"),
        ("max: 4", "max: null", "queues[0].max", "type"),
        ("efa: true", "efa: 1", "queues[0].efa", "type"),
        ("idle_seconds: 5", "idle_seconds: 0", "queues[0].idle_seconds", "value"),
        ("name: gpu", "name: GPU", "queues[0].name", "value"),
        ("name: gpu", "name: 'a b'", "queues[0].name", "value"),
        ("ami: ami-0000000000000d07e", "ami: latest", "image.ami", "value"),
        ("deployment: PERSISTENT_2", "deployment: PERSISTENT_3", "storage.deployment", "value"),
        ("path: /data", "path: data", "storage.associations[0].path", "value"),
        ("instance_type: p3dn.24xlarge", "instance_type: p3dn", "queues[0].instance_type", "value"),
    ],
)
def test_wrong_values_are_found_where_they_stand(old: str, new: str, key: str, rule: str, tmp_path: Path) -> None:
    assert old in LOCAL
    found = [(problem.key, problem.rule) for problem in problems(LOCAL.replace(old, new, 1), tmp_path)]
    assert (key, rule) in found


@pytest.mark.parametrize("text", ["", "5", "- a", "null", "text"])
def test_what_is_no_mapping_is_one_problem(text: str, tmp_path: Path) -> None:
    (problem,) = problems(text, tmp_path)
    assert problem.allowed.startswith("a mapping with the keys name, region")


def test_the_error_holds_the_problems_in_the_files_order(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(LOCAL.replace("max: 4", "max: 0").replace("name: local", "name: L"))
    with pytest.raises(ClusterFileError) as caught:
        load_cluster(path)
    assert [problem.key for problem in caught.value.problems] == ["name", "queues[0].max"]
    assert str(caught.value).startswith("2 problems in the cluster file:")


def test_a_hostile_value_stays_on_one_printable_line(tmp_path: Path) -> None:
    (problem,) = problems(LOCAL.replace("name: local", 'name: "a\\nb\\e[31m$(id)"'), tmp_path)
    assert str(problem).isprintable()
