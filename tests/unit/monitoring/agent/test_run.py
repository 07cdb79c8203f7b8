"""Queue, loops and settings: outages, bounds, the end."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from cluster_scripts.backends.aws.telemetry import MAX_VALUES, MetricValue
from cluster_scripts.jobs.errors import Refused, Throttled, Unreachable
from monitoring.agent import __main__ as program
from monitoring.agent.readings import Labels, Reading, reading
from monitoring.agent.run import Backoff, LogsLoop, MetricsLoop, run_until, running_jobs
from monitoring.agent.send import Losses, MetricQueue
from monitoring.agent.settings import Settings, SettingsError, load_settings
from monitoring.agent.ship import Shipper
from tests.unit.monitoring.fakes import FakeSink

LABELS = Labels(cluster="demo", node="gpu-1", queue="gpu")
FACTS = {
    "version": 1,
    "name": "demo",
    "region": "us-east-1",
    "account": "123456789012",
    "bucket": "bucket",
    "file_system": {
        "id": "fs-1",
        "dns_name": "fs.example",
        "mount_name": "abc",
        "mount_point": "/fsx",
        "associations": [],
    },
    "head": {"private_ip": "10.0.0.10", "host_name": "ip-10-0-0-10"},
    "queues": [],
    "munge_secret": "arn:aws:secretsmanager:us-east-1:123456789012:secret:x",
    "log_groups": {"jobs": "/dure/demo/jobs", "nodes": "/dure/demo/nodes"},
    "document": "Dure-demo",
    "metrics_namespace": "Dure",
    "toolkit": {"bucket": "assets", "key": "a.zip", "sha256": "0"},
    "slurm": {"resume_timeout_seconds": 1800, "suspend_timeout_seconds": 120},
}


def value(number: int) -> MetricValue:
    return MetricValue("step", "Count", (("Cluster", "demo"),), 0.0, 1, number, number, number)


class Ticker:
    """A collector that counts; `clock` moves by itself."""

    def __init__(self, stop: threading.Event, *, after: int) -> None:
        self.now = 0.0
        self.collected: list[float] = []
        self.samples = 0
        self._stop = stop
        self._after = after

    def clock(self) -> float:
        return self.now

    def sample(self) -> None:
        self.samples += 1

    def collect(self, now: float) -> list[Reading]:
        self.collected.append(now)
        if len(self.collected) > self._after:
            self._stop.set()
        return [reading("cpu_iowait", len(self.collected))]


class NoWait(threading.Event):
    """An event whose wait moves the ticker's clock instead."""

    ticker: Ticker | None = None

    def wait(self, timeout: float | None = None) -> bool:
        assert self.ticker is not None and timeout is not None
        if not self.is_set():
            self.ticker.now += timeout
        return self.is_set()


def run_metrics(*, interval: float, after: int, sink: FakeSink) -> Ticker:
    stop = NoWait()
    ticker = stop.ticker = Ticker(stop, after=after)
    losses = Losses()
    loop = MetricsLoop(
        [ticker, losses],
        MetricQueue(sink, "Dure", losses=losses),
        labels=LABELS,
        interval=interval,
        jobs=lambda: [],
        wall=lambda: 1000.0 + ticker.now,
        clock=ticker.clock,
    )
    loop.run(stop)
    return ticker


def test_the_first_values_come_after_five_seconds_then_every_interval() -> None:
    sink = FakeSink()
    ticker = run_metrics(interval=60, after=3, sink=sink)
    assert ticker.collected == [0, 5, 65, 125, 125], "beginning, three intervals, what is left at the end"
    assert ticker.samples == 22
    mine = [one for one in sink.values if one.name == "cpu_iowait"]
    assert [one.sum for one in mine] == [1, 2, 3, 4, 5], "what a job wrote before the start counts, too"
    assert [one.time for one in mine] == [1000, 1005, 1065, 1125, 1125]
    assert not any(one.high_resolution for one in mine)


def test_a_short_interval_is_high_resolution() -> None:
    sink = FakeSink()
    ticker = run_metrics(interval=2, after=3, sink=sink)
    assert ticker.collected == [0, 2, 4, 6, 6]
    assert ticker.samples == 0
    assert all(one.high_resolution for one in sink.values)


def test_an_outage_delays_values_but_loses_none(capsys: pytest.CaptureFixture[str]) -> None:
    sink = FakeSink()
    sink.failures = [Unreachable("no route"), Throttled("slow down")]
    run_metrics(interval=60, after=4, sink=sink)
    assert [one.sum for one in sink.values if one.name == "cpu_iowait"] == [1, 2, 3, 4, 5, 6]
    assert {one.sum for one in sink.values if one.name == "agent_dropped_metrics"} == {0}
    assert "6 metric values wait: no route" in capsys.readouterr().err


def test_the_queue_drops_the_oldest_and_counts_them() -> None:
    sink, losses = FakeSink(), Losses()
    queue = MetricQueue(sink, "Dure", losses=losses, most=10)
    queue.add(value(number) for number in range(25))
    assert len(queue) == 10
    queue.flush()
    assert [one.sum for one in sink.values] == list(range(15, 25))
    assert {one.name: one.sum for one in losses.collect(0)} == {
        "agent_dropped_metrics": 15,
        "agent_dropped_log_events": 0,
    }
    assert {one.sum for one in losses.collect(0)} == {0}


def test_a_batch_that_fails_leaves_what_was_sent_sent() -> None:
    sink, losses = FakeSink(), Losses()
    queue = MetricQueue(sink, "Dure", losses=losses)
    queue.add(value(number) for number in range(2 * MAX_VALUES + 1))
    calls = 0

    def fail_second(namespace: str, batch: Sequence[MetricValue]) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Unreachable("no route")
        return FakeSink.put_metrics(sink, namespace, batch)

    sink.put_metrics = fail_second  # type: ignore[method-assign]
    with pytest.raises(Unreachable):
        queue.flush()
    queue.flush()
    assert [one.sum for one in sink.values] == list(range(2 * MAX_VALUES + 1))


def test_values_refused_for_good_are_counted() -> None:
    sink, losses = FakeSink(), Losses()
    sink.refuse = 1
    queue = MetricQueue(sink, "Dure", losses=losses)
    queue.add([value(1), value(2)])
    queue.flush()
    assert len(queue) == 0
    assert losses.collect(0)[0].sum == 1


def test_backoff_grows_to_its_bound_and_begins_again() -> None:
    backoff = Backoff(lambda: 1.0)
    assert [backoff.failed() for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    backoff.worked()
    assert backoff.failed() == 1
    assert Backoff(lambda: 0.0).failed() == 0.5


def test_jobs_on_this_machine(tmp_path: Path) -> None:
    assert running_jobs(tmp_path / "none") == []
    for name in ("12", "7", "8_1", "lock", ".x"):
        (tmp_path / name).touch()
    assert running_jobs(tmp_path) == ["12", "7", "8_1"]


def settings(tmp_path: Path, **facts: object) -> Settings:
    return load(tmp_path, identity={"role": "head", "node": "ip-10-0-0-10", "instance_id": "i-1", "queue": ""}, **facts)


def load(tmp_path: Path, *, identity: object, **facts: object) -> Settings:
    (tmp_path / "facts.json").write_text(json.dumps(FACTS | facts))
    (tmp_path / "identity.json").write_text(json.dumps(identity))
    return load_settings(tmp_path / "facts.json", tmp_path / "identity.json", state=tmp_path / "state")


def test_the_head(tmp_path: Path) -> None:
    found = settings(tmp_path)
    assert found.is_head
    assert found.labels == Labels(cluster="demo", node="head", queue="")
    jobs, own, slurm = found.sources()
    assert (jobs.root, jobs.parts, jobs.group, jobs.ends is not None) == (
        Path("/fsx"),
        (".dure", "logs"),
        "/dure/demo/jobs",
        True,
    )
    assert jobs.stream("12.log") == "12"
    assert [bool(jobs.names.fullmatch(name)) for name in ("12.log", "12_3.log", "x.log", "12.log.1")] == [
        True,
        True,
        False,
        False,
    ]
    assert (own.root, own.group, own.ends is not None) == (Path("/var/log/dure"), "/dure/demo/nodes", False)
    assert slurm.stream("slurmctld.log") == "i-1/slurmctld.log"
    assert len({source.state for source in found.sources()}) == 3


def test_a_compute_machine(tmp_path: Path) -> None:
    found = load(tmp_path, identity={"role": "compute", "queue": "gpu", "node": "gpu-3", "instance_id": "i-2"})
    assert not found.is_head
    assert found.labels == Labels(cluster="demo", node="gpu-3", queue="gpu")
    assert [source.group for source in found.sources()] == ["/dure/demo/nodes"] * 2


def test_the_interval_is_a_minute_unless_the_facts_say_otherwise(tmp_path: Path) -> None:
    assert settings(tmp_path).interval_seconds == 60
    assert not settings(tmp_path).high_resolution
    found = settings(tmp_path, monitoring={"interval_seconds": "5"})
    assert found.interval_seconds == 5
    assert found.high_resolution


@pytest.mark.parametrize("text", ["", "{", "[]", "\udcff"])
def test_files_that_cannot_be_used(tmp_path: Path, text: str) -> None:
    good = settings(tmp_path)
    assert good
    (tmp_path / "facts.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(SettingsError, match=r"(?s)facts\.json.*dure-node boot"):
        load_settings(tmp_path / "facts.json", tmp_path / "identity.json", state=tmp_path)
    settings(tmp_path)
    (tmp_path / "identity.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(SettingsError, match=r"(?s)identity\.json.*dure-node boot"):
        load_settings(tmp_path / "facts.json", tmp_path / "identity.json", state=tmp_path)


def test_an_identity_that_lacks_something(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="lacks node, queue"):
        load(tmp_path, identity={"role": "compute", "instance_id": "i-2", "node": None})


def test_the_program_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["--facts", str(tmp_path / "none.json")]) == 2
    assert "can't read" in capsys.readouterr().err


def logs_loop(tmp_path: Path, sink: FakeSink) -> tuple[LogsLoop, Path]:
    found = settings(tmp_path, file_system=FACTS["file_system"] | {"mount_point": str(tmp_path / "fsx")})  # type: ignore[operator]
    folder = tmp_path / "fsx" / ".dure" / "logs"
    folder.mkdir(parents=True)
    losses = Losses()
    shippers = [Shipper(found.sources()[0], sink, lost=losses.events, note=print)]
    return LogsLoop(shippers, wall=time.time, clock=time.monotonic, random=lambda: 0.0), folder


def test_lines_arrive_within_a_second_and_the_last_ones_at_the_end(tmp_path: Path) -> None:
    sink, stop = FakeSink(), threading.Event()
    loop, folder = logs_loop(tmp_path, sink)
    thread = threading.Thread(target=loop.run, args=(stop,))
    thread.start()
    try:
        (folder / "7.log").write_text("하나\n")
        written = time.monotonic()
        while not sink.messages("7") and time.monotonic() < written + 10:
            time.sleep(0.01)
        assert time.monotonic() - written < 1.5
    finally:
        with (folder / "7.log").open("a") as file:
            file.write("last\n")
        stop.set()
        thread.join(20)
    assert sink.messages("7") == ["하나", "last"]


def test_an_outage_does_not_end_the_loop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sink, stop = FakeSink(), threading.Event()
    sink.failures = [Refused("a permission is missing")]
    loop, folder = logs_loop(tmp_path, sink)
    (folder / "7.log").write_text("one\n")
    assert loop.look() is False
    assert loop.look() is False, "it waits"
    stop.set()
    loop.run(stop)
    assert sink.messages("7") == ["one"]
    assert "a permission is missing" in capsys.readouterr().err


def test_a_loop_that_breaks_ends_the_agent(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(Ticker):
        def collect(self, now: float) -> list[Reading]:
            raise RuntimeError("a mistake")

    stop = threading.Event()
    broken = Broken(stop, after=1)
    queue = MetricQueue(FakeSink(), "Dure", losses=Losses())
    loop = MetricsLoop(
        [broken], queue, labels=LABELS, interval=60, jobs=lambda: [], wall=broken.clock, clock=broken.clock
    )
    assert run_until(stop, loop) == 1
    assert stop.is_set()
    assert "RuntimeError: a mistake" in capsys.readouterr().err
