"""The keeper: Slurm's nodes and EC2's machines are made the same again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cluster_scripts.backends.aws.node_services import Instance
from cluster_scripts.jobs.errors import Unreachable
from cluster_scripts.node.keep import Finding, Keeper, plan
from cluster_scripts.node.slurm import Slurm
from cluster_scripts.node.system import Result
from cluster_scripts.slurm import parse
from infra.config.facts import Facts
from tests.unit.cluster_scripts.made import FACTS, Machine, queue

NOW = datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC)


def node(name: str, state: str, *flags: str, machine: str = "", reason: str = "") -> dict[str, Any]:
    comment = f"{machine} p3dn.24xlarge us-east-1a" if machine else ""
    words = {"name": name, "state": state, "state_flags": ["CLOUD", *flags], "partitions": ["gpu"]}
    return {**words, "comment": comment, "reason": reason}


def instance(id: str, *, age: timedelta = timedelta(hours=1)) -> Instance:
    return Instance(
        id=id,
        private_ip="10.0.0.1",
        host_name="ip-10-0-0-1",
        instance_type="p3dn.24xlarge",
        zone="us-east-1a",
        state="running",
        efa_interfaces=1,
        launch="L1",
        launched_at=NOW - age,
    )


def found(nodes: list[dict[str, Any]], instances: Iterable[Instance] = (), *, facts: Facts = FACTS) -> list[Finding]:
    text = json.dumps({"nodes": nodes})
    return list(plan(facts, parse.nodes(text), parse.node_words(text), instances, NOW))


def test_what_is_right_is_left_alone() -> None:
    nodes = [
        node("gpu-1", "idle", machine="i-1"),
        node("gpu-2", "idle", "POWERED_DOWN"),
        node("gpu-3", "allocated", "POWERING_UP"),
        node("gpu-4", "idle", "POWERING_DOWN", machine="i-gone"),
    ]
    assert found(nodes, [instance("i-1")]) == []


def test_a_machine_that_is_gone() -> None:
    assert found([node("gpu-1", "allocated", machine="i-1")]) == [Finding("gone", "gpu-1", "i-1")]


@pytest.mark.parametrize("flags", [(), ("POWERED_DOWN", "NOT_RESPONDING"), ("POWERING_UP",)])
def test_a_node_that_is_down_without_a_machine(flags: tuple[str, ...]) -> None:
    assert found([node("gpu-1", "down", *flags)]) == [Finding("dead", "gpu-1")]


def test_a_node_that_is_down_with_its_machine_is_somebodys_business() -> None:
    assert found([node("gpu-1", "down", machine="i-1")], [instance("i-1")]) == []


def test_a_node_that_our_prolog_refused() -> None:
    for reason in ("Prolog error", "dure: 7 of 8 GPU devices are in /dev"):
        refused = node("gpu-1", "idle", "DRAIN", machine="i-1", reason=reason)
        assert found([refused], [instance("i-1")]) == [Finding("dead", "gpu-1")]
    by_hand = node("gpu-1", "idle", "DRAIN", machine="i-1", reason="kim looks at it")
    assert found([by_hand], [instance("i-1")]) == []


def test_a_machine_that_no_node_knows() -> None:
    assert found([], [instance("i-9")]) == [Finding("unknown", "i-9")]
    assert found([], [instance("i-9", age=timedelta(seconds=30))]) == []


def test_nodes_that_are_kept_running() -> None:
    nodes = [node("gpu-1", "idle", "POWERED_DOWN"), node("gpu-2", "idle", "POWERED_DOWN")]
    assert found(nodes, facts=queue(min=1)) == [Finding("missing", "gpu-1")]


@dataclass
class Services:
    """EC2, with answers in turn."""

    answers: list[list[Instance] | Exception]
    ended: list[str] = field(default_factory=list)

    def cluster_nodes(self, cluster: str) -> list[Instance]:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def terminate(self, ids: Iterable[str]) -> list[str]:
        self.ended += ids
        return self.ended


def keeper(machine: Machine, services: Services, *nodes: dict[str, Any], facts: Facts = FACTS) -> Keeper:
    machine.answers["squeue"] = Result(0, '{"jobs": []}', "")
    machine.answers["sinfo"] = Result(0, json.dumps({"nodes": list(nodes)}), "")
    return Keeper(
        facts=facts,
        services=services,
        slurm=Slurm(machine.system),
        log=machine.log("keeper"),
        clock=machine.time.clock,
    )


def test_one_look_is_not_enough(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    made = keeper(machine, Services([[], [instance("i-1")], []]), node("gpu-1", "allocated", machine="i-1"))
    before: frozenset[Finding] = frozenset()
    for _ in range(3):
        before = made.look(before)
    assert machine.ran("scontrol update") == []


@pytest.mark.parametrize(
    ("nodes", "instances", "told", "ended"),
    [
        (
            [node("gpu-1", "allocated", machine="i-1")],
            [],
            ["scontrol update NodeName=gpu-1 state=DOWN reason=dure: its machine i-1 is gone"],
            [],
        ),
        ([node("gpu-1", "down")], [], ["scontrol update NodeName=gpu-1 state=POWER_DOWN_FORCE"], []),
        ([node("gpu-1", "idle", "POWERED_DOWN")], [], ["scontrol update NodeName=gpu-1 state=POWER_UP"], []),
        ([], [instance("i-9")], [], ["i-9"]),
    ],
)
def test_acts_in_the_second_look(
    nodes: list[dict[str, Any]], instances: list[Instance], told: list[str], ended: list[str], tmp_path: Path
) -> None:
    machine, services = Machine(tmp_path), Services([instances])
    made = keeper(machine, services, *nodes, facts=queue(min=1))
    before = made.look(frozenset())
    assert machine.ran("scontrol update") == []
    made.look(before)
    assert machine.ran("scontrol update") == told
    assert services.ended == ended


def test_a_look_that_fails_is_logged_and_the_next_one_comes(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    made = keeper(machine, Services([Unreachable("EC2 does not answer"), []]))

    class Stop(Exception):
        pass

    def sleep(seconds: float) -> None:
        machine.time.slept.append(seconds)
        if len(machine.time.slept) == 2:
            raise Stop

    object.__setattr__(made, "clock", type(made.clock)(now=made.clock.now, sleep=sleep))
    with pytest.raises(Stop):
        made.run()
    assert "EC2 does not answer" in machine.logged()
