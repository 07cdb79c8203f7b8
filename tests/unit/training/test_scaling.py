"""runs/scaling.sh and its table."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.unit.training.conftest import ROOT, Launch, pretrain_arguments
from training import scaling
from training.errors import TrainingError
from training.scaling import Measured, measured, readable, table


def test_efficiency_is_against_the_smallest_run() -> None:
    rows = table([Measured(32, 256, 380.0), Measured(8, 64, 100.0), Measured(16, 128, 190.0)])
    assert [row.ranks for row in rows] == [8, 16, 32]
    assert [row.speed_up for row in rows] == [1.0, 1.9, 3.8]
    assert [row.efficiency for row in rows] == [1.0, 0.95, 0.95]
    assert readable(rows)[-1].split() == ["32", "256", "380.0", "3.80", "95.0%"]


def test_a_log_without_its_end_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "weak-1.log"
    log.write_text("step 1/60 loss 8.3\nsrun: error: gpu-1: task 0: Killed\n")
    with pytest.raises(TrainingError, match=r"weak-1.log is no log of a finished.*it ends with: srun: error"):
        scaling.main([str(log)])
    with pytest.raises(TrainingError, match="cannot be read"):
        scaling.main([str(tmp_path / "nothing.log")])


def test_it_reads_what_a_run_prints(
    launch: Launch, corpus_folder: Path, tokenizer_folder: Path, tmp_path: Path
) -> None:
    job = launch(2, pretrain_arguments(corpus_folder, tokenizer_folder, tmp_path))
    found = measured(job.communicate(timeout=100)[0], name="log")
    assert (found.ranks, found.global_batch) == (2, 8)
    assert found.records_per_second > 1


# A stand-in for `dure`: notes its words and prints what a job with so many ranks would
DURE = """#!/bin/sh
printf '%s\\n' "$*" >> "$CALLS"
while [ "$1" != --nodes ]; do shift; done
nodes=$2
echo "model of 1 parameters, $((nodes * 2)) rank(s) on cpu(0) over gloo, global batch $nodes x 8 tokens"
echo "$((nodes * 90 + 10)).0 records/s on average; model written to x"
"""


def run_script(folder: Path, **environment: str) -> tuple[str, list[str]]:
    (folder / "bin").mkdir()
    (folder / "bin" / "dure").write_text(DURE)
    (folder / "bin" / "dure").chmod(0o755)
    (folder / "calls").touch()
    settings = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "CALLS": str(folder / "calls"), "TASKS": "2"}
    done = subprocess.run(
        ["bash", str(ROOT / "runs/scaling.sh")],
        cwd=folder,
        env={**os.environ, **settings, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, (folder / "calls").read_text().splitlines()


def test_the_script_submits_a_job_a_node_count_and_prints_both_tables(tmp_path: Path) -> None:
    output, calls = run_script(tmp_path, NODES="1 2 4", PER_RANK="3", GLOBAL="48", QUEUE="gpu")
    assert len(calls) == 6
    assert all(call.startswith("submit --queue gpu --name scaling-") and "--wait" in call for call in calls)
    batches = [call.split("--global-batch ")[1].split()[0] for call in calls]
    assert batches == ["6", "12", "24", "48", "48", "48"]
    outputs = {call.split("--output ")[1].split()[0] for call in calls}
    assert len(outputs) == 6  # a run that found another's checkpoint would have nothing to do
    weak, strong = output.split("strong scaling")
    assert weak.splitlines()[-1].split() == ["8", "4", "370.0", "3.70", "92.5%"]
    assert "92.5%" in strong


def test_a_dry_run_sends_nothing_and_prints_no_table(tmp_path: Path) -> None:
    output, calls = run_script(tmp_path, EXTRA="--dry-run", NODES="1 8", MODES="weak")
    assert len(calls) == 2
    assert all(" --dry-run -- python -m training.launch -- python -m training.pretrain" in call for call in calls)
    assert "efficiency" not in output


def test_the_table_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "a.log"
    log.write_text("x, 4 rank(s) on gpu(0) over nccl, global batch 32 x 1024 tokens\n512.5 records/s on average; y\n")
    assert scaling.main([str(log), "--json"]) == 0
    expected = {"ranks": 4, "global_batch": 32, "records_per_second": 512.5, "speed_up": 1.0, "efficiency": 1.0}
    assert json.loads(capsys.readouterr().out) == [expected]
