"""The ssh adapter: what it runs on the other side, and what it makes of the answers."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from cluster_scripts.backends.ssh.cluster import _PROBE as PROBE_SCRIPT
from cluster_scripts.backends.ssh.cluster import SshCluster, login_of, queues_of
from cluster_scripts.backends.ssh.connection import Address, Connection, Result
from cluster_scripts.jobs.errors import (
    InvalidArgument,
    NoSuchJob,
    NoSuchQueue,
    OtherSide,
    SlurmRefused,
    UnexpectedAnswer,
)
from cluster_scripts.jobs.spec import CodeRef, JobSpec

PROBE = "Welcome!\n\ndure-login:\n/home/kim\n/opt/slurm/bin:/usr/bin\n/etc/slurm.conf\nkim\nlogin1\n"
SPEC = JobSpec(
    name="j",
    queue="gpu",
    command=("echo", "a b"),
    submitted_by="kim@login1",
    submitted_at=datetime(2026, 1, 1, tzinfo=UTC),
)
JOB = {"job_id": 12, "job_state": "RUNNING", "name": "j", "partition": "gpu", "nodes": "", "user_name": "kim"}
SINFO = "cpu|3|(null)\ngpu*|4|gpu:v100:8(S:0-1)\n"


@dataclass
class Host:
    """The other side: answers by the name of the program, and remembers what was asked."""

    answers: dict[str, Result] = field(default_factory=dict)
    ran: list[tuple[str, ...]] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    address: Address = field(default_factory=lambda: Address(user="kim", host="login", port=22))

    def run(self, argv: Sequence[str], *, stdin: str = "") -> Result:
        words = tuple(argv)
        assert words[:2] == ("env", "-i"), "a command in an environment that is not ours"
        bare = words[next(i for i, word in enumerate(words) if i > 1 and "=" not in word) :]
        self.ran.append(bare)
        self.inputs.append(stdin)
        return self.answers.get(bare[0], Result(code=0, stdout="", stderr=""))

    def says(self, program: str, stdout: str = "", *, code: int = 0, stderr: str = "") -> None:
        self.answers[program] = Result(code=code, stdout=stdout, stderr=stderr)

    def exists(self, path: str) -> bool:
        return path in self.files

    def put(self, source: Path, path: str) -> None:
        self.files[path] = source.read_bytes()

    def read(self, path: str, *, offset: int, limit: int) -> tuple[bytes, int] | None:
        content = self.files.get(path)
        if content is None:
            return None
        start = max(0, len(content) + offset) if offset < 0 else offset
        return content[start : start + limit], len(content)

    def close(self) -> None:
        self.files.clear()


@pytest.fixture
def host() -> Host:
    there = Host()
    there.says("sinfo", SINFO)
    there.says("sbatch", "12\n")
    there.says("squeue", json.dumps({"jobs": [JOB]}))
    return there


@pytest.fixture
def cluster(host: Host) -> SshCluster:
    return SshCluster(cast(Connection, host), login_of(PROBE), time_ms=lambda: 5, new_id=lambda: "n1")


def test_the_login_shell_is_read_past_what_it_prints() -> None:
    login = login_of(PROBE)
    assert (login.home, login.path, login.slurm_conf) == ("/home/kim", "/opt/slurm/bin:/usr/bin", "/etc/slurm.conf")
    assert (login.user, login.host) == ("kim", "login1")
    assert "SLURM_CONF=/etc/slurm.conf" in login.environment()


def test_the_probe_is_what_is_read_back() -> None:
    environment = {"HOME": "/home/kim", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["bash", "-c", PROBE_SCRIPT], env=environment, capture_output=True, text=True, check=True)
    login = login_of("motd\n" + done.stdout)
    assert (login.home, login.path, login.slurm_conf) == ("/home/kim", "/usr/bin:/bin", "")
    assert login.user
    assert login.host


@pytest.mark.parametrize("text", ["", "This account is closed.\n", "\ndure-login:\n\n\n\n\n"])
def test_a_login_shell_that_does_not_answer_is_an_error(text: str) -> None:
    with pytest.raises(UnexpectedAnswer):
        login_of(text)


def test_queues_come_with_the_default_first() -> None:
    assert [(q.name, q.nodes, q.gpus) for q in queues_of(SINFO)] == [("gpu", 4, 8), ("cpu", 3, 0)]
    mixed = queues_of("all|2|gpu:8\nall|1|(null)\n")
    assert [(q.name, q.nodes, q.gpus) for q in mixed] == [("all", 3, 0)]
    with pytest.raises(UnexpectedAnswer):
        queues_of("slurm_load_partitions: error\n")


def test_a_submission_gives_the_script_on_standard_input(host: Host, cluster: SshCluster) -> None:
    assert cluster.submit(SPEC, code=None) == "12"
    sbatch, script = host.ran[-1], host.inputs[-1]
    assert sbatch[0] == "sbatch"
    assert "--output=/home/kim/.dure/logs/%j.log" in sbatch
    assert "--chdir=/home/kim" in sbatch
    assert "--gres=gpu:8" in sbatch
    assert "--comment=kim@login1" in sbatch
    assert script.startswith("#!/bin/bash\n")
    assert "/opt/dure" not in script
    assert ("mkdir", "-p", "/home/kim/.dure/logs", "/home/kim/.dure/metrics", "/home/kim/.dure/code") in host.ran


def test_code_is_sent_and_unpacked_once(host: Host, cluster: SshCluster, tmp_path: Path) -> None:
    archive = tmp_path / "code.tar.gz"
    archive.write_bytes(b"code")
    digest = hashlib.sha256(b"code").hexdigest()
    spec = replace(SPEC, code=CodeRef.of(digest))
    folder = f"/home/kim/.dure/code/{digest}"
    cluster.submit(spec, code=archive)
    assert host.files == {f"{folder}.n1.tar.gz": b"code"}
    unpack = next(words for words in host.ran if words[0] == "sh")
    assert unpack[-2:] == (f"{folder}.n1.tar.gz", folder)
    assert f"--chdir={folder}" in host.ran[-1]
    host.files[folder] = b""
    host.ran.clear()
    cluster.submit(spec, code=archive)
    assert "sh" not in {words[0] for words in host.ran}


def test_a_folder_that_cannot_be_unpacked_stops_the_submission(host: Host, cluster: SshCluster, tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b"x")
    host.says("sh", code=2, stderr="tar: no space left")
    with pytest.raises(OtherSide, match="no space left"):
        cluster.submit(replace(SPEC, code=CodeRef.of("0" * 64)), code=tmp_path / "c")
    assert "sbatch" not in {words[0] for words in host.ran}


def test_what_the_queues_rule_out_is_refused(host: Host, cluster: SshCluster) -> None:
    with pytest.raises(NoSuchQueue):
        cluster.submit(replace(SPEC, queue="big"), code=None)
    with pytest.raises(InvalidArgument, match="at most 4"):
        cluster.submit(replace(SPEC, nodes=5), code=None)
    assert {words[0] for words in host.ran} == {"sinfo"}


def test_slurms_refusal_carries_its_words(host: Host, cluster: SshCluster) -> None:
    host.says("sbatch", code=1, stderr="sbatch: error: Batch job submission failed: Access denied\n")
    with pytest.raises(SlurmRefused, match="Access denied"):
        cluster.submit(SPEC, code=None)


def test_a_host_without_slurm_is_explained(host: Host, cluster: SshCluster) -> None:
    host.says("sinfo", code=127, stderr="env: 'sinfo': No such file or directory")
    with pytest.raises(SlurmRefused, match="login machine of a Slurm cluster"):
        cluster.queues()


def test_a_job_is_found_by_its_id(host: Host, cluster: SshCluster) -> None:
    assert cluster.job("12").state == "running"
    assert [job.id for job in cluster.jobs()] == ["12"]


def test_a_forgotten_job_is_looked_up_in_the_completion_log(host: Host, cluster: SshCluster) -> None:
    line = "7|j|gpu|COMPLETED|0:0|n1|1|kim(1000)|2026-01-01T00:00:00|2026-01-01T00:00:01|2026-01-01T00:00:02\n"
    host.says("sacct", line)
    assert cluster.job("7").state == "completed"


@pytest.mark.parametrize("sacct", [Result(0, "", ""), Result(1, "", "SLURM accounting storage is disabled")])
def test_a_job_that_nobody_knows_is_none(sacct: Result, host: Host, cluster: SshCluster) -> None:
    host.answers["sacct"] = sacct
    for method in (cluster.job, cluster.cancel):
        with pytest.raises(NoSuchJob, match="does not know job 7"):
            method("7")


def test_only_a_living_job_is_cancelled(host: Host, cluster: SshCluster) -> None:
    cluster.cancel("12")
    assert host.ran[-1][0] == "scancel"
    host.says("squeue", json.dumps({"jobs": [{**JOB, "job_state": "COMPLETED"}]}))
    host.ran.clear()
    cluster.cancel("12")
    assert {words[0] for words in host.ran} == {"squeue"}


@pytest.mark.parametrize("id", ["", "0", "12; reboot", "-1"])
def test_an_id_that_is_none_reaches_nobody(id: str, host: Host, cluster: SshCluster) -> None:
    with pytest.raises(InvalidArgument):
        cluster.log_events(id, cursor=None)
    assert host.ran == []


def test_output_is_tailed_from_the_file(host: Host, cluster: SshCluster) -> None:
    assert cluster.log_events("12", cursor=None).cursor == ""
    log = "/home/kim/.dure/logs/12.log"
    host.files[log] = "첫 줄\nzwei".encode()
    first = cluster.log_events("12", cursor=None)
    assert [event.message for event in first.events] == ["첫 줄"]
    host.files[log] += b"\ndrei\n"
    second = cluster.log_events("12", cursor=first.cursor)
    assert [event.message for event in second.events] == ["zwei", "drei"]
    assert [event.message for event in cluster.last_lines("12", 2)] == ["zwei", "drei"]


def test_a_file_that_was_written_anew_is_read_from_its_beginning(host: Host, cluster: SshCluster) -> None:
    host.files["/home/kim/.dure/logs/12.log"] = b"new\n"
    page = cluster.log_events("12", cursor="100")
    assert [event.message for event in page.events] == ["new"]
