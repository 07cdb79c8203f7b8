"""What is made of the CDK CLI's output, and how `dure up` waits for the head."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cluster_scripts.cli import cdk
from cluster_scripts.cli.up import wait_for_head
from cluster_scripts.jobs.errors import Failed, Refused, RequestError, Unreachable

# captured from CDK CLI 2.1148.1 with --progress events
MADE = (
    "dure-local-network |  1/12 | 3:41:02 AM | CREATE_COMPLETE      | AWS::EC2::VPC                | Vpc (Vpc8378EB38)"
)
BROKE = (
    "dure-local-storage |  2/12 | 3:41:09 AM | CREATE_FAILED | AWS::FSx::FileSystem | Lustre Capacity 1300 is not valid"
)
NOISE = "dure-local-storage |  2/12 | 3:41:09 AM | CREATE_FAILED | AWS::S3::Bucket | Data Resource creation cancelled"


def test_progress_names_stack_resource_and_state() -> None:
    assert cdk.progress_of(MADE) == "dure-local-network  1/12  create complete: AWS::EC2::VPC Vpc"
    assert cdk.progress_of("✨  Synthesis time: 4.2s") is None


def test_failures_come_with_their_reason_and_without_the_noise_of_the_roll_back() -> None:
    assert cdk.failures_of([MADE, BROKE, NOISE]) == [
        "AWS::FSx::FileSystem Lustre in dure-local-storage: Capacity 1300 is not valid"
    ]


def fake_cdk(folder: Path, body: str) -> str:
    path = folder / "cdk"
    path.write_text(f"#!{sys.executable}\nimport sys\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_a_failed_deployment_says_which_resource_and_keeps_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cdk, "find_cdk", lambda: fake_cdk(tmp_path, f"print({BROKE!r}); sys.exit(1)"))
    with pytest.raises(Failed, match="AWS::FSx::FileSystem Lustre"):
        cdk.run_cdk(["deploy", "--all"], cluster_file=tmp_path / "c.yaml", log=tmp_path / "logs/up.log")
    assert BROKE in (tmp_path / "logs/up.log").read_text()


def test_the_cluster_file_is_passed_as_one_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cdk, "find_cdk", lambda: fake_cdk(tmp_path, "print(sys.argv[1:])"))
    cdk.run_cdk(["diff"], cluster_file=tmp_path / "a b'$(x).yaml", log=tmp_path / "log")
    assert f"cluster={tmp_path}/a b'$(x).yaml" in (tmp_path / "log").read_text().replace('"', "'").replace("\\'", "'")


def test_no_cdk_is_a_request_error_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cdk, "HOME", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RequestError, match=r"tools\.setup"):
        cdk.find_cdk()


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_waiting_for_the_head_ends_with_its_first_answer() -> None:
    clock, answers = Clock(), iter([Unreachable("a"), Unreachable("b"), None])

    def ask() -> None:
        if error := next(answers):
            raise error

    assert wait_for_head(ask, timeout=60, clock=clock, sleep=clock.sleep) == pytest.approx(1.25)


def test_waiting_gives_up_with_the_last_error_and_never_waits_for_a_refusal() -> None:
    clock = Clock()

    def never() -> None:
        raise Unreachable("still booting")

    with pytest.raises(Unreachable, match="still booting"):
        wait_for_head(never, timeout=30, clock=clock, sleep=clock.sleep)
    assert 30 < clock.now < 45

    def refused() -> None:
        raise Refused("no permission")

    before = clock.now
    with pytest.raises(Refused):
        wait_for_head(refused, timeout=30, clock=clock, sleep=clock.sleep)
    assert clock.now == before
