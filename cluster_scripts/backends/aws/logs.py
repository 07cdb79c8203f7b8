"""A job's output, from CloudWatch Logs: one stream a job, named by its id."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from cluster_scripts.backends.aws.errors import code_of, translating
from cluster_scripts.backends.aws.session import Aws
from cluster_scripts.jobs.model import LogEvent, LogPage

if TYPE_CHECKING:
    from mypy_boto3_logs.type_defs import OutputLogEventTypeDef


@dataclass(frozen=True)
class JobLogs:
    """Reads the streams of one log group."""

    aws: Aws
    group: str

    def page(self, stream: str, cursor: str | None) -> LogPage:
        """Events after the cursor, oldest first. A stream that is not there (yet) gives an empty page.

        The cursor is CloudWatch's forward token, which stays as it is at the end of the stream.
        """
        with translating(f"reading the log {self.group}/{stream}"):
            try:
                answer = (
                    self.aws.logs.get_log_events(
                        logGroupName=self.group, logStreamName=stream, startFromHead=True, nextToken=cursor
                    )
                    if cursor
                    else self.aws.logs.get_log_events(logGroupName=self.group, logStreamName=stream, startFromHead=True)
                )
            except ClientError as error:
                if code_of(error) != "ResourceNotFoundException":
                    raise
                return LogPage(events=(), cursor=cursor or "")
        return LogPage(events=_events(answer["events"]), cursor=answer["nextForwardToken"])

    def last(self, stream: str, count: int) -> tuple[LogEvent, ...]:
        """The last events of the stream, oldest first, at most `count`; none if there is no stream."""
        with translating(f"reading the log {self.group}/{stream}"):
            try:
                answer = self.aws.logs.get_log_events(
                    logGroupName=self.group, logStreamName=stream, startFromHead=False, limit=count
                )
            except ClientError as error:
                if code_of(error) != "ResourceNotFoundException":
                    raise
                return ()
        return _events(answer["events"])


def _events(found: Iterable[OutputLogEventTypeDef]) -> tuple[LogEvent, ...]:
    return tuple(
        LogEvent(timestamp_ms=event.get("timestamp", 0), message=event.get("message", "").rstrip("\n"))
        for event in found
    )
