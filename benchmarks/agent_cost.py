"""`python -m benchmarks.agent_cost [--seconds 60] [--interval 1]`: what the agent costs a machine, CPU and memory.

Runs the agent as a machine does (node environment, the same program) against a stand-in for CloudWatch in another
process: as on a compute machine (`value`), and as on the head while a job writes ten lines a second (`head`). In the
same run its peer: a reader of a machine's figures with psutil that sends them with boto3 (the toolkit's
environment; needs psutil). All at the same interval, one after the other.

Side effects: processes on this machine, files in a temporary folder. The agent reads this machine's /proc and logs.
The stand-in is an HTTP server that says yes: its own work is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks.support import ROOT, result

GOAL_CPU = 1.0  # percent of one core
WARM_UP_SECONDS = 8.0
TICKS = os.sysconf("SC_CLK_TCK")

PEER = """
import sys, time, boto3, psutil
from datetime import datetime, timezone
client = boto3.client("cloudwatch", region_name="us-east-1")
dimensions = [{"Name": "Cluster", "Value": "bench"}, {"Name": "Node", "Value": "head"}]
while True:
    time.sleep(float(sys.argv[1]))
    cpu, memory, disk = psutil.cpu_times_percent(), psutil.virtual_memory(), psutil.disk_usage("/")
    moved, sent = psutil.disk_io_counters(), psutil.net_io_counters()
    values = [cpu.user, cpu.iowait, memory.percent, memory.available, disk.percent, moved.read_bytes, moved.write_bytes,
              sent.bytes_recv, sent.bytes_sent, sent.dropin, 0.0, 0.0]
    client.put_metric_data(Namespace="Bench", MetricData=[
        {"MetricName": f"m{n}", "Value": value, "Dimensions": dimensions, "Timestamp": datetime.now(timezone.utc)}
        for n, value in enumerate(values)])
"""


class YesSayer(BaseHTTPRequestHandler):
    """Answers every call of CloudWatch and CloudWatch Logs with success."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        cbor = "cbor" in self.headers.get("Content-Type", "")
        body = b"\xa0" if cbor else b"{}"
        self.send_response(200)
        self.send_header("Content-Type", "application/cbor" if cbor else "application/x-amz-json-1.1")
        self.send_header("smithy-protocol", "rpc-v2-cbor")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a line for each call would be work in the measured time."""


def facts(mount_point: Path, interval: int) -> str:
    """The facts of a cluster that is not there."""
    return json.dumps(
        {
            "version": 1,
            "name": "bench",
            "region": "us-east-1",
            "account": "123456789012",
            "bucket": "bench",
            "file_system": {
                "id": "fs-1",
                "dns_name": "fs",
                "mount_name": "fs",
                "mount_point": str(mount_point),
                "associations": [],
            },
            "head": {"private_ip": "10.0.0.10", "host_name": "ip-10-0-0-10"},
            "queues": [],
            "munge_secret": "none",
            "log_groups": {"jobs": "/dure/bench/jobs", "nodes": "/dure/bench/nodes"},
            "document": "Dure-bench",
            "metrics_namespace": "Dure",
            "toolkit": {"bucket": "bench", "key": "none", "sha256": "none"},
            "slurm": {"resume_timeout_seconds": 1800, "suspend_timeout_seconds": 120},
            "monitoring": {"interval_seconds": interval},
        }
    )


def cost(pid: int, seconds: float) -> tuple[float, float]:
    """Percent of one core over `seconds`, and resident MiB at their end."""
    before, start = cpu_ticks(pid), time.monotonic()
    time.sleep(seconds)
    used = (cpu_ticks(pid) - before) / TICKS
    return 100 * used / (time.monotonic() - start), resident_mib(pid)


def cpu_ticks(pid: int) -> int:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def resident_mib(pid: int) -> float:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has ended; its output is above")


@contextmanager
def running(argv: list[str], environment: dict[str, str]) -> Iterator[int]:
    """A process for the time of the block; ended by SIGTERM."""
    process = subprocess.Popen(argv, env=environment, cwd=ROOT)
    try:
        time.sleep(WARM_UP_SECONDS)
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def writing_job(folder: Path) -> Iterator[None]:
    """A job's log and figures, ten lines a second."""
    stop = threading.Event()
    log, figures = folder / ".dure" / "logs" / "7.log", folder / ".dure" / "metrics" / "7" / "rank-00000.jsonl"
    log.parent.mkdir(parents=True)
    figures.parent.mkdir(parents=True)

    def write() -> None:
        step = 0
        with log.open("a", buffering=1) as lines, figures.open("a", buffering=1) as numbers:
            while not stop.wait(0.1):
                step += 1
                lines.write(f"step {step} 손실 {9 - step / 1000:.4f} 3.2 records/s 3,277 tokens/s\n")
                line = {"time": time.time(), "step": step, "loss": 9 - step / 1000, "records_per_second": 3.2}
                numbers.write(json.dumps(line) + "\n")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def agent(folder: Path, identity: dict[str, str]) -> list[str]:
    """The agent's command line on a machine of that identity."""
    (folder / "identity.json").write_text(json.dumps(identity | {"instance_id": "i-bench"}))
    files = [word for name in ("facts", "identity") for word in (f"--{name}", str(folder / f"{name}.json"))]
    state = ["--state", str(folder / identity["role"])]
    return [str(ROOT / ".envs/node/bin/python"), "-m", "monitoring.agent", *files, *state]


def measure(
    folder: Path, *, interval: int, seconds: float, environment: dict[str, str]
) -> dict[str, tuple[float, float]]:
    """CPU and memory of the agent and of its peer; the peer is missing where psutil is."""
    (folder / "facts.json").write_text(facts(folder / "fsx", interval))
    found = {}
    with running(agent(folder, {"role": "compute", "queue": "gpu", "node": "gpu-1"}), environment) as pid:
        found["agent"] = cost(pid, seconds)
    with writing_job(folder / "fsx"), running(agent(folder, {"role": "head"}), environment) as pid:
        found["head"] = cost(pid, seconds)
    if subprocess.run([sys.executable, "-c", "import psutil"], capture_output=True, check=False).returncode == 0:
        with running([sys.executable, "-c", PEER, str(interval)], environment) as pid:
            found["psutil with boto3"] = cost(pid, seconds)
    return found


def main() -> int:
    """Measure, and print the result as one JSON line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.agent_cost", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each is measured (60)")
    parser.add_argument("--interval", type=int, default=1, help="seconds between two collections (1)")
    options = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", 0), YesSayer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {name: text for name, text in os.environ.items() if not name.startswith("AWS_")}
    environment |= {
        "PYTHONPATH": str(ROOT),
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with tempfile.TemporaryDirectory(prefix="dure-bench-") as folder:
        found = measure(Path(folder), interval=options.interval, seconds=options.seconds, environment=environment)
    server.shutdown()
    (cpu, memory), head, peers = found.pop("agent"), found.pop("head"), found
    resident = {"agent": memory, "head": head[1]} | {name: peer for name, (_, peer) in peers.items()}
    return result(
        "agent_cost",
        cpu,
        unit=f"% of one core at {options.interval} s",
        goal=f"at most {GOAL_CPU:g}",
        holds=bool(peers) and cpu <= GOAL_CPU,
        peers={name: peer for name, (peer, _) in peers.items()},
        runs=1,
        head=round(head[0], 2),
        resident_mib={name: round(value, 1) for name, value in resident.items()},
    )


if __name__ == "__main__":
    sys.exit(main())
