"""`dure top`: the figures of every node and job, and a dash where there is none."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from cluster_scripts.backends.aws.cluster import AwsCluster
from cluster_scripts.backends.aws.metrics import Point, Query
from cluster_scripts.cli import top
from cluster_scripts.cli.main import main
from cluster_scripts.cli.table import cell_width
from monitoring.catalog import METRICS
from tests.unit.cluster_scripts.backends.aws.stubbed import FACTS
from tests.unit.cluster_scripts.cli.fakes import START, FakeCluster, a_job, a_node

VALUES = {
    "head cpu_utilization": 12.4,
    "gpu-1 cpu_utilization": 99.6,
    "gpu-1 gpu_utilization": 87.0,
    "job 12 loss": 9.87654,
    "job 12 records_per_second": 75.4,
    "job 12 tokens_per_second": 77209.6,
    "job 12 step": 1200.0,
}


def the_cluster() -> AwsCluster:
    cluster = FakeCluster(known={"12": a_job(name="한국어-gpt2"), "14": a_job("14", state="failed")})
    cluster.there = [a_node(), a_node("gpu-2", instance_id="")]
    cluster.__dict__.update(facts=FACTS, aws=None)
    return cast(AwsCluster, cluster)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Query]:
    queries: list[Query] = []

    def newest(aws: object, namespace: str, wanted: list[Query], **times: Any) -> dict[str, Point]:
        assert namespace == "Dure"
        queries.extend(wanted)
        now = datetime.now(UTC)
        return {q.label: Point(value=VALUES[q.label], time=now) for q in wanted if q.label in VALUES}

    monkeypatch.setattr(top, "newest", newest)
    monkeypatch.setattr(top, "open_aws", lambda target: the_cluster())
    return queries


def test_figures_are_shown_and_missing_ones_are_dashes(
    asked: list[Query], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["top", "--once"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[3][:7] == ["head", "up", "-", "12", "-", "-", "-"]
    assert rows[4][:7] == ["gpu-1", "allocated", "12", "100", "-", "87", "-"]
    assert rows[7][0] == "12"
    assert rows[7][-4:] == ["1,200", "9.8765", "75.40", "77,210"]
    assert not any(row[:1] == ["gpu-2"] for row in rows)


def test_every_query_is_one_that_the_catalog_emits(asked: list[Query]) -> None:
    main(["top", "--once", "--json", "--all"])
    assert {q.label.split()[0] for q in asked} == {"head", "gpu-1", "gpu-2", "job"}
    for query in asked:
        assert tuple(query.dimensions) in METRICS[query.metric].dimensions, query


def test_json_has_every_figure_by_name(asked: list[Query], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [node["name"] for node in answer["nodes"]] == ["head", "gpu-1"]
    assert answer["nodes"][1]["metrics"]["gpu_utilization"] == 87.0
    assert answer["nodes"][1]["metrics"]["memory_utilization"] is None
    (job,) = answer["jobs"]
    assert job["metrics"] == {"step": 1200.0, "loss": 9.87654, "records_per_second": 75.4, "tokens_per_second": 77209.6}


@pytest.mark.parametrize(("interval", "period"), [(1, 1), (2, 5), (5, 5), (30, 30), (31, 60), (60, 60)])
def test_the_period_is_one_that_cloudwatch_keeps(interval: int, period: int) -> None:
    assert top.period_of(interval) == period


@pytest.mark.parametrize("width", [30, 80, 200])
def test_the_view_fits_the_terminal(width: int, asked: list[Query]) -> None:
    view = top.look(the_cluster(), now=START, everything=True)
    assert all(cell_width(line) <= width for line in top.lines(view, width=width))
