"""Machines, GPUs and sinks that the agent's tests stand on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cluster_scripts.backends.aws.telemetry import MetricValue
from cluster_scripts.jobs.errors import DureError, Unreachable
from cluster_scripts.jobs.model import LogEvent

MEMINFO = """MemTotal:        8123456 kB
MemFree:         1234567 kB
MemAvailable:    4061728 kB
Buffers:          123456 kB
"""
# Captured from a machine of EC2's Nitro kind: a root disk with one partition, an instance store, a loop device.
DISKSTATS = """ 259       0 nvme0n1 {0} 31 1000 9000 200 10 2000 3000 0 400 12000 0 0 0 0 0 0
 259       1 nvme0n1p1 100 31 900 9000 200 10 2000 3000 0 400 12000 0 0 0 0 0 0
   7       0 loop0 50 0 700 10 0 0 0 0 0 20 10 0 0 0 0 0 0
"""
NET_DEV = """Inter-|   Receive                                                |  Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo: 9999999   10    0    0    0     0          0         0  9999999      10    0    0    0     0       0          0
  ens5: {0} 1234    1    2    0     0          0         0 {1}     999    3    4    0     0       0          0
"""


def proc_folder(root: Path, *, busy: int = 0, received: int = 0, sent: int = 0) -> Path:
    """A /proc with `busy` more ticks of user time and this much traffic."""
    (root / "net").mkdir(parents=True, exist_ok=True)
    (root / "stat").write_text(f"cpu  {100 + busy} 0 50 800 50 0 0 0 0 0\ncpu0 1 2 3 4 5 6 7 8 9 0\nintr 5\n")
    (root / "meminfo").write_text(MEMINFO)
    (root / "diskstats").write_text(DISKSTATS.format(100))
    (root / "net" / "dev").write_text(NET_DEV.format(received, sent))
    return root


def block_folder(root: Path) -> Path:
    """A /sys/block with one disk and one loop device."""
    for name in ("nvme0n1", "loop0"):
        (root / name).mkdir(parents=True, exist_ok=True)
    return root


def efa_folder(root: Path, *, devices: int = 1, **counters: int) -> Path:
    """A /sys/class/infiniband whose devices all show the same counters."""
    for number in range(devices):
        folder = root / f"rdmap{number}s27" / "ports" / "1" / "hw_counters"
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in counters.items():
            (folder / name).write_text(f"{value}\n")
    return root


class NvmlError(Exception):
    """Stands for pynvml.NVMLError."""


class NvmlTimeout(NvmlError):
    """Stands for pynvml.NVMLError_Timeout."""


class FakeNvml:
    """The functions of pynvml that the agent calls. A GPU's answer that is an exception is raised."""

    NVMLError = NvmlError
    NVMLError_Timeout = NvmlTimeout
    NVML_TEMPERATURE_GPU, NVML_CLOCK_SM, NVML_VOLATILE_ECC = 0, 1, 0
    NVML_MEMORY_ERROR_TYPE_CORRECTED, NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 0, 1
    nvmlEventTypeXidCriticalError = 8
    nvmlClocksThrottleReasonSwPowerCap = 0x4
    nvmlClocksThrottleReasonHwSlowdown = 0x8
    nvmlClocksThrottleReasonSwThermalSlowdown = 0x20
    nvmlClocksThrottleReasonHwThermalSlowdown = 0x40
    nvmlClocksThrottleReasonHwPowerBrakeSlowdown = 0x80

    def __init__(self, *gpus: dict[str, Any]) -> None:
        usual: dict[str, Any] = {"busy": 50, "used": 8, "celsius": 60, "milliwatts": 250_000, "mhz": 1530, "reasons": 1}
        self.gpus = [usual | {"ecc": [0, 0]} | gpu for gpu in gpus]
        self.driver = True
        self.xids: list[int] = []
        self.opened = 0

    def nvmlInit(self) -> None:
        if not self.driver:
            raise NvmlError("Driver Not Loaded")
        self.opened += 1

    def nvmlShutdown(self) -> None:
        self.opened -= 1

    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:
        return self.gpus[index]

    def nvmlDeviceGetUtilizationRates(self, gpu: dict[str, Any]) -> Any:
        return SimpleNamespace(gpu=_answer(gpu["busy"]))

    def nvmlDeviceGetMemoryInfo(self, gpu: dict[str, Any]) -> Any:
        return SimpleNamespace(used=_answer(gpu["used"]), total=32)

    def nvmlDeviceGetTemperature(self, gpu: dict[str, Any], sensor: int) -> int:
        return int(_answer(gpu["celsius"]))

    def nvmlDeviceGetPowerUsage(self, gpu: dict[str, Any]) -> int:
        return int(_answer(gpu["milliwatts"]))

    def nvmlDeviceGetClockInfo(self, gpu: dict[str, Any], clock: int) -> int:
        return int(_answer(gpu["mhz"]))

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, gpu: dict[str, Any]) -> int:
        return int(_answer(gpu["reasons"]))

    def nvmlDeviceGetTotalEccErrors(self, gpu: dict[str, Any], kind: int, counter: int) -> int:
        return int(_answer(gpu["ecc"])[kind])

    def nvmlEventSetCreate(self) -> object:
        return self

    def nvmlDeviceRegisterEvents(self, gpu: dict[str, Any], kind: int, events: object) -> None:
        assert kind == self.nvmlEventTypeXidCriticalError

    def nvmlEventSetWait_v2(self, events: object, timeout_ms: int) -> Any:
        if not self.xids:
            raise NvmlTimeout("Timeout")
        return SimpleNamespace(eventData=self.xids.pop(0))


def _answer(value: Any) -> Any:
    if isinstance(value, Exception):
        raise value
    return value


class FakeSink:
    """Keeps what is sent. failures: what the next calls raise; refuse: how many of each batch are refused for good."""

    def __init__(self) -> None:
        self.events: dict[tuple[str, str], list[LogEvent]] = {}
        self.values: list[MetricValue] = []
        self.calls = 0
        self.failures: list[DureError] = []
        self.away = False
        self.refuse = 0

    def put_events(self, batch: Sequence[LogEvent], *, group: str, stream: str) -> int:
        self._call()
        self.events.setdefault((group, stream), []).extend(batch)
        return self.refuse

    def put_metrics(self, namespace: str, batch: Sequence[MetricValue]) -> int:
        self._call()
        self.values.extend(batch)
        return self.refuse

    def messages(self, stream: str) -> list[str]:
        return [event.message for (_, name), events in self.events.items() if name == stream for event in events]

    def _call(self) -> None:
        self.calls += 1
        if self.away:
            raise Unreachable("no route")
        if self.failures:
            raise self.failures.pop(0)
