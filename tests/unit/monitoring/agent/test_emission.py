"""The agent emits exactly what the catalog lists, and the dashboard draws nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster_scripts.backends.aws.telemetry import MetricValue
from monitoring import catalog
from monitoring.agent.efa import Efa
from monitoring.agent.figures import JobFigures
from monitoring.agent.gpu import Gpus
from monitoring.agent.machine import Cpu, Disk, Memory, Network
from monitoring.agent.readings import Collector, Labels
from monitoring.agent.send import Losses
from tests.unit.monitoring.fakes import FakeNvml, block_folder, efa_folder, proc_folder
from tests.unit.monitoring.test_dashboard import body, drawn

HEAD = Labels(cluster="demo", node="head", queue="")
NODES = [Labels(cluster="demo", node=node, queue=node.partition("-")[0]) for node in ("gpu-1", "gpu-2", "cpu-1")]


def emitted(root: Path, labels: Labels) -> list[MetricValue]:
    """What a machine sends in one interval: eight GPUs, an EFA interface, job 7 on it."""
    proc, devices = root / "proc", root / "infiniband"
    counters = {
        "rx_bytes": 5,
        "tx_bytes": 5,
        "rdma_read_bytes": 5,
        "rdma_write_bytes": 5,
        "rx_drops": 1,
        "retrans_pkts": 1,
    }
    proc_folder(proc)
    efa_folder(devices, **dict.fromkeys(counters, 0))
    collectors: list[Collector] = [
        Cpu(proc),
        Memory(proc),
        Disk(proc, block=block_folder(root / "block"), root=root),
        Network(proc),
        Efa(devices),
        Gpus(FakeNvml(*[{}] * 8), print),
        Losses(),
    ]
    if labels is HEAD:
        lines = root / "fsx" / ".dure" / "metrics" / "7"
        lines.mkdir(parents=True)
        line = {"time": 1000.0, "step": 3, "loss": 9.5, "records_per_second": 3.2, "tokens_per_second": 3276.8}
        (lines / "rank-00000.jsonl").write_text(json.dumps(line) + "\n")
        parts = (".dure", "metrics")
        state = root / "figures.json"
        collectors.append(JobFigures(root / "fsx", parts, bucket_seconds=60, wall=lambda: 1000.0, state=state))
    readings = [reading for collector in collectors for reading in collector.collect(0.0)]
    proc_folder(proc, busy=50, received=10, sent=10)
    efa_folder(devices, **counters)
    readings += [reading for collector in collectors for reading in collector.collect(60.0)]
    return list(labels.values(readings, jobs=[] if labels is HEAD else ["7"], time=1000.0, high_resolution=False))


@pytest.fixture
def values(tmp_path: Path) -> list[MetricValue]:
    """What the head and three compute machines send."""
    return [value for labels in (HEAD, *NODES) for value in emitted(tmp_path / labels.node, labels)]


def test_the_catalog_is_emitted_whole_and_nothing_else(values: list[MetricValue]) -> None:
    sent = {(value.name, tuple(name for name, _ in value.dimensions)) for value in values}
    assert sent == {(metric.name, names) for metric in catalog.METRICS.values() for names in metric.dimensions}
    assert {(value.name, value.unit) for value in values} == {(m.name, m.unit) for m in catalog.METRICS.values()}


def test_every_line_of_the_dashboard_has_its_metric(values: list[MetricValue]) -> None:
    sent = {(value.name, value.dimensions) for value in values}
    lines = [line for line in drawn(body()) if line[0] == "Dure"]
    assert len(lines) > 90
    for _, name, dimensions in lines:
        matching = [
            found
            for metric, found in sent
            if metric == name
            and [label for label, _ in found] == list(dimensions)
            and all(dimensions[label] in (None, text) for label, text in found)
        ]
        assert matching, (name, dimensions)


def test_no_value_is_sent_twice_for_the_same_time(values: list[MetricValue]) -> None:
    shared = {catalog.JOB, catalog.QUEUE}  # several machines add to these
    keys = [
        (value.name, value.dimensions, value.time)
        for value in values
        if tuple(name for name, _ in value.dimensions) not in shared and value.count == 1
    ]
    per_machine = [key for key in keys if dict(key[1]).get("Node")]
    doubled = {key[0] for key in per_machine if per_machine.count(key) > 1}
    # Levels are sent at the interval's beginning and end by this test; rates, which need both, once.
    assert not {name for name in doubled if catalog.METRICS[name].unit.endswith("/Second")}
