"""The cluster's CloudWatch dashboard: the job on top, then GPUs, machines, EFA, FSx for Lustre, the agent.

    body = dashboard_body(cluster="kogpt2", region="us-east-1", queues=["gpu"], nodes=["gpu-1", "gpu-2"],
                          file_system_id="fs-0123", namespace="Dure")

Pure and standard library only. It is loaded by its path (without our packages on sys.path) and finds the
catalog beside it, so what is drawn and what is emitted come from one table. Any text argument may be a
deployment-time token: nothing looks into it.

How node sets are drawn: names known at deployment are listed one by one, for such a graph shows a machine
from its first value on. A SEARCH finds a metric only some minutes after its first value, so it is used where
names can't be known or are too many: single GPUs, jobs, and machines of a cluster above EXPLICIT_NODES.

Structure: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
Limits (CloudWatch service quotas): 500 widgets a dashboard, 500 metrics a graph, 2,500 metrics a dashboard,
500 time series a SEARCH of at most 1,024 characters. SORT keeps the graphs of single GPUs and of jobs
readable, and far below them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from monitoring import catalog
else:
    _path = Path(__file__).parents[1] / "catalog.py"
    _spec = importlib.util.spec_from_file_location("dure_metrics_catalog", _path)
    catalog = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(catalog)

Widget = dict[str, Any]
Line = list[Any]

COLUMNS: Final = 24
EXPLICIT_NODES: Final = 50
SHOWN_SERIES: Final = 100
PERIODS: Final = (1, 5, 10, 30, 60, 120, 300)


def dashboard_body(
    *,
    cluster: str,
    region: str,
    queues: Sequence[str],
    nodes: Sequence[str],
    file_system_id: str,
    namespace: str,
    period_seconds: int = 60,
) -> dict[str, Any]:
    """The body that PutDashboard takes, as a dict for json.dumps.

    nodes: every name that a machine can have (QUEUE-1 to QUEUE-MAX); the head is added if it is missing.
    period_seconds: width of a graph's points; one that is not in PERIODS becomes the next longer one.
    """
    period = next((allowed for allowed in PERIODS if allowed >= period_seconds), PERIODS[-1])
    names = list(dict.fromkeys([catalog.HEAD_NODE, *nodes]))
    draw = _Lines(cluster=cluster, namespace=namespace, nodes=names, queues=list(queues), period=period)
    rows = [
        ("Job", _job_row(draw)),
        ("GPU", _gpu_row(draw)),
        ("Machines", _machine_row(draw)),
        ("EFA", _efa_row(draw)),
        ("FSx for Lustre", _file_system_row(file_system_id)),
        ("Agent", _agent_row(draw)),
    ]
    widgets: list[Widget] = []
    top = 0
    for title, graphs in rows:
        widgets.append(_heading(title, y=top))
        top += 1
        placed, top = _place(graphs, y=top)
        widgets.extend(placed)
    for widget in widgets:
        if widget["type"] == "metric":
            widget["properties"].update(region=region)
            widget["properties"].setdefault("period", period)
    return {"start": "-PT3H", "periodOverride": "inherit", "widgets": widgets}


class _Lines:
    """Writes the lines of a graph, each for one metric of the catalog with one of its dimension sets."""

    def __init__(self, *, cluster: str, namespace: str, nodes: list[str], queues: list[str], period: int) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._nodes = nodes
        self._queues = queues
        self._period = period

    def by_node(self, name: str, label: str = "") -> list[Line]:
        """One line a machine."""
        if len(self._nodes) > EXPLICIT_NODES:
            return [self._search(name, catalog.NODE, label=f"{label}${{PROP('Dim.Node')}}")]
        return [self._metric(name, {"Node": node}, label=f"{label}{node}") for node in self._nodes]

    def by_queue(self, name: str) -> list[Line]:
        """One line a queue: the statistic over its machines."""
        return [self._metric(name, {"Queue": queue}, label=queue) for queue in self._queues]

    def by_gpu(self, name: str, *, order: str) -> list[Line]:
        """One line a GPU, SHOWN_SERIES at most: order is e.g. "AVG, ASC" for those with the least first."""
        label = "${PROP('Dim.Node')} ${PROP('Dim.Gpu')}"
        return [self._search(name, catalog.GPU, label=label, order=order)]

    def by_job(self, name: str, label: str = "") -> list[Line]:
        """One line a job, the newest values highest."""
        return [self._search(name, catalog.JOB, label=f"{label}job ${{PROP('Dim.Job')}}", order="MAX, DESC")]

    def total(self, name: str) -> list[Line]:
        """One line: whatever runs in the cluster."""
        return [self._metric(name, {}, label="cluster")]

    def _metric(self, name: str, values: dict[str, str], *, label: str) -> Line:
        metric = catalog.METRICS[name]
        dimensions = {"Cluster": self._cluster, **values}
        _check_dimensions(metric, tuple(dimensions))
        pairs = [part for pair in dimensions.items() for part in pair]
        return [self._namespace, name, *pairs, {"stat": metric.statistic, "label": label}]

    def _search(self, name: str, dimensions: tuple[str, ...], *, label: str, order: str = "") -> Line:
        metric = catalog.METRICS[name]
        _check_dimensions(metric, dimensions)
        schema = ",".join([f'"{self._namespace}"', *dimensions])
        terms = f'{{{schema}}} MetricName="{name}" Cluster="{self._cluster}"'
        search = f"SEARCH('{terms}', '{metric.statistic}', {self._period})"
        expression = f"SORT({search}, {order}, {SHOWN_SERIES})" if order else search
        return [{"expression": expression, "label": label}]


def _check_dimensions(metric: Any, dimensions: tuple[str, ...]) -> None:
    if dimensions not in metric.dimensions:
        raise ValueError(f"{metric.name} is emitted with {metric.dimensions}, not with {dimensions}")


def _job_row(draw: _Lines) -> list[Widget]:
    return [
        _graph("loss", draw.total("loss") + draw.by_job("loss")),
        _graph("records_per_second", draw.total("records_per_second") + draw.by_job("records_per_second")),
        _graph("tokens_per_second", draw.total("tokens_per_second") + draw.by_job("tokens_per_second")),
        _graph("step", draw.by_job("step")),
        _graph("loss_not_finite", draw.total("loss_not_finite")),
        _graph("gpu_utilization", draw.by_job("gpu_utilization"), title="GPU busy by job (%)", percent=True),
    ]


def _gpu_row(draw: _Lines) -> list[Widget]:
    errors = draw.by_node("gpu_xid_errors", "Xid ") + draw.by_node("gpu_ecc_uncorrected", "ECC ")
    return [
        _graph("gpu_utilization", draw.by_queue("gpu_utilization"), title="GPU busy by queue (%)", percent=True),
        _graph("gpu_utilization", draw.by_node("gpu_utilization"), title="GPU busy by machine (%)", percent=True),
        _graph(
            "gpu_utilization",
            draw.by_gpu("gpu_utilization", order="AVG, ASC"),
            title="GPU busy, least busy first (%)",
            percent=True,
        ),
        _graph("gpu_memory_utilization", draw.by_gpu("gpu_memory_utilization", order="MAX, DESC"), percent=True),
        _graph("gpu_temperature", draw.by_gpu("gpu_temperature", order="MAX, DESC")),
        _graph("gpu_power", draw.by_gpu("gpu_power", order="AVG, DESC")),
        _graph("gpu_sm_clock", draw.by_gpu("gpu_sm_clock", order="AVG, ASC")),
        _graph("gpu_throttled", draw.by_gpu("gpu_throttled", order="MAX, DESC")),
        _graph("gpu_xid_errors", errors, title="GPU errors: Xid, ECC uncorrected"),
    ]


def _machine_row(draw: _Lines) -> list[Widget]:
    disk = draw.by_node("disk_read_bytes", "read ") + draw.by_node("disk_write_bytes", "write ")
    return [
        _graph("cpu_utilization", draw.by_node("cpu_utilization"), percent=True),
        _graph("cpu_utilization", draw.by_queue("cpu_utilization"), title="CPU busy by queue (%)", percent=True),
        _graph("cpu_iowait", draw.by_node("cpu_iowait"), percent=True),
        _graph("memory_utilization", draw.by_node("memory_utilization"), percent=True),
        _graph("disk_utilization", draw.by_node("disk_utilization"), percent=True),
        _graph("disk_read_bytes", disk, title="Disk reads and writes (bytes/s)"),
        _graph("network_receive_bytes", draw.by_node("network_receive_bytes")),
        _graph("network_transmit_bytes", draw.by_node("network_transmit_bytes")),
        _graph("network_drops", draw.by_node("network_drops")),
    ]


def _efa_row(draw: _Lines) -> list[Widget]:
    rdma = draw.by_node("efa_rdma_read_bytes", "read ") + draw.by_node("efa_rdma_write_bytes", "write ")
    losses = draw.by_node("efa_drops", "dropped ") + draw.by_node("efa_retransmits", "again ")
    return [
        _graph("efa_receive_bytes", draw.by_node("efa_receive_bytes")),
        _graph("efa_transmit_bytes", draw.by_node("efa_transmit_bytes")),
        _graph("efa_rdma_read_bytes", rdma, title="EFA RDMA (bytes/s)"),
        _graph("efa_drops", losses, title="EFA packets dropped or sent again (1/s)"),
    ]


def _file_system_row(file_system_id: str) -> list[Widget]:
    """AWS/FSx's own metrics, one value a minute, with the one dimension FileSystemId.

    Source: https://docs.aws.amazon.com/fsx/latest/LustreGuide/fs-metrics.html (a rate is Sum / period).
    """

    def rates(**names: str) -> list[Line]:
        lines: list[Line] = []
        for number, (label, name) in enumerate(names.items()):
            lines.append([{"expression": f"m{number}/PERIOD(m{number})", "label": label, "id": f"r{number}"}])
            hidden = {"id": f"m{number}", "stat": "Sum", "visible": False}
            lines.append(["AWS/FSx", name, "FileSystemId", file_system_id, hidden])
        return lines

    free = {"stat": "Sum", "label": "free"}
    return [
        _graph(
            "",
            rates(read="DataReadBytes", write="DataWriteBytes"),
            title="FSx throughput (bytes/s)",
            period=60,
        ),
        _graph(
            "",
            rates(read="DataReadOperations", write="DataWriteOperations", metadata="MetadataOperations"),
            title="FSx operations (1/s)",
            period=60,
        ),
        _graph(
            "",
            [["AWS/FSx", "FreeDataStorageCapacity", "FileSystemId", file_system_id, free]],
            title="FSx free capacity (bytes)",
            period=60,
        ),
    ]


def _agent_row(draw: _Lines) -> list[Widget]:
    return [
        _graph("agent_dropped_metrics", draw.by_node("agent_dropped_metrics")),
        _graph("agent_dropped_log_events", draw.by_node("agent_dropped_log_events")),
    ]


def _graph(name: str, lines: list[Line], *, title: str = "", percent: bool = False, period: int = 0) -> Widget:
    """A graph of `lines`; title and statistic come from the catalog's metric `name` unless given."""
    properties: dict[str, Any] = {
        "title": title or catalog.METRICS[name].title,
        "view": "timeSeries",
        "stacked": False,
        "metrics": lines,
        "yAxis": {"left": {"min": 0, "max": 100, "showUnits": False} if percent else {"showUnits": False}},
    }
    if name:
        properties["stat"] = catalog.METRICS[name].statistic
    if period:
        properties["period"] = period
    return {"type": "metric", "properties": properties}


def _heading(title: str, *, y: int) -> Widget:
    place = {"x": 0, "y": y, "width": COLUMNS, "height": 1}
    return {"type": "text", **place, "properties": {"markdown": f"## {title}"}}


def _place(graphs: list[Widget], *, y: int) -> tuple[list[Widget], int]:
    """The graphs with their places, three a line, and the first free line below them."""
    width, height = COLUMNS // 3, 6
    placed = [
        {**graph, "x": index % 3 * width, "y": y + index // 3 * height, "width": width, "height": height}
        for index, graph in enumerate(graphs)
    ]
    return placed, y + -(-len(graphs) // 3) * height
