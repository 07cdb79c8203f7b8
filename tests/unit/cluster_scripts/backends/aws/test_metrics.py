"""The newest value of each metric, however CloudWatch pages and orders them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from cluster_scripts.backends.aws.metrics import MAX_QUERIES, Query, newest
from tests.unit.cluster_scripts.backends.aws.stubbed import Stubs, stubbed

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
CPU = Query(label="gpu-1 cpu", metric="cpu_utilization", dimensions={"Cluster": "k", "Node": "gpu-1"})
LOSS = Query(label="job 12 loss", metric="loss", dimensions={"Cluster": "k", "Job": "12"}, statistic="Minimum")


@pytest.fixture
def stubs() -> Iterator[Stubs]:
    with stubbed() as there:
        yield there


def at(seconds: int) -> datetime:
    return NOW - timedelta(seconds=seconds)


def test_the_newest_value_counts_over_all_pages(stubs: Stubs) -> None:
    expected = {
        "MetricDataQueries": [
            {
                "Id": f"q{index}",
                "MetricStat": {
                    "Metric": {
                        "Namespace": "Dure",
                        "MetricName": query.metric,
                        "Dimensions": [{"Name": n, "Value": v} for n, v in query.dimensions.items()],
                    },
                    "Period": 60,
                    "Stat": query.statistic,
                },
            }
            for index, query in enumerate((CPU, LOSS))
        ],
        "StartTime": at(180),
        "EndTime": NOW + timedelta(seconds=60),
        "ScanBy": "TimestampDescending",
    }
    first = {"Id": "q0", "Values": [50.0, 40.0], "Timestamps": [at(60), at(120)]}
    stubs["cloudwatch"].add_response("get_metric_data", {"MetricDataResults": [first], "NextToken": "t"}, expected)
    rest = [{"Id": "q0", "Values": [1.0], "Timestamps": [at(170)]}, {"Id": "q1", "Values": [], "Timestamps": []}]
    stubs["cloudwatch"].add_response("get_metric_data", {"MetricDataResults": rest}, {**expected, "NextToken": "t"})
    found = newest(stubs.aws, "Dure", [CPU, LOSS], now=NOW, period=60, window=timedelta(seconds=180))
    assert {label: point.value for label, point in found.items()} == {"gpu-1 cpu": 50.0}
    assert found["gpu-1 cpu"].time == at(60)


def test_many_queries_go_in_several_requests(stubs: Stubs) -> None:
    queries = [Query(label=f"n{n}", metric="m", dimensions={}) for n in range(MAX_QUERIES + 1)]
    stubs["cloudwatch"].add_response("get_metric_data", {"MetricDataResults": []})
    last = {"Id": "q0", "Values": [1.0], "Timestamps": [at(1)]}
    stubs["cloudwatch"].add_response("get_metric_data", {"MetricDataResults": [last]})
    found = newest(stubs.aws, "Dure", queries, now=NOW, period=60, window=timedelta(seconds=180))
    assert list(found) == [f"n{MAX_QUERIES}"]


def test_no_query_makes_no_request(stubs: Stubs) -> None:
    assert newest(stubs.aws, "Dure", [], now=NOW, period=60, window=timedelta(seconds=180)) == {}
