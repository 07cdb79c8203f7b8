"""`python -m monitoring.agent`: read the machine's two files, build the collectors and shippers, run until SIGTERM.

Exit codes: 0 ended by a signal; 1 broke; 2 the machine's files can't be used.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from pathlib import Path
from threading import Event

from cluster_scripts.backends.aws.telemetry import open_telemetry
from monitoring.agent.efa import Efa
from monitoring.agent.figures import JobFigures
from monitoring.agent.gpu import Gpus, load_nvml
from monitoring.agent.machine import Cpu, Disk, Memory, Network
from monitoring.agent.readings import Collector
from monitoring.agent.run import LogsLoop, MetricsLoop, Sink, note, run_until, running_jobs
from monitoring.agent.send import Losses, MetricQueue
from monitoring.agent.settings import JOB_METRICS, Settings, SettingsError, load_settings
from monitoring.agent.ship import Shipper

STATE = Path("/var/lib/dure/agent")
RUNNING_JOBS = Path("/run/dure/jobs")


def collectors(settings: Settings, losses: Losses) -> list[Collector]:
    """What is measured on this machine; job figures on the head only."""
    found: list[Collector] = [Cpu(), Memory(), Disk(), Network(), Efa(), Gpus(load_nvml(), note), losses]
    if settings.is_head:
        figures = JobFigures(
            Path(settings.facts.file_system.mount_point),
            JOB_METRICS,
            bucket_seconds=min(60.0, settings.interval_seconds),
            wall=time.time,
            state=settings.state / "figures.json",
        )
        found.append(figures)
    return found


def loops(settings: Settings, sink: Sink) -> tuple[MetricsLoop, LogsLoop]:
    """The agent of this machine, ready to run."""
    losses = Losses()
    metrics = MetricsLoop(
        collectors(settings, losses),
        MetricQueue(sink, settings.facts.metrics_namespace, losses=losses),
        labels=settings.labels,
        interval=settings.interval_seconds,
        jobs=lambda: running_jobs(RUNNING_JOBS),
        wall=time.time,
        clock=time.monotonic,
    )
    shippers = [Shipper(source, sink, lost=losses.events, note=note) for source in settings.sources()]
    return metrics, LogsLoop(shippers, wall=time.time, clock=time.monotonic, random=random.random)


def main(argv: list[str] | None = None) -> int:
    """Run the agent; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m monitoring.agent", description="Dure's agent on a machine")
    parser.add_argument("--facts", type=Path, default=Path("/etc/dure/facts.json"))
    parser.add_argument("--identity", type=Path, default=Path("/etc/dure/identity.json"))
    parser.add_argument("--state", type=Path, default=STATE, help="folder of what survives a restart")
    options = parser.parse_args(argv)
    try:
        settings = load_settings(options.facts, options.identity, state=options.state)
    except SettingsError as error:
        note(f"dure-agent: {error}")
        return 2
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    note(f"dure-agent: {settings.labels.cluster} {settings.labels.node}, every {settings.interval_seconds:g} s")
    return run_until(stop, *loops(settings, open_telemetry(settings.facts.region)))


if __name__ == "__main__":
    sys.exit(main())
