"""Machines for jobs: all or none, zone after zone, and a reason that the user can read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import pytest

from cluster_scripts.backends.aws.node_services import Instance, Launch
from cluster_scripts.jobs.errors import NoCapacity, OtherSide, StepFailed, Throttled, Unreachable
from cluster_scripts.node import launches
from cluster_scripts.node.power import BACK_OFF, Power, check_interfaces, groups
from cluster_scripts.node.slurm import Slurm
from cluster_scripts.node.system import Result
from cluster_scripts.slurm.power import Resume
from infra.config.facts import Facts
from tests.unit.cluster_scripts.made import FACTS, Machine, queue

NODES = (
    '{"nodes":[{"name":"gpu-1","state":"idle","partitions":["gpu"],"comment":"i-1 p3dn.24xlarge us-east-1a"},'
    '{"name":"gpu-2","state":"idle","partitions":["gpu"],"comment":"i-2 p3dn.24xlarge us-east-1a"},'
    '{"name":"gpu-3","state":"idle","partitions":["gpu"],"comment":""}]}'
)


def no_capacity(wish: Launch) -> NoCapacity:
    said = "RunInstances said InsufficientInstanceCapacity: We currently do not have sufficient capacity"
    return NoCapacity(f"launching {wish.count}: AWS has no such machine now ({said})")


@dataclass
class Services:
    """EC2 and S3. `refusals`: what a launch raises, by template id and in turn."""

    refusals: dict[str, list[OtherSide | type[NoCapacity]]] = field(default_factory=dict)
    efa: int = 1
    hidden: int = 0
    wishes: list[Launch] = field(default_factory=list)
    objects: dict[str, bytes] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    numbers: Iterable[int] = field(default_factory=lambda: count(1))

    def launch(self, wish: Launch) -> list[str]:
        self.wishes.append(wish)
        waiting = self.refusals.get(wish.template_id, [])
        if waiting:
            error = waiting.pop(0)
            raise no_capacity(wish) if isinstance(error, type) else error
        return [f"i-{number}" for number in range(1, wish.count + 1)]

    def instances(self, ids: Sequence[str]) -> list[Instance]:
        if self.hidden:
            self.hidden -= 1
            return []
        return [
            Instance(
                id=id,
                private_ip=f"10.0.0.{id[2:]}",
                host_name=f"ip-10-0-0-{id[2:]}",
                instance_type="p3dn.24xlarge",
                zone="us-east-1a",
                state="pending",
                efa_interfaces=self.efa,
                launch="",
                launched_at=None,
            )
            for id in ids
        ]

    def cluster_nodes(self, cluster: str) -> list[Instance]:
        raise AssertionError("not asked here")

    def terminate(self, ids: Iterable[str]) -> list[str]:
        """What is in `unknown` is not known yet; it is the next time."""
        ended = [id for id in sorted(ids) if id not in self.unknown]
        self.unknown = []
        self.ended += ended
        return ended

    def put_object(self, bucket: str, key: str, content: bytes) -> None:
        self.objects[f"{bucket}/{key}"] = content


@dataclass
class Head:
    """A head whose Slurm notes what it is told."""

    machine: Machine
    services: Services
    facts: Facts = FACTS

    def power(self) -> Power:
        self.machine.answers.setdefault("sinfo --json", Result(0, NODES, ""))
        ids = count(1)
        return Power(
            facts=self.facts,
            services=self.services,
            slurm=Slurm(self.machine.system),
            log=self.machine.log("resume"),
            clock=self.machine.time.clock,
            new_id=lambda: f"L{next(ids)}",
        )

    def told(self) -> list[str]:
        return [line.removeprefix("scontrol update ") for line in self.machine.ran("scontrol update")]


@pytest.fixture
def head(tmp_path: Path) -> Head:
    return Head(Machine(tmp_path), Services())


TWO = [Resume(job_id="7", nodes=("gpu-1", "gpu-2"))]
TWO_ZONES = queue(
    launch_templates=(
        replace(FACTS.queues[0].launch_templates[0], zone_id="az1", launch_template_id="lt-1"),
        replace(FACTS.queues[0].launch_templates[0], zone_id="az2", launch_template_id="lt-2"),
    )
)


def test_one_launch_for_exactly_the_nodes_of_a_job(head: Head) -> None:
    assert head.power().resume(TWO)
    (wish,) = head.services.wishes
    assert (wish.count, wish.template_id, wish.template_version, wish.token) == (2, "lt-use1-az6", "1", "L1")
    assert wish.instance_type == "p3dn.24xlarge"
    assert wish.tags == {
        "Name": "dure-local-gpu",
        "dure:cluster": "local",
        "dure:role": "compute",
        "dure:queue": "gpu",
        "dure:launch": "L1",
    }
    content = launches.content("L1", queue="gpu", nodes={"i-1": "gpu-1", "i-2": "gpu-2"})
    assert head.services.objects == {"bucket/.dure/launches/L1.json": content}
    assert head.told() == [
        "NodeName=gpu-1 NodeAddr=10.0.0.1 NodeHostname=ip-10-0-0-1 Comment=i-1 p3dn.24xlarge us-east-1a",
        "NodeName=gpu-2 NodeAddr=10.0.0.2 NodeHostname=ip-10-0-0-2 Comment=i-2 p3dn.24xlarge us-east-1a",
        "JobId=7 AdminComment=",
    ]


def test_each_job_is_a_launch_of_its_own(head: Head) -> None:
    head.services.refusals = {"lt-use1-az6": [NoCapacity]}
    one = Resume(job_id="8", nodes=("gpu-3",))
    assert not head.power().resume([*TWO, one])
    assert [wish.count for wish in head.services.wishes] == [2, 1]
    assert head.services.objects.keys() == {"bucket/.dure/launches/L2.json"}


def test_the_next_zone_is_tried_when_one_has_no_capacity(head: Head) -> None:
    head.facts = TWO_ZONES
    head.services.refusals = {"lt-1": [NoCapacity]}
    assert head.power().resume(TWO)
    assert [wish.template_id for wish in head.services.wishes] == ["lt-1", "lt-2"]
    assert len({wish.token for wish in head.services.wishes}) == 2
    assert "bucket/.dure/launches/L2.json" in head.services.objects


def test_other_types_come_after_every_zone(head: Head) -> None:
    head.facts = replace(TWO_ZONES, queues=(replace(TWO_ZONES.queues[0], efa=False, fallback_types=("g5.24xlarge",)),))
    head.services.efa = 0
    head.services.refusals = {"lt-1": [NoCapacity], "lt-2": [NoCapacity]}
    assert head.power().resume(TWO)
    assert [(wish.instance_type, wish.template_id) for wish in head.services.wishes] == [
        ("p3dn.24xlarge", "lt-1"),
        ("p3dn.24xlarge", "lt-2"),
        ("g5.24xlarge", "lt-1"),
    ]


def test_without_capacity_the_user_reads_why_and_the_nodes_rest(head: Head) -> None:
    head.facts = TWO_ZONES
    head.services.refusals = {"lt-1": [NoCapacity], "lt-2": [NoCapacity]}
    assert not head.power().resume(TWO)
    job, down, rest = head.told()
    assert job.startswith(
        "JobId=7 AdminComment=dure: no capacity for 2 x p3dn.24xlarge now (p3dn.24xlarge in az1: RunInst"
    )
    assert "InsufficientInstanceCapacity" in job
    assert down.startswith("NodeName=gpu-[1-2] state=DOWN reason=dure: no capacity for 2 x")
    assert rest == "NodeName=gpu-[1-2] state=POWER_DOWN_FORCE"
    assert head.services.objects == {}


def test_another_refusal_is_not_tried_in_the_next_zone(head: Head) -> None:
    head.facts = TWO_ZONES
    head.services.refusals = {
        "lt-1": [OtherSide("RunInstances said VcpuLimitExceeded:\nyou may have 0 'vCPU'" + "x" * 999)]
    }
    assert not head.power().resume(TWO)
    assert len(head.services.wishes) == 1
    reason = head.told()[0].removeprefix("JobId=7 AdminComment=")
    assert reason.startswith("dure: no machines: RunInstances said VcpuLimitExceeded: you may have 0 'vCPU'")
    assert len(reason) == 400
    assert "\n" not in reason


def test_a_limited_request_rate_is_waited_out_with_the_same_token(head: Head) -> None:
    head.services.refusals = {"lt-use1-az6": [Throttled("slow down"), Unreachable("no answer"), Throttled("slow down")]}
    assert head.power().resume(TWO)
    assert head.machine.time.slept == list(BACK_OFF[:3])
    assert {wish.token for wish in head.services.wishes} == {"L1"}


def test_patience_ends(head: Head) -> None:
    head.services.refusals = {"lt-use1-az6": [Throttled("slow down")] * 20}
    assert not head.power().resume(TWO)
    assert len(head.services.wishes) == len(BACK_OFF) + 1
    assert "slow down" in head.told()[0]


def test_instances_that_ec2_does_not_show_yet_are_waited_for(head: Head) -> None:
    head.services.hidden = 3
    assert head.power().resume(TWO)
    assert len(head.machine.time.slept) == 3


def test_half_a_launch_that_ec2_does_not_know_yet_is_ended_later(head: Head) -> None:
    head.services.efa = 0
    head.services.unknown = ["i-1"]
    assert not head.power().resume([Resume(nodes=("gpu-1", "gpu-2"), job_id="7")])
    assert head.services.ended == ["i-2", "i-1"]


@pytest.mark.parametrize("fault", ["hidden", "efa", "slurm"])
def test_half_a_launch_is_ended(fault: str, head: Head) -> None:
    if fault == "hidden":
        head.services.hidden = 10_000
    elif fault == "efa":
        head.services.efa = 0
    else:
        head.machine.answers["scontrol update NodeName=gpu-2 NodeAddr"] = Result(
            1, "", "slurm_update error: Invalid node"
        )
    assert not head.power().resume(TWO)
    assert head.services.ended == ["i-1", "i-2"]
    assert head.told()[-1] == "NodeName=gpu-[1-2] state=POWER_DOWN_FORCE"


def test_nodes_that_no_job_asked_for_are_launched_too(head: Head) -> None:
    assert head.power().resume([Resume(job_id=None, nodes=("gpu-4",))])
    assert not [line for line in head.told() if line.startswith("JobId")]


def test_suspend_ends_exactly_the_machines_behind_the_nodes(head: Head) -> None:
    head.power().suspend(["gpu-2", "gpu-3"])
    assert head.services.ended == ["i-2"]
    assert head.told() == ["NodeName=gpu-[2-3] Comment="]
    assert "no machine known behind" in head.machine.logged()


def test_nodes_that_did_not_join_lose_their_machines_and_rest(head: Head) -> None:
    head.power().fail(["gpu-1"])
    assert head.services.ended == ["i-1"]
    assert head.told() == ["NodeName=gpu-1 Comment=", "NodeName=gpu-1 state=POWER_DOWN_FORCE"]


def test_groups_follow_the_queues() -> None:
    facts = replace(FACTS, queues=(*FACTS.queues, replace(FACTS.queues[0], name="cpu")))
    found = list(groups([Resume(job_id="1", nodes=("cpu-1", "gpu-1", "cpu-2"))], facts))
    assert [(group.queue.name, group.nodes) for group in found] == [("gpu", ("gpu-1",)), ("cpu", ("cpu-1", "cpu-2"))]
    with pytest.raises(StepFailed, match="x-1"):
        list(groups([Resume(job_id="1", nodes=("x-1",))], FACTS))


@pytest.mark.parametrize(
    ("name", "efa", "devices"), [("p3dn.24xlarge", True, 1), ("p4d.24xlarge", True, 4), ("p3dn.24xlarge", False, 0)]
)
def test_interfaces_are_those_of_the_catalog(name: str, efa: bool, devices: int) -> None:
    made = queue(instance_type=name, efa=efa).queues[0]
    check_interfaces(made, Services(efa=devices).instances(["i-1"]))
    with pytest.raises(StepFailed, match=f"queue gpu needs {devices}"):
        check_interfaces(made, Services(efa=devices + 1).instances(["i-1"]))
