"""The verbs that SSM brings: strict, and one line of JSON whatever happens."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from cluster_scripts.jobs.errors import Unreachable
from cluster_scripts.jobs.model import Job
from cluster_scripts.jobs.spec import CodeRef, JobSpec
from cluster_scripts.node.serve import MAX_ANSWER, Server
from cluster_scripts.node.slurm import Slurm
from cluster_scripts.node.system import Result
from tests.unit.cluster_scripts.jobs.test_spec import SPEC
from tests.unit.cluster_scripts.made import FACTS, Machine
from tests.unit.cluster_scripts.node.test_code import GOOD
from tests.unit.cluster_scripts.slurm.test_parse import JOBS, NODES

KEY = ".dure/specs/0123-abc.json"
PLAIN = replace(SPEC, code=None)


@dataclass
class Services:
    """The bucket."""

    objects: dict[str, bytes] = field(default_factory=dict)
    broken: bool = False

    def object(self, bucket: str, key: str) -> bytes | None:
        assert bucket == FACTS.bucket
        return self.objects.get(key)

    def download(self, bucket: str, key: str, *, to: Path, limit: int) -> bool:
        if key in self.objects:
            to.write_bytes(self.objects[key])
        return key in self.objects

    def put_object(self, bucket: str, key: str, content: bytes) -> None:
        if self.broken:
            raise Unreachable("S3 does not answer")
        self.objects[key] = content


@dataclass
class Head:
    """A head: its machine, its bucket, its server."""

    machine: Machine
    services: Services = field(default_factory=Services)

    def ask(self, verb: str, argument: str = "") -> dict[str, Any]:
        server = Server(
            facts=FACTS, slurm=Slurm(self.machine.system), services=lambda: self.services, new_id=lambda: "ID"
        )
        line, ok = server.line(verb, argument)
        assert "\n" not in line
        answer: dict[str, Any] = json.loads(line)
        assert answer["ok"] is ok
        return answer

    def error(self, verb: str, argument: str = "") -> tuple[str, str]:
        answer = self.ask(verb, argument)
        return answer["error"]["kind"], answer["error"]["message"]

    def submit(self, spec: JobSpec) -> dict[str, Any]:
        self.services.objects[KEY] = spec.to_json().encode()
        return self.ask("submit", KEY)


@pytest.fixture
def head(tmp_path: Path) -> Head:
    (tmp_path / "fsx/.dure/code").mkdir(parents=True)
    return Head(
        Machine(
            tmp_path,
            answers={
                "squeue": Result(0, JOBS, ""),
                "sinfo": Result(0, NODES, ""),
                "sacct": Result(0, "", ""),
                "sbatch": Result(0, "42\n", ""),
            },
        )
    )


def test_submit_runs_sbatch_as_the_job_user(head: Head) -> None:
    assert head.submit(PLAIN) == {"ok": True, "answer": {"job_id": "42"}}
    assert head.machine.calls[-1][0] == "sbatch"
    assert head.machine.users[-1] == "dure"
    assert "--gres=gpu:8" in head.machine.calls[-1]
    assert "DURE_CLUSTER=local" in head.machine.inputs[-1]
    assert f"--comment={PLAIN.submitted_by}" in head.machine.calls[-1]


def test_submit_unpacks_the_code_first(head: Head) -> None:
    code = CodeRef.of(hashlib.sha256(GOOD).hexdigest())
    head.services.objects[code.key] = GOOD
    assert head.submit(replace(SPEC, code=code))["ok"]
    assert (head.machine.root / "fsx/.dure/code" / code.sha256 / "train.py").is_file()
    assert f"--chdir=/fsx/.dure/code/{code.sha256}" in head.machine.calls[-1]


@pytest.mark.parametrize(
    ("spec", "kind", "words"),
    [
        (replace(PLAIN, queue="cpu"), "no_such_queue", "it has: gpu"),
        (replace(PLAIN, nodes=5), "invalid_spec", "queue gpu has at most 4"),
        (replace(PLAIN, tasks_per_node=97), "invalid_spec", "has 96 CPUs"),
        (SPEC, "invalid_code", "was the code sent?"),
    ],
)
def test_a_job_that_can_never_run_is_refused(spec: JobSpec, kind: str, words: str, head: Head) -> None:
    error = head.submit(spec)["error"]
    assert error["kind"] == kind
    assert words in error["message"]
    assert not head.machine.ran("sbatch")


@pytest.mark.parametrize("content", [None, b"{}", b"\xff", b"x" * 1_000_001])
def test_a_specification_that_is_none(content: bytes | None, head: Head) -> None:
    if content is not None:
        head.services.objects[KEY] = content
    kind, _ = head.error("submit", KEY)
    assert kind == ("invalid_argument" if content is None else "invalid_spec")
    assert not head.machine.calls


def test_slurms_refusal_reaches_the_user(head: Head) -> None:
    head.machine.answers["sbatch"] = Result(
        1, "", "sbatch: error: Batch job submission failed: Requested node config\n"
    )
    error = head.submit(PLAIN)["error"]
    assert error["kind"] == "slurm_refused"
    assert "Requested node config" in error["message"]


@pytest.mark.parametrize(
    ("verb", "argument"),
    [
        ("", ""),
        ("boot", ""),
        ("jobs; id", ""),
        ("jobs", "1"),
        ("nodes", "x"),
        ("show", ""),
        ("show", "1 2"),
        ("show", "-1"),
        ("cancel", "1;id"),
        ("cancel", "1\n"),
        ("submit", ""),
        ("submit", ".dure/specs/../launches/x.json"),
        ("submit", "data/x.json"),
        ("submit", ".dure/specs/$(id).json"),
    ],
)
def test_verbs_and_arguments_are_checked_again(verb: str, argument: str, head: Head) -> None:
    assert head.error(verb, argument)[0] == "invalid_argument"
    assert not head.machine.calls


def test_jobs_show_and_nodes(head: Head) -> None:
    assert [job["id"] for job in head.ask("jobs")["answer"]["jobs"]] == list("1234567")
    job = Job.from_json(head.ask("show", "2")["answer"]["job"])
    assert (job.state, job.exit_code) == ("failed", 3)
    nodes = head.ask("nodes")["answer"]["nodes"]
    assert [(node["name"], node["job_ids"]) for node in nodes if node["job_ids"]] == [("gpu-1", ["6"])]


def test_a_job_that_slurmctld_has_forgotten(head: Head) -> None:
    line = "99|old|gpu|COMPLETED|0:0|gpu-1|1|dure(5000)|2020-01-01T00:00:00|2020-01-01T00:00:01|2020-01-01T00:00:02\n"
    head.machine.answers["sacct -c --parsable2 --noheader --jobs=99"] = Result(0, line, "")
    assert head.ask("show", "99")["answer"]["job"]["state"] == "completed"
    assert head.error("show", "98")[0] == "no_such_job"


def test_cancel(head: Head) -> None:
    assert head.ask("cancel", "6") == {"ok": True, "answer": {}}
    assert head.machine.ran("scancel") == ["scancel 6"]
    assert head.ask("cancel", "2")["ok"]
    assert head.error("cancel", "98")[0] == "no_such_job"
    assert head.machine.ran("scancel") == ["scancel 6"]


def test_a_job_waits_for_nodes_that_are_on_their_way_out(head: Head) -> None:
    jobs, nodes = json.loads(JOBS), json.loads(NODES)
    jobs["jobs"][4] |= {"state_reason": "Resources", "partition": "gpu"}
    head.machine.answers["squeue"] = Result(0, json.dumps(jobs), "")
    assert head.ask("show", "5")["answer"]["job"]["reason"] == "Resources"
    nodes["nodes"][3]["state_flags"] = ["CLOUD", "POWERING_DOWN"]
    nodes["nodes"][3]["state"] = "idle"
    head.machine.answers["sinfo"] = Result(0, json.dumps(nodes), "")
    assert head.ask("show", "5")["answer"]["job"]["reason"].startswith(
        "waits for nodes: those that are being given back"
    )


def test_a_long_answer_goes_to_the_bucket(head: Head) -> None:
    entry = json.loads(JOBS)["jobs"][0]
    many = {"jobs": [{**entry, "job_id": id} for id in range(1, 201)]}
    head.machine.answers["squeue"] = Result(0, json.dumps(many), "")
    assert head.ask("jobs") == {"ok": True, "answer_key": ".dure/answers/ID.json"}
    content = head.services.objects[".dure/answers/ID.json"]
    assert len(content) > MAX_ANSWER
    assert len(json.loads(content)["jobs"]) == 200
    head.services.broken = True
    assert head.error("jobs")[0] == "unreachable"


def test_a_controller_that_is_away(head: Head) -> None:
    head.machine.answers["squeue"] = Result(
        1, "", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n"
    )
    kind, message = head.error("jobs")
    assert kind == "unreachable"
    assert "slurmctld" in message
