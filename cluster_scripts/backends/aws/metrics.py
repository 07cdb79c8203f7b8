"""The newest values of metrics, from CloudWatch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cluster_scripts.backends.aws.errors import translating
from cluster_scripts.backends.aws.session import Aws

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch.type_defs import MetricDataQueryTypeDef

# GetMetricData takes at most so many queries. Source: its API reference
MAX_QUERIES = 500


@dataclass(frozen=True)
class Query:
    """One metric with exactly these dimensions, under a name of the caller's choice."""

    label: str
    metric: str
    dimensions: Mapping[str, str]
    statistic: str = "Average"


@dataclass(frozen=True)
class Point:
    """A value and when it holds (the start of its period)."""

    value: float
    time: datetime


def newest(
    aws: Aws, namespace: str, queries: Sequence[Query], *, now: datetime, period: int, window: timedelta
) -> dict[str, Point]:
    """The newest value of each query within the window before now; a query without a value is left out.

    period: seconds that a value stands for. Raises an OtherSide.
    """
    found: dict[str, Point] = {}
    for start in range(0, len(queries), MAX_QUERIES):
        part = queries[start : start + MAX_QUERIES]
        found.update(_newest(aws, namespace, part, now=now, period=period, window=window))
    return found


def _newest(
    aws: Aws, namespace: str, queries: Sequence[Query], *, now: datetime, period: int, window: timedelta
) -> dict[str, Point]:
    found: dict[str, Point] = {}
    with translating(f"reading metrics of {namespace}"):
        pages = aws.cloudwatch.get_paginator("get_metric_data").paginate(
            MetricDataQueries=[_request(f"q{index}", query, namespace, period) for index, query in enumerate(queries)],
            StartTime=now - window,
            EndTime=now + timedelta(seconds=period),
            ScanBy="TimestampDescending",
        )
        for page in pages:
            for result in page["MetricDataResults"]:
                query = queries[int(result.get("Id", "q0")[1:])]
                for value, time in zip(result.get("Values", []), result.get("Timestamps", []), strict=False):
                    if query.label not in found or time > found[query.label].time:
                        found[query.label] = Point(value=value, time=time)
    return found


def _request(id: str, query: Query, namespace: str, period: int) -> MetricDataQueryTypeDef:
    return {
        "Id": id,
        "MetricStat": {
            "Metric": {
                "Namespace": namespace,
                "MetricName": query.metric,
                "Dimensions": [{"Name": name, "Value": value} for name, value in query.dimensions.items()],
            },
            "Period": period,
            "Stat": query.statistic,
        },
    }
