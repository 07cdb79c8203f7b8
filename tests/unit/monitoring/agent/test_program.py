"""The agent as a process, against an HTTP server that stands for CloudWatch: starts, sends, ends with all sent."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from monitoring.agent.machine import parse_cpu
from tests.unit.monitoring.agent.test_run import FACTS

ROOT = Path(__file__).parents[4]


class Receiver(ThreadingHTTPServer):
    """Keeps the log messages by stream, and what came for CloudWatch (CBOR or JSON, as boto3 likes)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.messages: dict[str, list[str]] = {}
        self.metrics = b""
        self.answer_with = 200


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        cbor = "cbor" in self.headers.get("Content-Type", "")
        if self.server.answer_with == 200:
            self._keep(body)
        answer = b"\xa0" if cbor else b"{}"
        self.send_response(self.server.answer_with)
        self.send_header("Content-Type", self.headers.get("Content-Type", ""))
        if cbor:
            self.send_header("smithy-protocol", "rpc-v2-cbor")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _keep(self, body: bytes) -> None:
        if not self.headers.get("X-Amz-Target", "").startswith("Logs_"):
            self.server.metrics += body
            return
        request = json.loads(body)
        kept = self.server.messages.setdefault(request["logStreamName"], [])
        kept.extend(event["message"] for event in request.get("logEvents", []))

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the test's output."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


class Agent:
    """A head's agent that can be started again over the same state."""

    def __init__(self, root: Path, port: int) -> None:
        self.logs = root / "fsx" / ".dure" / "logs"
        self.logs.mkdir(parents=True)
        self._root = root
        self._port = port
        file_system: Any = FACTS["file_system"]
        facts = FACTS | {
            "file_system": file_system | {"mount_point": str(root / "fsx")},
            "monitoring": {"interval_seconds": 1},
        }
        (root / "facts.json").write_text(json.dumps(facts))
        (root / "identity.json").write_text(json.dumps({"role": "head", "instance_id": "i-1"}))
        self.process: subprocess.Popen[str]

    def start(self) -> None:
        options = [word for name in ("facts", "identity") for word in (f"--{name}", str(self._root / f"{name}.json"))]
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "monitoring.agent", *options, "--state", str(self._root / "state")],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        _, error = self.process.communicate(timeout=60)
        return self.process.returncode, error

    def write(self, text: str) -> None:
        with (self.logs / "7.log").open("a") as file:
            file.write(text)


@pytest.fixture
def agent(tmp_path: Path, receiver: Receiver) -> Iterator[Agent]:
    agent = Agent(tmp_path, receiver.server_port)
    agent.start()
    yield agent
    if agent.process.poll() is None:
        agent.end(signal.SIGKILL)


def wait_until(condition: Callable[[], bool], say: Callable[[], object] = lambda: "") -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, say()
        time.sleep(0.02)


def wait_for(receiver: Receiver, message: str) -> None:
    wait_until(lambda: message in receiver.messages.get("7", []), lambda: receiver.messages)


def ticks() -> int:
    """What this machine's processors have counted in all, as the agent reads it."""
    return parse_cpu(Path("/proc/stat").read_text()).total


def test_it_sends_what_is_there_when_it_is_told_to_end(agent: Agent, receiver: Receiver) -> None:
    agent.write("하나\n")
    wait_for(receiver, "하나")
    wait_until(lambda: b"memory_utilization" in receiver.metrics)  # so its first look at the counters is behind it
    before, sent = ticks(), len(receiver.metrics)
    wait_until(lambda: ticks() >= before + 2)  # between two looks in one tick of the kernel no CPU was used at all
    agent.write("last words\nand half a ")
    code, error = agent.end()
    assert code == 0, error
    assert receiver.messages["7"] == ["하나", "last words"]
    assert b"cpu_utilization" in receiver.metrics[sent:]
    assert b"agent_dropped_log_events" in receiver.metrics
    agent.write("line\n")
    agent.start()
    wait_for(receiver, "and half a line")
    assert agent.end()[0] == 0
    assert receiver.messages["7"] == ["하나", "last words", "and half a line"]


def test_a_killed_agent_goes_on_where_it_was(agent: Agent, receiver: Receiver) -> None:
    agent.write("one\n")
    wait_for(receiver, "one")
    time.sleep(0.3)  # it notes the position after the answer
    agent.end(signal.SIGKILL)
    agent.write("two\n")
    agent.start()
    wait_for(receiver, "two")
    assert receiver.messages["7"] == ["one", "two"]


def test_it_ends_in_time_while_cloudwatch_is_away_and_loses_nothing(agent: Agent, receiver: Receiver) -> None:
    agent.write("one\n")
    wait_for(receiver, "one")
    receiver.answer_with = 503
    agent.write("two\n")
    time.sleep(1.5)
    begun = time.monotonic()
    code, error = agent.end()
    assert code == 0, error
    assert time.monotonic() - begun < 30
    assert "log lines wait" in error
    receiver.answer_with = 200
    agent.start()
    wait_for(receiver, "two")
    assert receiver.messages["7"] == ["one", "two"]
