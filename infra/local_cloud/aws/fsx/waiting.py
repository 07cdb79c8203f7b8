"""The metric by which FSx says how far its automatic export is behind: AWS/FSx, AgeOfOldestQueuedMessage."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from moto.cloudwatch.models import cloudwatch_backends

from infra.local_cloud.aws.cloud import ACCOUNT, Cloud
from infra.local_cloud.aws.fsx.state import Association, FsxState

# FSx speaks of minutes: what an ordinary scan sends within seconds is never seen waiting
SHOWN_SECONDS = 5.0
#: How often it is said that nothing waits.
EVERY_SECONDS = 10.0


def publish(cloud: Cloud, region: str) -> None:
    """After a scan: the age of the oldest change of each file system that exports."""
    state = cloud.store(FsxState, region)
    for identity in list(state.file_systems):
        ages = [_age(cloud, each) for each in state.of(identity) if each.events("AutoExportPolicy")]
        seconds = max(ages, default=0.0)
        seconds = seconds if seconds >= SHOWN_SECONDS else 0.0
        said, at = state.waiting.get(identity, (-1.0, 0.0))
        if ages and (seconds or seconds != said or cloud.clock() - at >= EVERY_SECONDS):
            state.waiting[identity] = (seconds, cloud.clock())
            _put(region, identity, seconds)


def _age(cloud: Cloud, association: Association) -> float:
    """Seconds since the oldest change that is not exported yet."""
    times = [modified for _, modified in association.candidates.values()]
    return max(0.0, cloud.clock() - min(times) / 1e9) if times else 0.0


def _put(region: str, identity: str, seconds: float) -> None:
    datum: dict[str, Any] = {
        "MetricName": "AgeOfOldestQueuedMessage",
        "Dimensions": [
            {"Name": "FileSystemId", "Value": identity},
            {"Name": "Publisher", "Value": "AutoExport"},
        ],
        "Timestamp": datetime.now(UTC).replace(tzinfo=None),  # as moto keeps them
        "Value": seconds,
        "Unit": "Seconds",
    }
    # past the gateway: PutMetricData takes no namespace of AWS's own
    cloudwatch_backends[ACCOUNT][region].put_metric_data("AWS/FSx", [datum])
