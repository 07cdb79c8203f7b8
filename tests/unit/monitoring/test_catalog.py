"""The catalog's own rules."""

from __future__ import annotations

import re

from monitoring import catalog


def test_every_metric_is_one_that_cloudwatch_takes() -> None:
    allowed = {catalog.CLUSTER, catalog.NODE, catalog.QUEUE, catalog.JOB, catalog.GPU}
    for name, metric in catalog.METRICS.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        assert metric.name == name
        assert metric.unit in catalog.UNITS, name
        assert metric.statistic in catalog.STATISTICS, name
        assert metric.dimensions, name
        assert len(set(metric.dimensions)) == len(metric.dimensions), name
        assert set(metric.dimensions) <= allowed, name
        assert metric.title, name


def test_names_are_given_once() -> None:
    assert len(catalog.METRICS) == len(catalog._METRICS)


def test_what_has_no_unit_says_it_in_the_title() -> None:
    physical = {"gpu_temperature": "°C", "gpu_power": "W", "gpu_sm_clock": "MHz"}
    for name, unit in physical.items():
        assert f"({unit})" in catalog.METRICS[name].title
