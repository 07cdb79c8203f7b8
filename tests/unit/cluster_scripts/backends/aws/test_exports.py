"""Whether a file system may go: what FSx and CloudWatch say, and the export task."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.stub import Stubber

from cluster_scripts.backends.aws import exports
from cluster_scripts.backends.aws.session import Aws
from cluster_scripts.cli.down import refuse_unexported
from cluster_scripts.jobs.errors import Failed, RequestError

FS = "fs-0123456789abcdef0"
WHOLE = ["NEW", "CHANGED", "DELETED"]


@pytest.fixture
def fsx(aws: Aws) -> Iterator[Stubber]:
    with Stubber(aws.fsx) as stub:
        yield stub
        stub.assert_no_pending_responses()


@pytest.fixture
def cloudwatch(aws: Aws) -> Iterator[Stubber]:
    with Stubber(aws.cloudwatch) as stub:
        yield stub
        stub.assert_no_pending_responses()


def association(events: list[str], state: str = "AVAILABLE", words: str = "", path: str = "/data") -> dict[str, Any]:
    failure = {"FailureDetails": {"Message": words}} if words else {}
    return {
        "FileSystemPath": path,
        "Lifecycle": state,
        "S3": {"AutoExportPolicy": {"Events": events}},
        **failure,
    }


def says(fsx: Stubber, *associations: dict[str, Any], tasks: tuple[dict[str, Any], ...] = ()) -> None:
    fsx.add_response("describe_file_systems", {"FileSystems": []})
    fsx.add_response("describe_data_repository_associations", {"Associations": list(associations)})
    if associations:
        fsx.add_response("describe_data_repository_tasks", {"DataRepositoryTasks": list(tasks)})


def waits(cloudwatch: Stubber, *seconds: float) -> None:
    points = [{"Timestamp": datetime(2026, 1, 1, 0, i, tzinfo=UTC), "Maximum": s} for i, s in enumerate(seconds)]
    cloudwatch.add_response("get_metric_statistics", {"Datapoints": list(reversed(points))})


def test_what_is_exported_by_itself_and_waits_for_nothing_may_go(aws: Aws, fsx: Stubber, cloudwatch: Stubber) -> None:
    says(fsx, association(WHOLE))
    waits(cloudwatch, 90, 0)
    assert exports.unexported(aws, FS) == []


def test_the_newest_value_counts(aws: Aws, fsx: Stubber, cloudwatch: Stubber) -> None:
    says(fsx, association(WHOLE))
    waits(cloudwatch, 0, 90)
    assert exports.unexported(aws, FS) == ["changes have been waiting for 90 s to be exported"]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (association([]), "its folder /data exports nothing by itself"),
        (association(["NEW"]), "its folder /data exports NEW by itself, not what jobs make and change there"),
        (association(WHOLE, "MISCONFIGURED", "no bucket"), "by an association that is MISCONFIGURED: no bucket"),
        (association(WHOLE, words="AccessDenied"), "by an association that is AVAILABLE: AccessDenied"),
    ],
)
def test_a_folder_that_is_not_exported_is_named(
    aws: Aws, fsx: Stubber, cloudwatch: Stubber, given: dict[str, Any], reason: str
) -> None:
    says(fsx, given)
    if given["S3"]["AutoExportPolicy"]["Events"]:
        waits(cloudwatch)
    (said,) = exports.unexported(aws, FS)
    assert reason in said


def test_no_bucket_and_a_task_that_runs_are_reasons(aws: Aws, fsx: Stubber) -> None:
    says(fsx)
    assert exports.unexported(aws, FS) == ["it is linked to no bucket: nothing of it is ever exported"]
    task = {"TaskId": "task-0123456789abcdef0", "Type": "EXPORT_TO_REPOSITORY", "Lifecycle": "EXECUTING"}
    made = {**task, "CreationTime": datetime(2026, 1, 1, tzinfo=UTC)}
    says(fsx, association([]), tasks=(made,))
    assert exports.unexported(aws, FS, sent=True) == ["its export task task-0123456789abcdef0 is EXECUTING"]


def test_a_file_system_that_is_gone_keeps_nothing_from_going(aws: Aws, fsx: Stubber) -> None:
    fsx.add_client_error("describe_file_systems", "FileSystemNotFound")
    assert exports.unexported(aws, FS) == []


def task(state: str, **status: int) -> dict[str, Any]:
    return {
        "TaskId": "task-0123456789abcdef0",
        "Type": "EXPORT_TO_REPOSITORY",
        "Lifecycle": state,
        "CreationTime": datetime(2026, 1, 1, tzinfo=UTC),
        "Status": status,
    }


def test_a_task_sends_the_folders_that_do_not_go_by_themselves(aws: Aws, fsx: Stubber) -> None:
    given = [association(WHOLE), association([], path="/models")]
    fsx.add_response("describe_data_repository_associations", {"Associations": given})
    fsx.add_response(
        "create_data_repository_task",
        {"DataRepositoryTask": task("PENDING")},
        {
            "Type": "EXPORT_TO_REPOSITORY",
            "FileSystemId": FS,
            "Paths": ["models"],
            "Report": {"Enabled": False},
        },
    )
    fsx.add_response("describe_data_repository_tasks", {"DataRepositoryTasks": [task("EXECUTING")]})
    fsx.add_response("describe_data_repository_tasks", {"DataRepositoryTasks": [task("SUCCEEDED", SucceededCount=7)]})
    slept: list[float] = []
    assert exports.export(aws, FS, clock=lambda: 0.0, sleep=slept.append) == 7
    assert slept == [0.5]


def test_a_task_that_fails_stops_with_its_reason(aws: Aws, fsx: Stubber) -> None:
    fsx.add_response("describe_data_repository_associations", {"Associations": [association([])]})
    fsx.add_response("create_data_repository_task", {"DataRepositoryTask": task("PENDING")})
    failed = {**task("FAILED", FailedCount=2), "FailureDetails": {"Message": "no access"}}
    fsx.add_response("describe_data_repository_tasks", {"DataRepositoryTasks": [failed]})
    with pytest.raises(Failed, match=r"is FAILED: 2 files failed \(no access\); nothing was deleted"):
        exports.export(aws, FS)


def test_down_waits_a_little_for_exports_and_then_refuses(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    left = [["changes have been waiting for 60 s to be exported"], []]
    monkeypatch.setattr(exports, "unexported", lambda *_, **__: left.pop(0))
    refuse_unexported(aws, FS, export=False, clock=lambda: now, sleep=sleep)
    assert "waiting for 60 s" in capsys.readouterr().out
    monkeypatch.setattr(exports, "unexported", lambda *_, **__: ["changes have been waiting for 60 s"])
    with pytest.raises(RequestError, match="--discard-unexported deletes it"):
        refuse_unexported(aws, FS, export=False, clock=lambda: now, sleep=sleep)
    assert now > 180


def test_down_does_not_wait_for_what_never_goes_by_itself(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "unexported", lambda *_, **__: ["its folder /data exports nothing by itself"])
    with pytest.raises(RequestError, match="may be nowhere else:\n  its folder /data"):
        refuse_unexported(aws, FS, export=False, sleep=lambda _: pytest.fail("waited"))
