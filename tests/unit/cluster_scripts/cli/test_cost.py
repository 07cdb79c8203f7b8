from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster_scripts.cli.cost import run
from cluster_scripts.jobs.errors import InvalidArgument
from infra.config.bill import others, queue_bill
from infra.config.loader import load_cluster

ROOT = Path(__file__).resolve().parents[4]
TALK = ROOT / "clusters/kogpt2-p3dn.yaml"
SPOT = ROOT / "clusters/spot.yaml"


def test_a_queue_an_hour_and_a_month_and_what_else_would_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([str(TALK)]) == 0
    out = capsys.readouterr().out
    assert "queue gpu: p3dn.24xlarge, on-demand, in use1-az6" in out
    assert "  a node: 31.23 an hour (the same in each zone)" in out
    assert "  full: 249.87 an hour, 182,406.08 a month" in out
    assert "  instead: spot: no price: it changes by the hour" in out
    assert "  instead: p4d.24xlarge: 21.96 an hour" in out
    assert "in all: 1.16 idle to 251.03 full an hour" in out
    assert "a job" not in out


def test_a_job_is_its_nodes_and_what_stands_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([str(TALK), "--nodes", "2", "--hours", "10", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    job = answer["job"]
    assert job["nodes_usd"] == pytest.approx(20 * (31.212 + 200 * 0.08 / 730))
    assert job["rest_usd"] == pytest.approx(10 * sum(answer["standing_usd_an_hour"].values()))
    assert job["usd"] == pytest.approx(job["nodes_usd"] + job["rest_usd"])
    assert run([str(TALK), "--hours", "0.5"]) == 0
    assert "a job on 8 nodes of queue gpu for 0.5 h: 124.94, with what" in capsys.readouterr().out


def test_what_has_no_price_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c.yaml"
    text = TALK.read_text().replace("use1-az6", "use2-az1").replace("us-east-1", "us-east-2")
    text = text.replace("p3dn.24xlarge", "p5e.48xlarge").replace('"580"', "580-open")
    file.write_text(text.replace("/dure/images/volta", "/dure/images/default"))
    assert run([str(file), "--hours", "1"]) == 0
    out = capsys.readouterr().out
    assert "  a node: no price an hour" in out
    assert "  instead: in a Capacity Block: 43.26 an hour (as of 2024-12-31; paid in advance, for whole days)" in out
    assert "in all, without queue gpu" in out
    assert "a job on 8 nodes of queue gpu for 1 h: no price, with what stands beside it no price" in out
    assert run([str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["queues"][0]["full_month"] is None


def test_a_capacity_block_has_its_own_price_and_names_the_one_on_demand() -> None:
    talk = load_cluster(TALK)
    changes = {"instance_type": "p5.48xlarge", "market": "capacity-block"}
    bill = queue_bill(talk, talk.queues[0].model_copy(update=changes))
    assert bill.node_hour == pytest.approx(39.33, abs=0.1)
    assert (bill.others[0].how, bill.others[0].usd_an_hour) == ("on demand", 55.04)


def test_a_cheaper_type_of_another_zone_says_where_it_is() -> None:
    talk = load_cluster(TALK)
    elsewhere = others(talk.model_copy(update={"zones": ("use1-az5",)}), talk.queues[0])
    assert elsewhere[-1].note.startswith("not in use1-az5, but in ")
    assert others(talk, talk.queues[0])[-1].note == ""


def test_which_queue_is_meant_has_to_be_clear() -> None:
    with pytest.raises(InvalidArgument, match=r"say which with --queue \(gpu, cpu\)"):
        run([str(SPOT), "--hours", "1"])
    with pytest.raises(InvalidArgument, match="no queue 'x'"):
        run([str(TALK), "--hours", "1", "--queue", "x"])
    with pytest.raises(InvalidArgument, match="at most 8 nodes, not 9"):
        run([str(TALK), "--hours", "1", "--nodes", "9"])


@pytest.mark.parametrize("words", [["--hours", "nan"], ["--hours", "0"], ["--nodes", "1"], ["--hours", "1e9"]])
def test_senseless_requests_end_with_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run([str(TALK), *words])
    assert ended.value.code == 2
