"""What the agent sends: metric values and log events, to CloudWatch and CloudWatch Logs.

Planning is pure: `metric_batches` and `event_batches` cut what there is to send into requests that AWS takes;
`Telemetry` sends one of them. A batch that was refused for what it holds is halved until the culprits are found:
those are lost, all others arrive, and the caller is told how many were lost. Everything else that goes wrong is
raised, and the same batch may be sent again.

Errors: those of cluster_scripts.jobs.errors (Unreachable, Throttled, Refused, OtherSide).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.config import Config
from botocore.exceptions import ClientError

from cluster_scripts.backends.aws.errors import code_of, translating
from cluster_scripts.backends.aws.session import open_session
from cluster_scripts.jobs.errors import DureError
from cluster_scripts.jobs.model import LogEvent

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_cloudwatch.type_defs import MetricDatumTypeDef
    from mypy_boto3_logs import CloudWatchLogsClient

# PutMetricData: 1,000 values and 1 MB (after compression; we count before) a request. Source: CloudWatch's quotas.
MAX_VALUES = 1000
MAX_VALUE_BYTES = 1_000_000
# PutLogEvents: 10,000 events, 1,048,576 bytes of UTF-8 with 26 bytes added for each event, 256 KB an event, 24 hours
# between the first and the last event. Source: the API reference of PutLogEvents.
MAX_EVENTS = 10_000
MAX_BATCH_BYTES = 1_048_576
EVENT_OVERHEAD = 26
MAX_MESSAGE_BYTES = 262_144 - EVENT_OVERHEAD
MAX_SPAN_MS = 24 * 3600 * 1000

# Short: the caller keeps what was not sent and tries again, and must be able to stop within seconds.
CONFIG = Config(
    connect_timeout=3,
    read_timeout=10,
    retries={"mode": "standard", "total_max_attempts": 2},
    max_pool_connections=2,
    user_agent_extra="dure-agent",
)

_REFUSED_METRICS = frozenset(
    {
        "InvalidParameterValue",
        "InvalidParameterCombination",
        "MissingParameter",
        "InvalidParameterValueException",
        "InvalidParameterCombinationException",
        "MissingRequiredParameterException",
        "ValidationError",
    }
)
_REFUSED_EVENTS = frozenset({"InvalidParameterException", "ValidationException", "SerializationException"})

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class MetricValue:
    """The values of one metric in one span of time, as CloudWatch's statistic set.

    time: seconds since 1970, the span's beginning. For one single value `count` is 1 and the three others are equal.
    high_resolution: kept by the second, not by the minute.
    """

    name: str
    unit: str
    dimensions: tuple[tuple[str, str], ...]
    time: float
    count: float
    sum: float
    minimum: float
    maximum: float
    high_resolution: bool = False


def metric_batches(values: Sequence[MetricValue]) -> Iterator[Sequence[MetricValue]]:
    """Cut `values`, in their order, into requests that PutMetricData takes."""
    return _batches(values, size_of=_value_bytes, most_items=MAX_VALUES, most_bytes=MAX_VALUE_BYTES)


def event_batches(events: Sequence[LogEvent]) -> Iterator[Sequence[LogEvent]]:
    """Cut `events`, oldest first, into requests that PutLogEvents takes. Each message has at most MAX_MESSAGE_BYTES."""
    for span in _spans(events):
        yield from _batches(span, size_of=_event_bytes, most_items=MAX_EVENTS, most_bytes=MAX_BATCH_BYTES)


def _spans(events: Sequence[LogEvent]) -> Iterator[Sequence[LogEvent]]:
    start = 0
    for index, event in enumerate(events):
        if event.timestamp_ms - events[start].timestamp_ms >= MAX_SPAN_MS:
            yield events[start:index]
            start = index
    if events:
        yield events[start:]


def _batches(
    items: Sequence[_Item], *, size_of: Callable[[_Item], int], most_items: int, most_bytes: int
) -> Iterator[Sequence[_Item]]:
    start = size = 0
    for index, item in enumerate(items):
        added = size_of(item)
        if index > start and (index - start == most_items or size + added > most_bytes):
            yield items[start:index]
            start, size = index, 0
        size += added
    if items:
        yield items[start:]


def _event_bytes(event: LogEvent) -> int:
    return len(event.message.encode()) + EVENT_OVERHEAD


def _value_bytes(value: MetricValue) -> int:
    """An upper bound of what a value takes in the request: its texts, the names of the fields, five numbers."""
    texts = len(value.name) + sum(len(name) + len(text) for name, text in value.dimensions)
    return 4 * texts + 40 * len(value.dimensions) + 320


class Telemetry:
    """Sends batches. Its methods may be called from several threads."""

    def __init__(self, *, cloudwatch: CloudWatchClient, logs: CloudWatchLogsClient) -> None:
        self._cloudwatch = cloudwatch
        self._logs = logs

    def put_metrics(self, namespace: str, batch: Sequence[MetricValue]) -> int:
        """Send one batch of `metric_batches`; how many of its values CloudWatch refused for good."""

        def put(part: Sequence[MetricValue]) -> int:
            with translating(f"sending {len(part)} metric values"):
                self._cloudwatch.put_metric_data(Namespace=namespace, MetricData=[_datum(value) for value in part])
            return 0

        return _halving(batch, put, refused=_REFUSED_METRICS)

    def put_events(self, batch: Sequence[LogEvent], *, group: str, stream: str) -> int:
        """Send one batch of `event_batches`; how many of its events were refused for good.

        Makes the stream if there is none; the group must exist.
        """

        def put(part: Sequence[LogEvent]) -> int:
            with translating(f"sending {len(part)} log lines to {group} {stream}"):
                return self._put_part(part, group=group, stream=stream)

        return _halving(batch, put, refused=_REFUSED_EVENTS)

    def _put_part(self, part: Sequence[LogEvent], *, group: str, stream: str) -> int:
        request: dict[str, Any] = {
            "logGroupName": group,
            "logStreamName": stream,
            "logEvents": [{"timestamp": event.timestamp_ms, "message": event.message} for event in part],
        }
        try:
            answer = self._logs.put_log_events(**request)
        except ClientError as error:
            if code_of(error) == "DataAlreadyAcceptedException":
                return 0
            if code_of(error) != "ResourceNotFoundException":
                raise
            self._make_stream(group, stream)
            answer = self._logs.put_log_events(**request)
        return _rejected(answer.get("rejectedLogEventsInfo") or {}, len(part))

    def _make_stream(self, group: str, stream: str) -> None:
        try:
            self._logs.create_log_stream(logGroupName=group, logStreamName=stream)
        except ClientError as error:
            if code_of(error) != "ResourceAlreadyExistsException":
                raise


def open_telemetry(region: str) -> Telemetry:
    """Telemetry to the region, with boto3's own credentials. Makes no call yet."""
    session = open_session(region).session
    return Telemetry(
        cloudwatch=session.client("cloudwatch", region_name=region, config=CONFIG),
        logs=session.client("logs", region_name=region, config=CONFIG),
    )


def _halving(batch: Sequence[_Item], put: Callable[[Sequence[_Item]], int], *, refused: frozenset[str]) -> int:
    """Put the batch; if AWS refuses it for what it holds, put its halves. How many single items were refused."""
    if not batch:
        return 0
    try:
        return put(batch)
    except DureError as error:
        cause = error.__cause__
        if not (isinstance(cause, ClientError) and code_of(cause) in refused):
            raise
    if len(batch) == 1:
        return 1
    middle = len(batch) // 2
    return _halving(batch[:middle], put, refused=refused) + _halving(batch[middle:], put, refused=refused)


def _rejected(info: Any, count: int) -> int:
    """How many of `count` events an answer's rejectedLogEventsInfo names: too old or expired ones, and too new ones."""
    old = max(info.get("tooOldLogEventEndIndex", 0), info.get("expiredLogEventEndIndex", 0))
    new = count - info.get("tooNewLogEventStartIndex", count)
    return min(count, int(old + new))


def _datum(value: MetricValue) -> MetricDatumTypeDef:
    datum: MetricDatumTypeDef = {
        "MetricName": value.name,
        "Unit": value.unit,  # type: ignore[typeddict-item]
        "Dimensions": [{"Name": name, "Value": text} for name, text in value.dimensions],
        "Timestamp": datetime.fromtimestamp(value.time, UTC),
        "StorageResolution": 1 if value.high_resolution else 60,
    }
    if value.count == 1:
        datum["Value"] = value.sum
    else:
        datum["StatisticValues"] = {
            "SampleCount": value.count,
            "Sum": value.sum,
            "Minimum": value.minimum,
            "Maximum": value.maximum,
        }
    return datum
