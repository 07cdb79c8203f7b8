"""The telemetry adapter: batches within AWS's limits, every kind of answer. The stubber checks each request's shape."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

from cluster_scripts.backends.aws.telemetry import (
    CONFIG,
    EVENT_OVERHEAD,
    MAX_BATCH_BYTES,
    MAX_EVENTS,
    MAX_MESSAGE_BYTES,
    MAX_SPAN_MS,
    MAX_VALUE_BYTES,
    MAX_VALUES,
    MetricValue,
    Telemetry,
    _datum,
    event_batches,
    metric_batches,
    open_telemetry,
)
from cluster_scripts.jobs.errors import DureError, OtherSide, Refused, Throttled, Unreachable
from cluster_scripts.jobs.model import LogEvent

GROUP, STREAM = "/dure/demo/jobs", "7"


def value(number: float = 1.0, *, count: float = 1, name: str = "loss", dimension: str = "demo") -> MetricValue:
    return MetricValue(name, "None", (("Cluster", dimension),), 1_000_000.0, count, number * count, number, number)


def event(message: str = "line", *, at: int = 1000) -> LogEvent:
    return LogEvent(timestamp_ms=at, message=message)


@cache
def clients() -> tuple[Any, Any]:
    """Made once: reading the services' models takes most of a test's time."""
    session = boto3.session.Session(region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
    return session.client("cloudwatch"), session.client("logs")


class World:
    """Telemetry on stubbed clients."""

    def __init__(self) -> None:
        cloudwatch, logs = clients()
        self.metrics, self.logs = Stubber(cloudwatch), Stubber(logs)
        self.telemetry = Telemetry(cloudwatch=cloudwatch, logs=logs)

    def takes(self, answer: dict[str, Any] | None = None, **request: Any) -> None:
        expected = {"logGroupName": GROUP, "logStreamName": STREAM, "logEvents": ANY} | request
        self.logs.add_response("put_log_events", answer or {}, expected)

    def refuses(self, code: str, *, call: str = "put_log_events", status: int = 400) -> None:
        self.logs.add_client_error(call, code, "said so", http_status_code=status)

    def makes_stream(self) -> None:
        self.logs.add_response("create_log_stream", {}, {"logGroupName": GROUP, "logStreamName": STREAM})

    def put(self, *messages: str) -> int:
        return self.telemetry.put_events([event(message) for message in messages], group=GROUP, stream=STREAM)


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    with world.metrics, world.logs:
        yield world
    world.metrics.assert_no_pending_responses()
    world.logs.assert_no_pending_responses()


def test_metric_batches_keep_order_and_count() -> None:
    values = [value(number) for number in range(2 * MAX_VALUES + 5)]
    batches = list(metric_batches(values))
    assert [len(batch) for batch in batches] == [MAX_VALUES, MAX_VALUES, 5]
    assert [one for batch in batches for one in batch] == values
    assert list(metric_batches([])) == []


def test_a_batch_of_metrics_stays_below_a_megabyte() -> None:
    values = [value(number, count=3, name="m" * 255, dimension="한" * 255) for number in range(1000)]
    for batch in metric_batches(values):
        sent = json.dumps([_datum(one) for one in batch], default=str, ensure_ascii=False).encode()
        assert len(sent) <= MAX_VALUE_BYTES
    assert len(list(metric_batches(values))) > 1


def test_event_batches_by_count_size_and_span() -> None:
    assert [len(batch) for batch in event_batches([event()] * (MAX_EVENTS + 1))] == [MAX_EVENTS, 1]
    longest = event("방" * (MAX_MESSAGE_BYTES // 3))
    sizes = [sum(len(one.message.encode()) + EVENT_OVERHEAD for one in batch) for batch in event_batches([longest] * 9)]
    assert len(sizes) == 3
    assert all(size <= MAX_BATCH_BYTES for size in sizes)
    days = [event(at=0), event(at=MAX_SPAN_MS - 1), event(at=MAX_SPAN_MS), event(at=3 * MAX_SPAN_MS)]
    assert [[one.timestamp_ms for one in batch] for batch in event_batches(days)] == [
        [0, MAX_SPAN_MS - 1],
        [MAX_SPAN_MS],
        [3 * MAX_SPAN_MS],
    ]
    assert list(event_batches([])) == []


def test_metrics_are_sent_as_single_values_and_statistic_sets(world: World) -> None:
    world.metrics.add_response("put_metric_data", {}, {"Namespace": "Dure", "MetricData": ANY})
    assert world.telemetry.put_metrics("Dure", [value(2.0), value(2.0, count=3)]) == 0
    single, several = _datum(value(2.0)), _datum(value(2.0, count=3))
    assert single["Value"] == 2.0
    assert single["Dimensions"] == [{"Name": "Cluster", "Value": "demo"}]
    assert single["StorageResolution"] == 60
    assert several["StatisticValues"] == {"SampleCount": 3, "Sum": 6.0, "Minimum": 2.0, "Maximum": 2.0}


def test_one_bad_value_does_not_take_the_others_with_it(world: World) -> None:
    """Four values, of which the third is refused: halves, then single ones."""

    def taken() -> None:
        world.metrics.add_response("put_metric_data", {}, {"Namespace": "Dure", "MetricData": ANY})

    def refused() -> None:
        world.metrics.add_client_error("put_metric_data", "InvalidParameterValue", "no", http_status_code=400)

    refused()  # all four
    taken()  # the first two
    refused()  # the last two
    refused()  # the third
    taken()  # the fourth
    assert world.telemetry.put_metrics("Dure", [value(number) for number in range(4)]) == 1


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("Throttling", Throttled),
        ("AccessDenied", Refused),
        ("ExpiredToken", Refused),
        ("InternalFailure", Unreachable),
        ("Surprise", OtherSide),
    ],
)
def test_what_may_work_later_is_raised(world: World, code: str, error: type[DureError]) -> None:
    world.metrics.add_client_error("put_metric_data", code, "said so", http_status_code=400)
    with pytest.raises(error, match="sending 1 metric values"):
        world.telemetry.put_metrics("Dure", [value()])


def test_events_are_sent_in_order(world: World) -> None:
    sent = [{"timestamp": 1000, "message": "하나"}, {"timestamp": 1000, "message": "둘"}]
    world.takes(logEvents=sent)
    assert world.put("하나", "둘") == 0


def test_a_missing_stream_is_made(world: World) -> None:
    world.refuses("ResourceNotFoundException")
    world.makes_stream()
    world.takes()
    assert world.put("one") == 0


def test_a_stream_that_somebody_else_just_made_is_used(world: World) -> None:
    world.refuses("ResourceNotFoundException")
    world.refuses("ResourceAlreadyExistsException", call="create_log_stream")
    world.takes()
    assert world.put("one") == 0


def test_a_missing_group_is_an_error(world: World) -> None:
    world.refuses("ResourceNotFoundException")
    world.refuses("ResourceNotFoundException", call="create_log_stream")
    with pytest.raises(OtherSide, match=r"sending 1 log lines to /dure/demo/jobs 7"):
        world.put("one")


def test_what_was_accepted_already_is_done(world: World) -> None:
    world.refuses("DataAlreadyAcceptedException")
    assert world.put("one") == 0


@pytest.mark.parametrize(
    ("info", "refused"),
    [
        ({}, 0),
        ({"tooOldLogEventEndIndex": 2}, 2),
        ({"expiredLogEventEndIndex": 1, "tooOldLogEventEndIndex": 2}, 2),
        ({"tooNewLogEventStartIndex": 3}, 1),
        ({"tooOldLogEventEndIndex": 1, "tooNewLogEventStartIndex": 3}, 2),
    ],
)
def test_events_that_are_too_old_or_too_new_are_counted(world: World, info: dict[str, int], refused: int) -> None:
    world.takes({"rejectedLogEventsInfo": info})
    assert world.put("a", "b", "c", "d") == refused


def test_one_bad_event_does_not_take_the_others_with_it(world: World) -> None:
    world.refuses("InvalidParameterException")
    world.refuses("InvalidParameterException")
    world.takes(logEvents=[{"timestamp": 1000, "message": "good"}])
    assert world.put("bad", "good") == 1


@pytest.mark.parametrize("code", ["ThrottlingException", "ServiceUnavailableException", "UnrecognizedClientException"])
def test_events_that_may_arrive_later_are_kept_by_the_caller(world: World, code: str) -> None:
    world.refuses(code)
    with pytest.raises(DureError, match="said so"):
        world.put("one")


def test_no_answer_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {
        "ACCESS_KEY_ID": "test",
        "SECRET_ACCESS_KEY": "test",
        "ENDPOINT_URL": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(f"AWS_{name}", text)
    telemetry = open_telemetry("us-east-1")
    with pytest.raises(Unreachable, match="sending 1 metric values"):
        telemetry.put_metrics("Dure", [value()])


def test_the_agent_can_stop_within_seconds() -> None:
    config: Any = CONFIG
    assert config.retries["total_max_attempts"] * (config.connect_timeout + config.read_timeout) <= 30
