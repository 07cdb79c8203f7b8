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

#: How the message begins of the event that ends a job's log: one JSON object, put by the agent on the head once the
#: job is over and all its output was sent. A job that is started again writes on behind it.
END_MARK = '{"dure":"end-of-log"'


def is_end(event: LogEvent) -> bool:
    """Whether the event is the end mark and not a line of the job's."""
    return event.message.startswith(END_MARK)


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
                    logGroupName=self.group, logStreamName=stream, startFromHead=False, limit=count + 1
                )
            except ClientError as error:
                if code_of(error) != "ResourceNotFoundException":
                    raise
                return ()
        return tuple(event for event in _events(answer["events"]) if not is_end(event))[-count:]


def _events(found: Iterable[OutputLogEventTypeDef]) -> tuple[LogEvent, ...]:
    return tuple(
        LogEvent(timestamp_ms=event.get("timestamp", 0), message=_line(event.get("message", ""))) for event in found
    )


def _line(message: str) -> str:
    """The line of a message: CloudWatch refuses empty ones, so an empty line travels as one space."""
    return "" if message == " " else message.rstrip("\n")
