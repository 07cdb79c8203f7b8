"""The GPU collector on a fake of NVML's binding."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from monitoring.agent.gpu import Gpus, load_nvml
from monitoring.agent.readings import Reading
from tests.unit.monitoring.fakes import FakeNvml, NvmlError

ROOT = Path(__file__).parents[4]


def by_gpu(readings: list[Reading], gpu: str) -> dict[str, float]:
    return {reading.name: reading.sum / reading.count for reading in readings if reading.labels.get("Gpu") == gpu}


def of_machine(readings: list[Reading]) -> dict[str, Reading]:
    return {reading.name: reading for reading in readings if not reading.labels}


def test_without_binding_driver_or_gpu_there_are_no_readings() -> None:
    assert Gpus(None, print).collect(0) == []
    nvml = FakeNvml({})
    nvml.driver = False
    gpus = Gpus(nvml, print)
    assert gpus.collect(0) == []
    nvml.driver = True
    assert gpus.collect(60), "the driver was loaded meanwhile"
    assert Gpus(FakeNvml(), print).collect(0) == []


def test_what_a_gpu_shows() -> None:
    readings = Gpus(FakeNvml({}, {"busy": 100, "reasons": 0x40}), print).collect(0)
    assert by_gpu(readings, "0") == {
        "gpu_utilization": 50,
        "gpu_memory_utilization": 25,
        "gpu_temperature": 60,
        "gpu_power": 250,
        "gpu_sm_clock": 1530,
        "gpu_throttled": 0,
    }
    assert by_gpu(readings, "1")["gpu_throttled"] == 1


def test_samples_within_an_interval_become_one_reading() -> None:
    nvml = FakeNvml({}, {"busy": 90, "milliwatts": 100_000})
    gpus = Gpus(nvml, print)
    gpus.sample()
    nvml.gpus[0]["busy"] = 70
    gpus.sample()
    readings = gpus.collect(60)
    first = next(one for one in readings if one.name == "gpu_utilization" and one.labels == {"Gpu": "0"})
    assert (first.count, first.sum, first.minimum, first.maximum) == (2, 120, 50, 70)
    machine = of_machine(readings)
    assert machine["gpu_utilization"].count == 4
    assert machine["gpu_utilization"].sum == 300
    assert machine["gpu_power"].sum == 350
    assert [one.count for one in gpus.collect(120) if one.name == "gpu_temperature"] == [1, 1]


def test_what_a_gpu_cannot_answer_is_left_out() -> None:
    nvml = FakeNvml({"busy": NvmlError("Not Supported"), "ecc": NvmlError("Not Supported")}, {})
    gpus = Gpus(nvml, print)
    gpus.collect(0)
    readings = gpus.collect(60)
    assert "gpu_utilization" not in by_gpu(readings, "0")
    assert "gpu_ecc_corrected" not in by_gpu(readings, "0")
    assert by_gpu(readings, "1")["gpu_ecc_corrected"] == 0


def test_ecc_errors_are_counted_by_interval() -> None:
    nvml = FakeNvml({"ecc": [5, 0]}, {})
    gpus = Gpus(nvml, print)
    assert not [one for one in gpus.collect(0) if one.name.startswith("gpu_ecc")]
    nvml.gpus[0]["ecc"] = [7, 1]
    readings = gpus.collect(60)
    assert by_gpu(readings, "0")["gpu_ecc_corrected"] == 2
    assert of_machine(readings)["gpu_ecc_corrected"].sum == 2
    assert of_machine(readings)["gpu_ecc_uncorrected"].sum == 1
    nvml.gpus[0]["ecc"] = [3, 0]
    assert by_gpu(gpus.collect(120), "0")["gpu_ecc_corrected"] == 3, "counted anew since the driver was reloaded"


def test_xid_errors_are_counted_and_noted() -> None:
    notes: list[str] = []
    nvml = FakeNvml({})
    gpus = Gpus(nvml, notes.append)
    assert of_machine(gpus.collect(0))["gpu_xid_errors"].sum == 0
    nvml.xids = [79, 63]
    assert of_machine(gpus.collect(60))["gpu_xid_errors"].sum == 2
    assert notes == ["GPU driver error Xid 79", "GPU driver error Xid 63"]
    assert of_machine(gpus.collect(120))["gpu_xid_errors"].sum == 0


def test_a_gpu_that_fell_off_the_bus_goes_silent_alone() -> None:
    lost = NvmlError("GPU is lost")
    nvml = FakeNvml({}, {})
    gpus = Gpus(nvml, print)
    gpus.collect(0)
    nvml.gpus[0].update(dict.fromkeys(("busy", "used", "celsius", "milliwatts", "mhz", "reasons", "ecc"), lost))
    readings = gpus.collect(60)
    assert by_gpu(readings, "0") == {}
    assert by_gpu(readings, "1")["gpu_utilization"] == 50


def test_nvml_is_opened_again_when_no_gpu_answers() -> None:
    notes: list[str] = []
    nvml = FakeNvml({})
    gpus = Gpus(nvml, notes.append)
    gpus.collect(0)
    before = dict(nvml.gpus[0])
    nvml.gpus[0].update(
        dict.fromkeys(("busy", "used", "celsius", "milliwatts", "mhz", "reasons"), NvmlError("Uninitialized"))
    )
    assert gpus.collect(60) == []
    nvml.gpus[0].update(before)
    assert by_gpu(gpus.collect(120), "0")["gpu_utilization"] == 50
    assert notes == ["no GPU answers any more: opening NVML again"]
    assert nvml.opened == 1


def test_a_machine_where_xids_cannot_be_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    nvml = FakeNvml({})

    def refuse(*_: object) -> None:
        raise NvmlError("Not Supported")

    monkeypatch.setattr(nvml, "nvmlDeviceRegisterEvents", refuse)
    readings = Gpus(nvml, notes.append).collect(0)
    assert "gpu_xid_errors" not in of_machine(readings)
    assert notes == ["Xid errors can't be watched: Not Supported"]


def test_the_binding_has_what_the_fake_has() -> None:
    python = ROOT / ".envs" / "node" / "bin" / "python"
    if not python.exists():
        pytest.skip("the node environment is not installed")
    program = "import sys, pynvml; print([name for name in sys.argv[1:] if not hasattr(pynvml, name)])"
    names = [name for name in vars(FakeNvml) if name.startswith(("nvml", "NVML"))]
    run = subprocess.run([str(python), "-c", program, *names], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_machine_without_the_binding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert load_nvml() is None
