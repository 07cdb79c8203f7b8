"""The log of steps."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from cluster_scripts.jobs.errors import StepFailed
from cluster_scripts.node.steps import StepLog
from tests.unit.cluster_scripts.made import Time


def test_each_step_with_its_time_in_both_forms(tmp_path: Path) -> None:
    time, out = Time(), io.StringIO()
    log = StepLog("boot", file=tmp_path / "boot.log", clock=time.clock, out=out)
    with log.step("mount"):
        time.sleep(0.8)
    with pytest.raises(StepFailed), log.step("munge"):
        raise StepFailed("no 한국어 key")
    log.note("ready")
    entries = [json.loads(line) for line in (tmp_path / "boot.log").read_text(encoding="utf-8").splitlines()]
    assert entries[0] == {
        "time": "2020-09-13T12:26:40.800Z",
        "program": "boot",
        "step": "mount",
        "seconds": 0.8,
        "ok": True,
    }
    assert (entries[1]["ok"], entries[1]["note"]) == (False, "no 한국어 key")
    assert [entry["step"] for entry in entries] == ["mount", "munge", "ready"]
    lines = out.getvalue().splitlines()
    assert lines[0] == "   0.80 s  done    mount (0.80 s)"
    assert lines[1] == "   0.80 s  FAILED  munge (0.00 s): no 한국어 key"
