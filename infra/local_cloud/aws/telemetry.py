"""PutLogEvents and PutMetricData: what CloudWatch takes only in part, or not at all, by time and size.

Source: the API references of PutLogEvents and PutMetricData.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from moto.logs.models import logs_backends

from infra.local_cloud.aws.cloud import ACCOUNT, Cloud
from infra.local_cloud.aws.errors import AwsError
from infra.local_cloud.aws.operations import Answer, Call, Operations

OPERATIONS = Operations("logs")

_HOUR = 3600
_DAY = 24 * _HOUR
OLDEST_LOG, NEWEST = 14 * _DAY, 2 * _HOUR  # seconds before and after now
OLDEST_METRIC = 14 * _DAY
MAX_SPAN = _DAY
MAX_BATCH_BYTES, EVENT_OVERHEAD = 1_048_576, 26
MAX_VALUES = 1000
_writing = threading.Lock()


@OPERATIONS.add("PutLogEvents")
def put_log_events(cloud: Cloud, call: Call) -> Answer:
    """Keep what is in time; tell which events at the beginning and the end are not."""
    events: list[dict[str, Any]] = call.params["logEvents"]
    _check_batch(events)
    groups = logs_backends[ACCOUNT][call.region].groups
    name, stream = call.params["logGroupName"], call.params["logStreamName"]
    for what, there in (("group", name in groups), ("stream", name in groups and stream in groups[name].streams)):
        if not there:
            raise AwsError("ResourceNotFoundException", f"The specified log {what} does not exist.")
    now = cloud.clock()
    rejected = _rejected(events, now, retention_days=groups[name].retention_in_days)
    start = max(rejected.get("tooOldLogEventEndIndex", 0), rejected.get("expiredLogEventEndIndex", 0))
    kept = events[start : rejected.get("tooNewLogEventStartIndex", len(events))]
    with _writing:
        token = groups[name].put_log_events(stream, kept)
    return {"nextSequenceToken": token, **({"rejectedLogEventsInfo": rejected} if rejected else {})}


def _check_batch(events: list[dict[str, Any]]) -> None:
    times = [event["timestamp"] for event in events]
    if any(one > two for one, two in pairwise(times)):
        _refuse("Log events in a single PutLogEvents request must be in chronological order.")
    if times[-1] - times[0] > MAX_SPAN * 1000:
        _refuse("The batch of log events in a single PutLogEvents request cannot span more than 24 hours.")
    size = sum(len(event["message"].encode()) + EVENT_OVERHEAD for event in events)
    if size > MAX_BATCH_BYTES:
        _refuse(f"Upload too large: {size} bytes exceeds limit of {MAX_BATCH_BYTES}")


def _refuse(message: str) -> None:
    raise AwsError("InvalidParameterException", message)


def _rejected(events: list[dict[str, Any]], now: float, *, retention_days: Any) -> dict[str, int]:
    """The indexes of an answer: both ends are exclusive, the start is inclusive."""

    def older(seconds: float) -> int:
        return sum(event["timestamp"] < (now - seconds) * 1000 for event in events)

    found = {
        "tooOldLogEventEndIndex": older(OLDEST_LOG),
        "expiredLogEventEndIndex": older(int(retention_days) * _DAY) if retention_days else 0,
    }
    new = sum(event["timestamp"] > (now + NEWEST) * 1000 for event in events)
    return {
        **{name: count for name, count in found.items() if count},
        **({"tooNewLogEventStartIndex": len(events) - new} if new else {}),
    }


def check_metric_data(cloud: Cloud, call: Call) -> None:
    """Before PutMetricData: all of it or nothing, and nothing that is too old, too new or too much."""
    data = call.params.get("MetricData") or []
    if len(data) > MAX_VALUES:
        raise AwsError(
            "InvalidParameterValue", f"The collection MetricData must not have a size greater than {MAX_VALUES}."
        )
    now = cloud.clock()
    for number, datum in enumerate(data, 1):
        stamp = datum.get("Timestamp")
        if not isinstance(stamp, datetime):
            continue
        at = (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp()
        if not now - OLDEST_METRIC <= at <= now + NEWEST:
            raise AwsError(
                "InvalidParameterValue",
                f"The parameter MetricData.member.{number}.Timestamp must specify a time no more than two weeks in the"
                " past and no more than two hours in the future.",
            )
