"""The configuration of Slurm is the same on the rehearsal's cluster and on the talk's, but for named keys with a
reason each."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from cluster_scripts.slurm import config
from infra.config.facts import Facts
from tests.unit.cluster_scripts.made import CLUSTERS, facts_of, queue

LOCAL = facts_of(CLUSTERS / "local.yaml")
FILES = sorted(CLUSTERS.glob("*.yaml"))

#: How the NodeName and PartitionName lines may differ, word by word.
NODE_WORDS = {"NodeName", "CPUs", "RealMemory", "Gres"}
PARTITION_WORDS = {"PartitionName", "Nodes", "Default", "SuspendTime"}


def keys(facts: Facts) -> dict[str, list[str]]:
    found = defaultdict(list)
    for key, value in config.read(config.files(facts)["slurm.conf"]):
        found[key].append(value)
    return dict(found)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_only_named_keys_differ(file: Path) -> None:
    ours, theirs = keys(LOCAL), keys(facts_of(file))
    differing = {key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)}
    assert differing <= set(config.VARIES)


def test_the_talks_cluster_differs_in_names_sizes_and_patience_only() -> None:
    ours, theirs = keys(LOCAL), keys(facts_of(CLUSTERS / "kogpt2-p3dn.yaml"))
    differing = {key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)}
    assert {"ClusterName", "NodeName", "PartitionName"} <= differing
    assert ours["NodeName"] == ["gpu-[1-4] CPUs=96 RealMemory=747110 Gres=gpu:8 State=CLOUD"]
    assert theirs["NodeName"] == ["gpu-[1-8] CPUs=96 RealMemory=747110 Gres=gpu:8 State=CLOUD"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_node_and_partition_lines_differ_in_named_words_only(file: Path) -> None:
    ours, theirs = keys(LOCAL), keys(facts_of(file))
    for key, may_differ in (("NodeName", NODE_WORDS), ("PartitionName", PARTITION_WORDS)):
        for mine, other in zip(ours[key], theirs[key], strict=False):
            differing = set(f"{key}={mine}".split()) ^ set(f"{key}={other}".split())
            assert {word.partition("=")[0] for word in differing} <= may_differ


def test_each_reason_is_given_and_used() -> None:
    assert all(config.VARIES.values())
    every = set().union(*(keys(facts_of(file)) for file in FILES), keys(queue(min=2)))
    assert set(config.VARIES) <= every


def test_settings_that_the_design_stands_on() -> None:
    found = keys(LOCAL)
    assert found["SlurmctldHost"] == ["ip-10-0-0-10(10.0.0.10)"]
    assert found["JobRequeue"] == ["1"]
    assert found["RequeueExit"] == ["75"]
    assert found["JobCompType"] == ["jobcomp/filetxt"]
    assert found["PrivateData"] == ["cloud"]
    assert "enable_configless" in found["SlurmctldParameters"][0]
    assert int(found["MinJobAge"][0]) >= 86400


def test_gres_names_device_files() -> None:
    files = config.files(LOCAL)
    assert "NodeName=gpu-[1-4] Name=gpu File=/dev/nvidia[0-7]\n" in files["gres.conf"]
    assert "File=/dev/nvidia0\n" in config.files(queue(gpus=1))["gres.conf"]


def test_a_queue_without_gpus_has_no_gres() -> None:
    files = config.files(queue(gpus=0, name="cpu"))
    assert "Name=gpu" not in files["gres.conf"]
    assert "Gres=" not in files["slurm.conf"]


def test_kept_nodes_are_not_suspended() -> None:
    assert keys(queue(min=2))["SuspendExcNodes"] == ["gpu-[1-2]"]
    assert "SuspendExcNodes" not in keys(queue(min=0))
