"""Readings to metric values."""

from __future__ import annotations

import math

import pytest

from monitoring.agent.readings import Labels, Reading, reading, summary

NODE = Labels(cluster="demo", node="gpu-1", queue="gpu")


def dimensions(labels: Labels, one: Reading, *jobs: str) -> list[dict[str, str]]:
    return [dict(value.dimensions) for value in labels.values([one], jobs=jobs, time=5.0, high_resolution=False)]


def test_a_machines_reading_is_emitted_for_the_machine_its_queue_and_each_job() -> None:
    found = dimensions(NODE, reading("cpu_utilization", 5), "7", "8_2")
    assert found == [
        {"Cluster": "demo", "Node": "gpu-1"},
        {"Cluster": "demo", "Queue": "gpu"},
        {"Cluster": "demo", "Job": "7"},
        {"Cluster": "demo", "Job": "8_2"},
    ]


def test_the_head_has_no_queue() -> None:
    head = Labels(cluster="demo", node="head", queue="")
    assert dimensions(head, reading("cpu_utilization", 5)) == [{"Cluster": "demo", "Node": "head"}]


def test_a_gpus_reading_is_emitted_for_that_gpu_only() -> None:
    found = dimensions(NODE, reading("gpu_utilization", 5, {"Gpu": "3"}), "7")
    assert found == [{"Cluster": "demo", "Node": "gpu-1", "Gpu": "3"}]


def test_a_jobs_reading_is_emitted_for_that_job_and_the_cluster() -> None:
    found = dimensions(NODE, reading("loss", 5, {"Job": "9"}), "7")
    assert found == [{"Cluster": "demo"}, {"Cluster": "demo", "Job": "9"}]


def test_a_summary_keeps_count_sum_and_extremes() -> None:
    value = next(NODE.values([summary("cpu_iowait", [1, 2, 6])], jobs=[], time=5.0, high_resolution=True))
    assert (value.count, value.sum, value.minimum, value.maximum) == (3, 9, 1, 6)
    assert (value.time, value.high_resolution, value.unit) == (5.0, True, "Percent")


def test_a_readings_own_time_counts() -> None:
    one = summary("loss", [1.0], {"Job": "9"}, time=3.0)
    assert {value.time for value in NODE.values([one], jobs=[], time=5.0, high_resolution=False)} == {3.0}


@pytest.mark.parametrize("wild", [math.nan, math.inf, -math.inf, 1e300, 1e-300])
def test_a_value_that_cloudwatch_refuses_is_left_out(wild: float) -> None:
    assert dimensions(NODE, reading("loss", wild, {"Job": "9"})) == []


def test_zero_is_a_value() -> None:
    assert len(dimensions(NODE, reading("network_drops", 0))) == 1
