"""A machine becomes part of its cluster, step by step; a step that fails ends it."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from cluster_scripts.jobs.errors import NoSuchCluster, Refused, StepFailed
from cluster_scripts.node import boot, launches, state_volume
from cluster_scripts.node.identity import Identity
from cluster_scripts.node.system import Result, System
from tests.unit.cluster_scripts.made import FACTS, Machine

HEAD = Identity(
    cluster="local",
    role="head",
    queue="",
    node="head",
    instance_id="i-head",
    region="us-east-1",
    instance_type="m5.2xlarge",
    private_ip="10.0.0.10",
    launch="",
)
NODE = replace(
    HEAD, role="compute", queue="gpu", node="", instance_id="i-2", instance_type="p3dn.24xlarge", launch="L1"
)
KEY = "k" * 128


@dataclass
class Services:
    """AWS as a machine sees it while it boots."""

    facts: list[str | Exception] = field(default_factory=lambda: [FACTS.to_json()])
    key: str = KEY
    launch: list[bytes | None] = field(
        default_factory=lambda: [launches.content("L1", queue="gpu", nodes={"i-1": "gpu-1", "i-2": "gpu-2"})]
    )
    asked: list[str] = field(default_factory=list)
    disk: Path = Path("/nowhere")

    def parameter(self, name: str) -> str:
        self.asked.append(name)
        answer = self.facts.pop(0) if len(self.facts) > 1 else self.facts[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def secret(self, arn: str) -> str:
        self.asked.append(arn)
        return self.key

    def attach_volume(self, volume_id: str, *, instance_id: str, device: str) -> bool:
        self.asked.append(f"{volume_id} to {instance_id} as {device}")
        self.disk.parent.mkdir(parents=True, exist_ok=True)
        self.disk.touch()
        return True

    def object(self, bucket: str, key: str) -> bytes | None:
        self.asked.append(f"s3://{bucket}/{key}")
        return self.launch.pop(0) if len(self.launch) > 1 else self.launch[0]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """An image: its programs answer well, its owners are whoever runs the test."""
    monkeypatch.setattr(System, "own", lambda *_, **__: None)
    monkeypatch.setattr(boot, "account", lambda _: type("Entry", (), {"pw_uid": 64030}))
    monkeypatch.setattr(boot, "listens", lambda address, port: True)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/hosts").write_text("127.0.0.1 localhost\n")
    yield Machine(
        tmp_path,
        answers={
            "mountpoint": Result(32, "", ""),
            "getent passwd": Result(0, "dure:x:5000:5000::/home/dure:/bin/bash\n", ""),
            "scontrol ping": Result(0, "Slurmctld(primary) at ip-10-0-0-10 is UP\n", ""),
        },
    )


def run(machine: Machine, identity: Identity, services: Services | None = None) -> Services:
    services = services or Services()
    boot.Boot(machine.system, services, identity, machine.log("boot")).run()
    return services


def started(machine: Machine) -> list[str]:
    lines = [line for line in machine.ran("systemctl") if not line.endswith(boot.UNIT)]
    return [line.removesuffix(".service").split("dure-")[1] for line in lines]


def failed(machine: Machine) -> list[str]:
    """The steps that failed, the note about the end of the machine left out."""
    entries = [json.loads(line) for line in machine.logged().splitlines()]
    return [entry["step"] for entry in entries if not entry["ok"] and "shutdown" not in entry["step"]]


def test_a_head(machine: Machine) -> None:
    run(machine, HEAD)
    assert started(machine) == ["munged", "slurmctld", "keeper", "agent"]
    assert "NodeName=gpu-[1-4]" in (machine.root / "etc/slurm/slurm.conf").read_text()
    assert json.loads((machine.root / "etc/dure/identity.json").read_text())["node"] == "head"
    assert (machine.root / "etc/dure/facts.json").read_text() == FACTS.to_json() + "\n"
    assert "{ 0, 64030 }" in "".join(machine.inputs)


def test_the_first_boot_sees_to_the_later_ones_before_anything_can_fail(machine: Machine) -> None:
    machine.answers["systemctl is-enabled"] = Result(1, "disabled\n", "")
    with pytest.raises(StepFailed):
        run(machine, HEAD, Services(key="short"))
    assert machine.ran("systemctl")[:2] == [
        "systemctl is-enabled --quiet dure-boot.service",
        "systemctl enable dure-boot.service",
    ]
    assert failed(machine) == ["munge"]


def test_a_later_boot_enables_nothing(machine: Machine) -> None:
    run(machine, HEAD)
    assert not [line for line in machine.ran("systemctl") if " enable " in line]


def test_an_older_image_without_the_unit_boots_and_says_so(machine: Machine) -> None:
    machine.answers["systemctl is-enabled"] = machine.answers["systemctl enable"] = Result(1, "", "Unit is missing")
    run(machine, HEAD)
    assert failed(machine) == ["later boots"]
    assert "a reboot will not bring this machine back: Unit is missing" in machine.logged()


def test_a_heads_state_volume_is_mounted_before_anything_is_written_there(machine: Machine) -> None:
    machine.answers["blkid"] = Result(2, "", "")
    facts = replace(FACTS, head=replace(FACTS.head, state_volume="vol-1"))
    disk = machine.root / state_volume.device_of("vol-1").lstrip("/")
    services = run(machine, HEAD, Services(facts=[facts.to_json()], disk=disk))
    assert "vol-1 to i-head as /dev/sdf" in services.asked
    steps = [json.loads(line)["step"] for line in machine.logged().splitlines()]
    assert steps.index("state volume") < steps.index("folders") < steps.index("slurmctld")
    assert "StateSaveLocation=/var/lib/dure/slurm\n" in (machine.root / "etc/slurm/slurm.conf").read_text()
    assert (machine.root / "var/lib/dure/slurm").is_dir()
    assert "vol-1" not in " ".join(run(machine, NODE, Services(facts=[facts.to_json()], disk=disk)).asked)


def test_a_node_learns_its_name_and_has_no_configuration_of_its_own(machine: Machine) -> None:
    services = run(machine, NODE)
    assert started(machine) == ["munged", "slurmd", "agent"]
    options = (machine.root / "etc/dure/slurmd.env").read_text()
    assert options == "SLURMD_OPTIONS=-b -N gpu-2 --conf-server 10.0.0.10:6817\n"
    assert json.loads((machine.root / "etc/dure/identity.json").read_text())["node"] == "gpu-2"
    assert not (machine.root / "etc/slurm/slurm.conf").exists()
    assert "s3://bucket/.dure/launches/L1.json" in services.asked
    assert "{ 0 }" in "".join(machine.inputs)


def test_scratch_space_is_made_where_the_queue_asks_for_it(machine: Machine) -> None:
    run(machine, NODE)
    assert not (machine.root / "scratch").exists()
    facts = replace(FACTS, queues=(replace(FACTS.queues[0], nvme_scratch=True),))
    run(machine, NODE, Services(facts=[facts.to_json()]))
    assert (machine.root / "scratch").is_dir()
    steps = [json.loads(line)["step"] for line in machine.logged().splitlines()]
    assert steps.index("scratch") < len(steps) - 1 - steps[::-1].index("slurmd")


def test_metadata_is_closed_before_anything_of_a_user_can_run(machine: Machine) -> None:
    run(machine, NODE)
    lines = [" ".join(words) for words in machine.calls]
    assert lines.index("nft -f -") < lines.index("systemctl start dure-munged.service")


def test_the_munge_key_is_for_munge_alone_and_in_no_log(machine: Machine) -> None:
    run(machine, HEAD)
    key = machine.root / "etc/munge/munge.key"
    assert key.read_text() == KEY
    assert stat.S_IMODE(key.stat().st_mode) == 0o400
    assert KEY not in machine.logged()
    assert KEY not in " ".join(word for words in machine.calls for word in words)


def test_a_second_boot_restarts_only_what_takes_changes(machine: Machine) -> None:
    run(machine, HEAD)
    machine.calls.clear()
    machine.answers["mountpoint"] = Result(0, "", "")
    run(machine, HEAD)
    assert machine.ran("systemctl") == [
        "systemctl is-enabled --quiet dure-boot.service",
        "systemctl start dure-munged.service",
        "systemctl start dure-slurmctld.service",
        "systemctl restart dure-keeper.service",
        "systemctl restart dure-agent.service",
    ]
    assert not machine.ran("mount -t")


def test_a_changed_configuration_restarts_slurmctld(machine: Machine) -> None:
    run(machine, HEAD)
    machine.calls.clear()
    larger = replace(FACTS, queues=(replace(FACTS.queues[0], max=8),))
    run(machine, HEAD, Services(facts=[larger.to_json()]))
    assert "systemctl restart dure-slurmctld.service" in machine.ran("systemctl")


def test_facts_and_launch_that_come_late_are_waited_for(machine: Machine) -> None:
    services = Services(facts=[NoSuchCluster("not yet"), FACTS.to_json()], launch=[None, None, *Services().launch])
    run(machine, NODE, services)
    assert started(machine)[-1] == "agent"
    assert machine.time.slept == [1, 0.1, 0.1]


@pytest.mark.parametrize(
    ("services", "step", "message"),
    [
        (Services(facts=[NoSuchCluster("there is none")]), "facts", "/dure/local/facts exists: not within"),
        (Services(facts=["{}"]), "facts", "Do the toolkit in the image and the cluster fit"),
        (Services(facts=[Refused("a permission is missing")]), "facts", "permission"),
        (Services(key="short"), "munge", "5 bytes long, munged takes 32 to 1024"),
        (Services(launch=[None]), "launch", "which node i-2 is: not within 300 s"),
        (Services(launch=[b"{}"]), "launch", "does not name i-2"),
        (Services(launch=[b"not json"]), "launch", "does not name i-2"),
        (
            Services(launch=[launches.content("L2", queue="gpu", nodes={"i-2": "gpu-2"})]),
            "launch",
            "is that of launch 'L2'",
        ),
        (
            Services(launch=[launches.content("L1", queue="gpu", nodes={"i-2": "gpu-99"})]),
            "launch",
            "'gpu-99', which is no node of queue 'gpu'",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_aws_lacks_ends_the_boot(services: Services, step: str, message: str, machine: Machine) -> None:
    with pytest.raises((StepFailed, Refused), match=message):
        run(machine, NODE, services)
    assert "slurmd" not in started(machine)
    assert failed(machine) == [step]


@pytest.mark.parametrize(
    ("program", "step"),
    [
        ("useradd", "job user"),
        ("nft", "firewall"),
        ("mount -t", "file system"),
        ("systemctl start dure-slurmd", "slurmd"),
    ],
)
def test_a_program_that_fails_ends_the_boot(program: str, step: str, machine: Machine) -> None:
    machine.answers[program] = Result(22, "", "Invalid argument: it broke")
    if program == "useradd":
        machine.answers["getent passwd"] = Result(2, "", "")
    with pytest.raises(StepFailed, match="it broke"):
        run(machine, NODE)
    assert failed(machine) == [step]
    assert "agent" not in started(machine)


def test_a_node_that_does_not_join_goes_and_a_head_stays(machine: Machine) -> None:
    machine.answers["nft"] = Result(1, "", "no")
    with pytest.raises(StepFailed):
        run(machine, HEAD)
    assert not machine.ran("shutdown")
    with pytest.raises(StepFailed):
        run(machine, NODE)
    assert machine.ran("shutdown") == ["shutdown -h +5 dure-node boot failed; shutdown -c keeps it"]


def test_a_daemon_that_does_not_answer_ends_the_boot(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot, "listens", lambda address, port: False)
    with pytest.raises(StepFailed, match="slurmd listens on port 6818: not within 60 s"):
        run(machine, NODE)
    machine.answers["munge"] = Result(1, "", "")
    with pytest.raises(StepFailed, match="munged answers: not within 60 s"):
        run(machine, HEAD)
