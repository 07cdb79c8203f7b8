"""NVIDIA GPUs through NVML: busy, memory, temperature, power, clock, throttling, ECC, Xid.

NVML answers with what is true at the moment, so it is asked several times an interval (`sample`) and the minimum, mean
and maximum are sent. What a GPU can't answer (ECC on a consumer card, use under MIG) is left out; a GPU that stops
answering ("fallen off the bus") goes silent while the others go on. NVML is opened again after a driver reload.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from monitoring.agent.readings import Reading, reading, summary

_ECC = ("gpu_ecc_corrected", "gpu_ecc_uncorrected")


def load_nvml() -> Any:
    """The NVML binding, or None where it is not installed. The driver's library itself is looked for by `Gpus`."""
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        return None


class Gpus:
    """All GPUs of the machine. nvml: the module pynvml, or None. note: takes a line about a Xid or a failure."""

    def __init__(self, nvml: Any, note: Callable[[str], None]) -> None:
        self._nvml = nvml
        self._note = note
        self._handles: dict[str, Any] = {}
        self._events: Any = None
        self._samples: dict[tuple[str, str], list[float]] = {}
        self._ecc_before: dict[tuple[str, str], int] = {}
        self._xids = 0

    def sample(self) -> None:
        """Ask each GPU once."""
        if not self._handles and not self._open():
            return
        for gpu, handle in self._handles.items():
            for name, value in self._read(handle).items():
                self._samples.setdefault((gpu, name), []).append(value)
        self._drain_events()

    def collect(self, now: float) -> list[Reading]:
        if not self._samples:
            self.sample()
        samples, self._samples = self._samples, {}
        if self._handles and not samples:
            self._close()  # every GPU fell silent: perhaps the driver was reloaded
        readings = [summary(name, values, {"Gpu": gpu}) for (gpu, name), values in samples.items()]
        readings += _of_the_machine(samples)
        readings += self._ecc()
        if self._events is not None:
            readings.append(reading("gpu_xid_errors", self._xids))
            self._xids = 0
        return readings

    def _open(self) -> bool:
        nvml = self._nvml
        if nvml is None:
            return False
        try:
            nvml.nvmlInit()
            self._handles = {str(i): nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())}
        except nvml.NVMLError:  # no driver, no GPU: asked again at the next sample, which costs nothing
            self._handles = {}
            return False
        if not self._handles:
            self._shut()
            return False
        self._watch_events()
        return True

    def _close(self) -> None:
        self._note("no GPU answers any more: opening NVML again")
        self._handles, self._events, self._ecc_before = {}, None, {}
        self._shut()

    def _shut(self) -> None:
        with suppress(self._nvml.NVMLError):
            self._nvml.nvmlShutdown()

    def _read(self, handle: Any) -> dict[str, float]:
        nvml = self._nvml
        questions: Mapping[str, Callable[[], float]] = {
            "gpu_utilization": lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu,
            "gpu_memory_utilization": lambda: _filled(nvml.nvmlDeviceGetMemoryInfo(handle)),
            "gpu_temperature": lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
            "gpu_power": lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000,  # it answers in milliwatts
            "gpu_sm_clock": lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
            "gpu_throttled": lambda: self._throttled(handle),
        }
        answers = {name: self._ask(question) for name, question in questions.items()}
        return {name: value for name, value in answers.items() if value is not None}

    def _ask(self, question: Callable[[], float]) -> float | None:
        try:
            return float(question())
        except self._nvml.NVMLError:
            return None

    def _throttled(self, handle: Any) -> float:
        """1 while heat or power slows the GPU down; an idle GPU's low clock and a limit set by hand don't count."""
        nvml = self._nvml
        slowed = (
            nvml.nvmlClocksThrottleReasonHwSlowdown
            | nvml.nvmlClocksThrottleReasonHwThermalSlowdown
            | nvml.nvmlClocksThrottleReasonSwThermalSlowdown
            | nvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown
            | nvml.nvmlClocksThrottleReasonSwPowerCap
        )
        return float(bool(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle) & slowed))

    def _ecc(self) -> list[Reading]:
        """Growth of the error counters since the last collection: for each GPU, and for all together."""
        if not self._handles:
            return []
        nvml = self._nvml
        kinds = (nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED)
        readings: list[Reading] = []
        totals: dict[str, int] = {}
        for gpu, handle in self._handles.items():
            for name, kind in zip(_ECC, kinds, strict=True):
                count = self._ask(partial(nvml.nvmlDeviceGetTotalEccErrors, handle, kind, nvml.NVML_VOLATILE_ECC))
                if count is None:
                    continue
                before = self._ecc_before.get((gpu, name))
                self._ecc_before[gpu, name] = int(count)
                if before is not None:
                    grown = int(count) - before if count >= before else int(count)  # the driver was reloaded
                    readings.append(reading(name, grown, {"Gpu": gpu}))
                    totals[name] = totals.get(name, 0) + grown
        return readings + [reading(name, total) for name, total in totals.items()]

    def _watch_events(self) -> None:
        nvml = self._nvml
        self._events = None
        try:
            events = nvml.nvmlEventSetCreate()
            for handle in self._handles.values():
                nvml.nvmlDeviceRegisterEvents(handle, nvml.nvmlEventTypeXidCriticalError, events)
        except nvml.NVMLError as error:
            self._note(f"Xid errors can't be watched: {error}")
            return
        self._events = events

    def _drain_events(self) -> None:
        nvml = self._nvml
        while self._events is not None:
            try:
                event = nvml.nvmlEventSetWait_v2(self._events, 0)
            except nvml.NVMLError_Timeout:
                return
            except nvml.NVMLError as error:
                self._note(f"Xid errors can't be watched any more: {error}")
                self._events = None
                return
            self._xids += 1
            self._note(f"GPU driver error Xid {event.eventData}")


def _filled(memory: Any) -> float:
    return 100 * memory.used / memory.total if memory.total else 0.0


def _of_the_machine(samples: Mapping[tuple[str, str], list[float]]) -> list[Reading]:
    """The machine's own figures: over all samples of all its GPUs; power is the sum of the GPUs' means."""
    merged: dict[str, list[list[float]]] = {}
    for (_, name), values in samples.items():
        merged.setdefault(name, []).append(values)
    readings = [
        summary(name, [value for values in merged[name] for value in values])
        for name in ("gpu_utilization", "gpu_memory_utilization")
        if name in merged
    ]
    if "gpu_power" in merged:
        readings.append(reading("gpu_power", sum(sum(values) / len(values) for values in merged["gpu_power"])))
    return readings
