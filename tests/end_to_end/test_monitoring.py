"""Metrics and logs on a real cluster: a job's arrive whole and once, and the deployed dashboard has data to draw."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.cloud import Cloud, wait_until

pytestmark = [pytest.mark.local_cloud, pytest.mark.timeout(300)]

JOBS, NODES = "/dure/local/jobs", "/dure/local/nodes"
LINES = 150
# Two ranks, about 20 seconds; the first writes what the trainer writes. Both try to have a file of the machine shipped.
JOB = f"""
ln -sf /etc/shadow /fsx/.dure/logs/99999.log
for i in $(seq 1 {LINES}); do
  echo "줄 $SLURM_PROCID $i"
  if [ "$SLURM_PROCID" = 0 ]; then
    echo '{{"time": '$(date +%s.%N)', "step": '$i', "loss": '$(({LINES} - i)).5', "records_per_second": 3.5,
      "tokens_per_second": 3584}}' | tr -d '\\n' >> "$DURE_METRICS_DIR/rank-00000.jsonl"
    echo >> "$DURE_METRICS_DIR/rank-00000.jsonl"
  fi
  sleep 0.1
done
printf 'no line end'
"""
SEARCH = re.compile(r"""SEARCH\('\{"(\w+)",([A-Za-z,]+)\} MetricName="(\w+)" Cluster="(\w+)"'""")


@dataclass
class Ran:
    """The job after its end."""

    cloud: Cloud
    id: str
    started: datetime
    seen_while_running: bool
    nodes: tuple[str, ...]

    def messages(self, stream: str = "", group: str = JOBS) -> list[str]:
        return events(self.cloud, stream or self.id, group)


def events(cloud: Cloud, stream: str, group: str = JOBS) -> list[str]:
    """All messages of a stream; none if there is no stream."""
    logs, token, found = cloud.client("logs"), None, []
    while True:
        options: dict[str, str] = {"nextToken": token} if token else {}
        try:
            page = logs.get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True, **options)
        except logs.exceptions.ResourceNotFoundException:
            return []
        found += [event["message"] for event in page["events"]]
        if page["nextForwardToken"] == token:
            return found
        token = page["nextForwardToken"]


@pytest.fixture(scope="module")
def ran(cluster: Cloud) -> Ran:
    """A job on two machines; the head's agent is started again in its midst."""
    started = datetime.now(UTC)
    words = ("--no-code", "--nodes", "2", "--name", "monitored", "--", "bash", "-c", JOB)
    job = json.loads(cluster.dure("submit", "--json", *words).stdout)["job_id"]
    wait_until(lambda: len(events(cluster, job)) > 20, what="lines arrive", timeout=90)
    seen = json.loads(cluster.dure("show", job, "--json").stdout)
    code, out, error = cluster.shell(cluster.head(), "systemctl restart dure-agent")
    assert code == 0, out + error
    end = time.monotonic() + 120
    while not any("end-of-log" in message for message in events(cluster, job)):
        assert time.monotonic() < end, events(cluster, job)[-5:]
        time.sleep(0.5)
    time.sleep(6)  # one more interval of the head's metrics
    return Ran(cluster, job, started, "running" in json.dumps(seen), tuple(seen["nodes"]))


def test_lines_arrive_while_the_job_runs(ran: Ran) -> None:
    assert ran.seen_while_running


def test_every_line_arrives_once_and_in_order_over_a_restart_of_the_agent(ran: Ran) -> None:
    messages = ran.messages()
    for rank in ("0", "1"):
        # A rank's last words have no line end: the other's next line stands behind them
        mine = re.findall(rf"줄 {rank} (\d+)$", "\n".join(messages), re.MULTILINE)
        assert [int(number) for number in mine] == list(range(1, LINES + 1)), rank
    assert sum(message.count("no line end") for message in messages) == 2


def test_the_end_comes_last_and_once(ran: Ran) -> None:
    messages = ran.messages()
    ends = [message for message in messages if "end-of-log" in message]
    assert ends == messages[-1:]
    end = json.loads(ends[0])
    assert end["dure"] == "end-of-log"
    assert end["bytes"] > 2 * LINES * len("줄 0 1\n".encode())


def test_a_job_cannot_have_a_file_of_the_machine_shipped(ran: Ran) -> None:
    assert ran.messages("99999") == []


def test_each_machines_own_logs_arrive(ran: Ran) -> None:
    streams = ran.cloud.client("logs").describe_log_streams(logGroupName=NODES)["logStreams"]
    names = Counter(stream["logStreamName"].partition("/")[2] for stream in streams)
    assert names["boot.log"] >= 3, "the head and two machines"
    assert names["slurmctld.log"] == 1
    assert names["slurmd.log"] >= 2
    head = ran.messages(f"{ran.cloud.head()}/boot.log", NODES)
    assert head


def test_the_deployed_dashboard_has_data(ran: Ran) -> None:
    """Every line whose source is on these machines (no GPU, EFA or FSx) has values."""
    cloudwatch = ran.cloud.client("cloudwatch")
    body = json.loads(cloudwatch.get_dashboard(DashboardName="dure-local")["DashboardBody"])
    stored = stored_metrics(cloudwatch)
    # Of the machines only the job's: one of an earlier test may still be named by CloudWatch, or be on its way out
    machines = {"head", *ran.nodes}
    assert len(machines) == 3
    assert machines <= {dimensions.get("Node") for _, dimensions in stored}
    missing, checked = [], 0
    for name, dimensions in drawn(body):
        if name.startswith(("gpu_", "efa_")) or dimensions.get("Node") not in machines | {None}:
            continue
        checked += 1
        if None in dimensions.values():
            found = any(
                metric == name
                and list(has) == list(dimensions)
                and all(dimensions[key] in (None, text) for key, text in has.items())
                for metric, has in stored
            )
        else:
            found = bool(values(cloudwatch, name, dimensions, since=ran.started))
        if not found:
            missing.append((name, dimensions))
    assert missing == []
    assert checked > 30


def test_the_jobs_figures_are_right(ran: Ran) -> None:
    cloudwatch = ran.cloud.client("cloudwatch")
    job = {"Cluster": "local", "Job": ran.id}
    assert max(values(cloudwatch, "step", job, since=ran.started, statistic="Maximum")) == LINES
    assert min(values(cloudwatch, "loss", job, since=ran.started, statistic="Minimum")) == 0.5
    assert sum(values(cloudwatch, "loss", job, since=ran.started, statistic="SampleCount")) == LINES
    assert set(values(cloudwatch, "records_per_second", job, since=ran.started)) == {3.5}
    assert (
        sum(values(cloudwatch, "agent_dropped_log_events", {"Cluster": "local", "Node": "head"}, since=ran.started))
        == 0
    )
    assert values(cloudwatch, "cpu_utilization", job, since=ran.started), "the job's machines, by job"


def stored_metrics(cloudwatch: Any) -> list[tuple[str, dict[str, str]]]:
    """Every metric that was ever sent."""
    pages = cloudwatch.get_paginator("list_metrics").paginate(Namespace="Dure")
    found = {
        (metric["MetricName"], tuple((one["Name"], one["Value"]) for one in metric["Dimensions"]))
        for page in pages
        for metric in page["Metrics"]
    }
    return [(name, dict(dimensions)) for name, dimensions in sorted(found)]


def drawn(body: dict[str, Any]) -> list[tuple[str, dict[str, str | None]]]:
    """Our metrics on the dashboard, with their dimensions; what a SEARCH leaves open is None."""
    lines: list[tuple[str, dict[str, str | None]]] = []
    for widget in body["widgets"]:
        for line in widget["properties"].get("metrics", []):
            if line[0] == "Dure":
                lines.append((line[1], dict(zip(line[2:-1:2], line[3:-1:2], strict=True))))
            elif not isinstance(line[0], str) and (match := SEARCH.search(line[0]["expression"])):
                open_ones: dict[str, str | None] = dict.fromkeys(match[2].split(","))
                lines.append((match[3], open_ones | {"Cluster": match[4]}))
    return lines


def values(
    cloudwatch: Any, name: str, dimensions: dict[str, Any], *, since: datetime, statistic: str = "Average"
) -> list[float]:
    """The metric's values from `since` to now, in periods of five seconds."""
    metric = {
        "Namespace": "Dure",
        "MetricName": name,
        "Dimensions": [{"Name": key, "Value": text} for key, text in dimensions.items()],
    }
    query = {"Id": "m", "MetricStat": {"Metric": metric, "Period": 5, "Stat": statistic}}
    begin = since - timedelta(seconds=since.second % 5 + 5)
    answer = cloudwatch.get_metric_data(
        MetricDataQueries=[query], StartTime=begin, EndTime=datetime.now(UTC) + timedelta(seconds=60)
    )
    return [float(value) for value in answer["MetricDataResults"][0]["Values"]]
