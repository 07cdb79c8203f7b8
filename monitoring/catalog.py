"""Every metric that a cluster emits: the one source for the agent, which sends them, and the dashboard.

A metric is emitted once for each of its dimension sets, with exactly those dimension names; CloudWatch
keeps every set apart, so a graph that names other dimensions stays empty. A unit test drives the agent's
collectors and compares what they emit with this table, and what the dashboard draws with both.

Standard library only and no import of ours: infrastructure code loads this module by its path.
"""

from __future__ import annotations

from typing import Final, NamedTuple

CLUSTER: Final = ("Cluster",)
NODE: Final = ("Cluster", "Node")
QUEUE: Final = ("Cluster", "Queue")
JOB: Final = ("Cluster", "Job")
GPU: Final = ("Cluster", "Node", "Gpu")

HEAD_NODE: Final = "head"
"""Value of the dimension Node on the head; on a compute machine it is Slurm's node name (gpu-1)."""

# Those of CloudWatch's units that we use. It has none for degrees, watts or megahertz: those are "None", and
# the title names the unit.
UNITS: Final = frozenset({"None", "Percent", "Bytes", "Bytes/Second", "Count", "Count/Second", "Seconds"})
STATISTICS: Final = frozenset({"Average", "Sum", "Minimum", "Maximum"})


class Metric(NamedTuple):
    """One metric. `emitter`: the agent's collector that sends it; `statistic`: what a graph should show."""

    name: str
    unit: str
    dimensions: tuple[tuple[str, ...], ...]
    emitter: str
    title: str
    statistic: str = "Average"


_METRICS: Final = (
    # Every machine. Queue: compute machines only. Job: compute machines while the job has a task on them.
    Metric("cpu_utilization", "Percent", (NODE, QUEUE, JOB), "cpu", "CPU busy (%)"),
    Metric("cpu_iowait", "Percent", (NODE,), "cpu", "CPU waiting for storage (%)"),
    Metric("memory_utilization", "Percent", (NODE, QUEUE, JOB), "memory", "Memory in use (%)"),
    Metric("memory_available", "Bytes", (NODE,), "memory", "Memory available (bytes)", "Minimum"),
    Metric("disk_utilization", "Percent", (NODE,), "disk", "Root disk filled (%)", "Maximum"),
    Metric("disk_read_bytes", "Bytes/Second", (NODE,), "disk", "Disk reads (bytes/s)"),
    Metric("disk_write_bytes", "Bytes/Second", (NODE,), "disk", "Disk writes (bytes/s)"),
    Metric("network_receive_bytes", "Bytes/Second", (NODE, JOB), "network", "Network in (bytes/s)"),
    Metric("network_transmit_bytes", "Bytes/Second", (NODE, JOB), "network", "Network out (bytes/s)"),
    Metric("network_drops", "Count/Second", (NODE,), "network", "Network packets lost (1/s)", "Maximum"),
    # Machines with NVIDIA GPUs. With the dimension Gpu: that GPU. Without: mean or sum of the machine's GPUs.
    Metric("gpu_utilization", "Percent", (GPU, NODE, QUEUE, JOB), "gpu", "GPU busy (%)"),
    Metric("gpu_memory_utilization", "Percent", (GPU, NODE, JOB), "gpu", "GPU memory in use (%)", "Maximum"),
    Metric("gpu_temperature", "None", (GPU,), "gpu", "GPU temperature (°C)", "Maximum"),
    Metric("gpu_power", "None", (GPU, NODE), "gpu", "GPU power (W)"),
    Metric("gpu_sm_clock", "None", (GPU,), "gpu", "GPU SM clock (MHz)"),
    Metric("gpu_throttled", "None", (GPU,), "gpu", "GPU slowed by heat or power (0/1)", "Maximum"),
    Metric("gpu_ecc_corrected", "Count", (GPU, NODE), "gpu", "GPU memory errors, corrected", "Sum"),
    Metric("gpu_ecc_uncorrected", "Count", (GPU, NODE), "gpu", "GPU memory errors, uncorrected", "Sum"),
    Metric("gpu_xid_errors", "Count", (NODE,), "gpu", "GPU driver errors (Xid)", "Sum"),
    # Machines with EFA interfaces: the sum of all of them.
    Metric("efa_receive_bytes", "Bytes/Second", (NODE, JOB), "efa", "EFA in (bytes/s)"),
    Metric("efa_transmit_bytes", "Bytes/Second", (NODE, JOB), "efa", "EFA out (bytes/s)"),
    Metric("efa_rdma_read_bytes", "Bytes/Second", (NODE,), "efa", "EFA RDMA reads (bytes/s)"),
    Metric("efa_rdma_write_bytes", "Bytes/Second", (NODE,), "efa", "EFA RDMA writes (bytes/s)"),
    Metric("efa_drops", "Count/Second", (NODE,), "efa", "EFA packets dropped (1/s)", "Maximum"),
    Metric("efa_retransmits", "Count/Second", (NODE,), "efa", "EFA packets sent again (1/s)", "Maximum"),
    # The head, from what a job's first rank writes. Cluster alone: whatever job runs, so that a graph can be
    # drawn before there is one.
    Metric("loss", "None", (CLUSTER, JOB), "job", "Training loss"),
    Metric("loss_not_finite", "Count", (CLUSTER, JOB), "job", "Steps whose loss was NaN or infinite", "Sum"),
    Metric("records_per_second", "Count/Second", (CLUSTER, JOB), "job", "Records a second"),
    Metric("tokens_per_second", "Count/Second", (CLUSTER, JOB), "job", "Tokens a second"),
    Metric("step", "Count", (CLUSTER, JOB), "job", "Training step", "Maximum"),
    # What the agent lost: the buffers are bounded, and a loss must not be silent.
    Metric("agent_dropped_metrics", "Count", (NODE,), "agent", "Metric values lost by the agent", "Sum"),
    Metric("agent_dropped_log_events", "Count", (NODE,), "agent", "Log lines lost by the agent", "Sum"),
)

METRICS: Final[dict[str, Metric]] = {metric.name: metric for metric in _METRICS}
