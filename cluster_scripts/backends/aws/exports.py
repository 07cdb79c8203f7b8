"""Whether what lies on a cluster's file system is in its bucket, asked before the file system is deleted.

FSx says two things: in which state each data repository association is, and, where changes are exported by themselves,
how long the oldest of them has been waiting (CloudWatch, AWS/FSx, AgeOfOldestQueuedMessage). What is not exported by
itself goes by an export task. Files outside of every association reach no bucket, and FSx does not count them.
Source: FSx API, DeleteFileSystem; FSx for Lustre User Guide, Using data repository tasks to export changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError

from cluster_scripts.backends.aws.errors import code_of, translating
from cluster_scripts.backends.aws.session import Aws
from cluster_scripts.jobs.errors import Failed

if TYPE_CHECKING:
    from mypy_boto3_fsx.type_defs import DataRepositoryAssociationTypeDef

# What has to be exported for nothing to be lost; a deletion that is not loses nothing
NEEDED = frozenset({"NEW", "CHANGED"})
#: CloudWatch's period for the metrics of AWS services, and how far back the newest value is looked for, in seconds.
PERIOD, BACK = 60, 600
TASK: Final = "EXPORT_TO_REPOSITORY"
_RUNS = ("PENDING", "EXECUTING")


def unexported(aws: Aws, file_system: str, *, sent: bool = False) -> list[str]:
    """Why data on the file system may be nowhere else, one reason a line; an empty list means that it is exported.

    `sent`: `export` has just sent what does not go by itself. A file system that is gone has no reasons.
    Raises any OtherSide.
    """
    with translating(f"asking whether file system {file_system} is exported"):
        try:
            aws.fsx.describe_file_systems(FileSystemIds=[file_system])
        except ClientError as error:
            if code_of(error) == "FileSystemNotFound":
                return []
            raise
        found = _associations(aws, file_system)
        if not found:
            return ["it is linked to no bucket: nothing of it is ever exported"]
        reasons = [reason for each in found for reason in _of_association(each, sent=sent)]
        if any(_exports(each) for each in found) and (seconds := _waiting(aws, file_system)):
            reasons.append(f"changes have been waiting for {seconds:.0f} s to be exported")
        return [*reasons, *_of_tasks(aws, file_system)]


def export(
    aws: Aws,
    file_system: str,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    timeout: float = 24 * 3600.0,
) -> int:
    """Exports the folders that are not exported by themselves, by a task, and waits for it; the files that it wrote.

    Errors: Failed when the task fails or takes more than `timeout` seconds; any OtherSide (FSx refuses a task on a
    folder that exports some changes by itself: widen export_events instead).
    """
    with translating(f"exporting file system {file_system}"):
        paths = [each.get("FileSystemPath", "/") for each in _associations(aws, file_system) if not _is_whole(each)]
        if not paths:
            return 0
        task = aws.fsx.create_data_repository_task(
            Type=TASK,
            FileSystemId=file_system,
            Paths=[path.strip("/") for path in paths],
            Report={"Enabled": False},
        )["DataRepositoryTask"]["TaskId"]
        deadline, pause = clock() + timeout, 0.5
        while True:
            (found,) = aws.fsx.describe_data_repository_tasks(TaskIds=[task])["DataRepositoryTasks"]
            if found["Lifecycle"] not in _RUNS:
                break
            if clock() > deadline:
                raise Failed(f"the export task {task} of {file_system} still runs after {timeout:.0f} s")
            sleep(pause)
            pause = min(pause * 2, 15.0)
    status = found.get("Status", {})
    if found["Lifecycle"] != "SUCCEEDED":
        why = found.get("FailureDetails", {}).get("Message", "no reason given")
        raise Failed(
            f"the export task {task} of {file_system} is {found['Lifecycle']}: {status.get('FailedCount', 0)} files "
            f"failed ({why}); nothing was deleted"
        )
    return int(status.get("SucceededCount", 0))


def _associations(aws: Aws, file_system: str) -> list[DataRepositoryAssociationTypeDef]:
    # at most eight a file system: one answer holds them all
    return aws.fsx.describe_data_repository_associations(Filters=[{"Name": "file-system-id", "Values": [file_system]}])[
        "Associations"
    ]


def _events(association: DataRepositoryAssociationTypeDef) -> frozenset[str]:
    return frozenset(association.get("S3", {}).get("AutoExportPolicy", {}).get("Events", []))


def _exports(association: DataRepositoryAssociationTypeDef) -> bool:
    """Whether it exports any change by itself."""
    return bool(_events(association))


def _is_whole(association: DataRepositoryAssociationTypeDef) -> bool:
    """Whether it exports by itself all that would be lost."""
    return _events(association) >= NEEDED


def _of_association(association: DataRepositoryAssociationTypeDef, *, sent: bool) -> Iterator[str]:
    path, state = association.get("FileSystemPath", "/"), str(association.get("Lifecycle", ""))
    words = association.get("FailureDetails", {}).get("Message", "")
    if state not in ("AVAILABLE", "UPDATING") or words:
        yield f"its folder {path} is linked by an association that is {state}" + (f": {words}" if words else "")
    elif not _is_whole(association) and not sent:
        events = ", ".join(sorted(_events(association))) or "nothing"
        yield f"its folder {path} exports {events} by itself, not what jobs make and change there"


def _waiting(aws: Aws, file_system: str) -> float:
    """Seconds for which the oldest change has been waiting, by the newest value that there is; 0 without one."""
    now = datetime.now(UTC)
    points = aws.cloudwatch.get_metric_statistics(
        Namespace="AWS/FSx",
        MetricName="AgeOfOldestQueuedMessage",
        Dimensions=[{"Name": "FileSystemId", "Value": file_system}, {"Name": "Publisher", "Value": "AutoExport"}],
        StartTime=now - timedelta(seconds=BACK),
        EndTime=now + timedelta(seconds=PERIOD),
        Period=PERIOD,
        Statistics=["Maximum"],
    )["Datapoints"]
    newest = max(points, key=lambda point: point["Timestamp"], default=None)
    return float(newest.get("Maximum", 0.0)) if newest else 0.0


def _of_tasks(aws: Aws, file_system: str) -> Iterator[str]:
    found = aws.fsx.describe_data_repository_tasks(
        Filters=[
            {"Name": "file-system-id", "Values": [file_system]},
            {"Name": "task-lifecycle", "Values": list(_RUNS)},
        ]
    )["DataRepositoryTasks"]
    for task in found:
        if task["Type"] == TASK:
            yield f"its export task {task['TaskId']} is {task['Lifecycle']}"
