from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster_scripts.cli.check import run

ROOT = Path(__file__).resolve().parents[4]
TALK = ROOT / "clusters/kogpt2-p3dn.yaml"


def test_the_talks_file_is_fine_and_has_a_price(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([str(TALK)]) == 0
    out, err = capsys.readouterr()
    assert "cluster kogpt2 in us-east-1, queues: gpu (0-8 p3dn.24xlarge)" in out
    assert "in all: 1.16 to 251.03 USD an hour" in out
    assert "needs 768 vCPUs of the quota L-417A185B" in out
    assert "p4d.24xlarge costs 21.96 here [cheaper-equal]" in err


def test_a_wrong_file_ends_with_2_and_every_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = tmp_path / "c.yaml"
    wrong.write_text(TALK.read_text().replace("max: 8", "max: x").replace("throughput: 250", "throughput: 100"))
    assert run([str(wrong)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{wrong}:11: queues[0].max: found" in err
    assert "[lustre-throughput]" in err
    assert err.endswith("2 problems\n")


def test_json_holds_it_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([str(TALK), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is True
    assert answer["problems"] == []
    assert answer["usd_an_hour"][-1]["what"] == "in all"
    assert [quota["code"] for quota in answer["quotas"]] == ["L-1216C47A", "L-417A185B"]


def test_against_an_earlier_file_it_says_what_the_change_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "c.yaml"
    new.write_text(TALK.read_text().replace("max: 8", "max: 9").replace("capacity_gib: 2400", "capacity_gib: 1200"))
    assert run([str(new), "--against", str(TALK)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith("  storage.capacity_gib: 2400 -> 1200: replaces data (")
    assert lines[-1].startswith("  queues.gpu.max: 8 -> 9: none (")
    assert run([str(TALK), "--against", str(TALK)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "  nothing changes"


def test_a_missing_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([str(tmp_path / "none.yaml")]) == 2
    assert "a file that cannot be read" in capsys.readouterr().err
