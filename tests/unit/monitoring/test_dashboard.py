"""The dashboard's body: CloudWatch's structure rules and limits, and that only what the catalog has is drawn."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from monitoring import catalog
from monitoring.dashboards import cluster as module
from monitoring.dashboards.cluster import dashboard_body

ROOT = Path(__file__).parents[3]
SEARCH = re.compile(
    r"""SEARCH\('\{"(?P<namespace>[^"]+)",(?P<dimensions>[A-Za-z,]+)\} """
    r"""MetricName="(?P<name>\w+)" Cluster="(?P<cluster>[^"]+)"', '(?P<stat>\w+)', (?P<period>\d+)\)"""
)
SORT = re.compile(r"SORT\((?P<search>SEARCH\(.*\)), (AVG|MIN|MAX|SUM), (ASC|DESC), (?P<limit>\d+)\)")


def body(**changes: Any) -> dict[str, Any]:
    """The body of a small cluster."""
    arguments: dict[str, Any] = {
        "cluster": "demo",
        "region": "us-east-1",
        "queues": ["gpu", "cpu"],
        "nodes": ["gpu-1", "gpu-2", "cpu-1"],
        "file_system_id": "fs-0123",
        "namespace": "Dure",
    }
    return dashboard_body(**(arguments | changes))


def graphs(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [widget["properties"] for widget in found["widgets"] if widget["type"] == "metric"]


def drawn(found: dict[str, Any]) -> list[tuple[str, str, dict[str, str | None]]]:
    """(namespace, metric, dimensions) of every line; a dimension that a SEARCH leaves open is None."""
    lines: list[tuple[str, str, dict[str, str | None]]] = []
    for graph in graphs(found):
        for line in graph["metrics"]:
            if isinstance(line[0], str):
                pairs = line[2:-1]
                lines.append((line[0], line[1], dict(zip(pairs[::2], pairs[1::2], strict=True))))
            elif match := SEARCH.search(line[0]["expression"]):
                names = match["dimensions"].split(",")
                open_ones: dict[str, str | None] = dict.fromkeys(names)
                lines.append((match["namespace"], match["name"], open_ones | {"Cluster": match["cluster"]}))
    return lines


def series(line: list[Any], *, gpus: int, jobs: int) -> int:
    """How many time series a line can draw."""
    if isinstance(line[0], str):
        return 1
    match = SORT.fullmatch(line[0]["expression"])
    return min(int(match["limit"]), max(gpus, jobs)) if match else 1


def test_structure() -> None:
    found = body()
    assert set(found) == {"start", "periodOverride", "widgets"}
    assert re.fullmatch(r"-PT\d+H", found["start"])
    assert found["periodOverride"] == "inherit"
    for widget in found["widgets"]:
        assert set(widget) == {"type", "x", "y", "width", "height", "properties"}
        assert widget["type"] in ("metric", "text")
        assert widget["x"] >= 0 and widget["width"] >= 1 and widget["x"] + widget["width"] <= 24
        assert widget["y"] >= 0 and 1 <= widget["height"] <= 1000
    for graph in graphs(found):
        assert graph["title"] and graph["region"] == "us-east-1"
        assert graph["view"] == "timeSeries" and graph["stacked"] is False
        assert graph["period"] in (1, 5, 10, 30) or graph["period"] % 60 == 0
        assert graph["metrics"]
        assert set(graph["yAxis"]) == {"left"}
    assert json.loads(json.dumps(found)) == found


def test_widgets_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for widget in body()["widgets"]:
        cells = {
            (x, y)
            for x in range(widget["x"], widget["x"] + widget["width"])
            for y in range(widget["y"], widget["y"] + widget["height"])
        }
        assert not cells & taken
        taken |= cells


def test_lines() -> None:
    for graph in graphs(body()):
        ids = [options["id"] for line in graph["metrics"] if "id" in (options := line[-1])]
        assert len(ids) == len(set(ids))
        assert all(re.fullmatch(r"[a-z][A-Za-z0-9_]*", one) for one in ids)
        for line in graph["metrics"]:
            options = line[-1]
            assert set(options) <= {"stat", "label", "id", "visible", "expression"}
            if "expression" not in options:
                assert options["stat"] in catalog.STATISTICS
                assert len(line) % 2 == 1, "namespace, name, pairs of dimensions, options"
                continue
            expression = options["expression"]
            if "SEARCH" in expression:
                assert len(SEARCH.findall(expression)) == 1, expression
                assert len(expression) <= 1024
            else:
                assert set(re.findall(r"m\d", expression)) <= set(ids)


@pytest.mark.parametrize("nodes", [0, 1, 8, 50, 51, 1000])
def test_limits_hold_for_any_size(nodes: int) -> None:
    found = body(nodes=[f"gpu-{number}" for number in range(1, nodes + 1)], queues=[f"q{n}" for n in range(10)])
    assert len(found["widgets"]) <= 500
    assert len(json.dumps(found)) < 1_000_000
    in_all = 0
    for graph in graphs(found):
        count = sum(series(line, gpus=8 * nodes, jobs=100) for line in graph["metrics"])
        assert count <= 500, graph["title"]
        in_all += count
    assert in_all <= 2500


def test_machines_are_listed_up_to_the_bound_and_searched_above() -> None:
    few = [line for line in drawn(body(nodes=["gpu-1"])) if line[1] == "cpu_iowait"]
    assert [line[2]["Node"] for line in few] == ["head", "gpu-1"]
    many = [line for line in drawn(body(nodes=[f"gpu-{n}" for n in range(60)])) if line[1] == "cpu_iowait"]
    assert [line[2] for line in many] == [{"Cluster": "demo", "Node": None}]


def test_the_head_is_drawn_once() -> None:
    lines = [line for line in drawn(body(nodes=["head", "gpu-1"])) if line[1] == "cpu_iowait"]
    assert [line[2]["Node"] for line in lines] == ["head", "gpu-1"]


def test_every_line_is_in_the_catalog_with_those_dimensions() -> None:
    lines = drawn(body())
    for namespace, name, dimensions in lines:
        if namespace == "AWS/FSx":
            assert dimensions == {"FileSystemId": "fs-0123"}
            continue
        assert namespace == "Dure"
        assert tuple(dimensions) in catalog.METRICS[name].dimensions
        assert dimensions["Cluster"] == "demo"
    ours = {name for namespace, name, _ in lines if namespace == "Dure"}
    assert ours >= set(catalog.METRICS) - {"memory_available", "gpu_ecc_corrected"}


def test_a_line_that_nobody_emits_is_refused() -> None:
    lines = module._Lines(cluster="demo", namespace="Dure", nodes=[], queues=["gpu"], period=60)
    with pytest.raises(ValueError, match="loss is emitted with"):
        lines.by_queue("loss")


@pytest.mark.parametrize(("asked", "got"), [(1, 1), (2, 5), (5, 5), (60, 60), (61, 120), (3600, 300)])
def test_periods_are_those_of_cloudwatch(asked: int, got: int) -> None:
    found = body(period_seconds=asked)
    periods = {graph["period"] for graph in graphs(found) if not graph["title"].startswith("FSx")}
    assert periods == {got}
    searched = {int(match["period"]) for match in SEARCH.finditer(json.dumps(found).replace('\\"', '"'))}
    assert searched == {got}
    assert {graph["period"] for graph in graphs(found) if graph["title"].startswith("FSx")} == {60}


def test_the_statistics_are_the_catalogs() -> None:
    for graph in graphs(body()):
        for line in graph["metrics"]:
            if line[0] == "Dure":
                assert line[-1]["stat"] == catalog.METRICS[line[1]].statistic
            elif not isinstance(line[0], str) and (match := SEARCH.search(line[0]["expression"])):
                assert match["stat"] == catalog.METRICS[match["name"]].statistic


def test_it_loads_as_the_stack_loads_it() -> None:
    make = runpy.run_path(str(ROOT / "monitoring" / "dashboards" / "cluster.py"))["dashboard_body"]
    arguments: dict[str, Any] = {"queues": ["gpu", "cpu"], "nodes": ["gpu-1", "gpu-2", "cpu-1"], "namespace": "Dure"}
    assert make(cluster="demo", region="us-east-1", file_system_id="fs-0123", **arguments) == body()


def test_it_loads_by_its_path_without_our_packages(tmp_path: Path) -> None:
    path = ROOT / "monitoring" / "dashboards" / "cluster.py"
    program = (
        "import importlib.util, json, sys\n"
        "spec = importlib.util.spec_from_file_location('dashboard', sys.argv[1])\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "body = module.dashboard_body(cluster='${Token[a.1]}', region='r', queues=['q'], nodes=['q-1'],\n"
        "                             file_system_id='${Token[b.2]}', namespace='Dure')\n"
        "assert not [name for name in sys.modules if name.split('.')[0] in ('monitoring', 'cluster_scripts')]\n"
        "print(json.dumps(body))\n"
    )
    run = subprocess.run(
        [sys.executable, "-I", "-c", program, str(path)], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert "${Token[b.2]}" in run.stdout
    assert len(json.loads(run.stdout)["widgets"]) == len(body()["widgets"])
