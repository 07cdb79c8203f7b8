"""Whole runs: they learn, resume bit for bit, survive damage, obey SIGTERM, and end in a model folder."""

from __future__ import annotations

import json
import math
import shutil
import signal
from pathlib import Path

import pytest

from tests.unit.training.conftest import Launch, pretrain_arguments
from training import checkpoint, generate, score
from training.language import LanguageModel, Sampling


@pytest.fixture(scope="session")
def folders(corpus_folder: Path, tokenizer_folder: Path) -> tuple[Path, Path]:
    return corpus_folder, tokenizer_folder


def finish(launch: Launch, ranks: int, arguments: list[str], *, code: int = 0) -> str:
    process = launch(ranks, arguments)
    output = process.communicate(timeout=100)[0]
    assert process.returncode == code, output
    return str(output)


def losses(metrics: Path, rank: int = 0) -> dict[int, float]:
    """Loss of each step, the last one written where a step ran twice."""
    lines = [json.loads(line) for line in (metrics / f"rank-{rank:05d}.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "event" not in line}


@pytest.fixture(scope="module")
def whole(launch: Launch, tmp_path_factory: pytest.TempPathFactory, folders: tuple[Path, Path]) -> tuple[Path, str]:
    """A run on two ranks that nothing disturbs, with its output."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, finish(launch, 2, pretrain_arguments(*folders, folder))


def test_it_learns_and_says_so(whole: tuple[Path, str]) -> None:
    folder, output = whole
    about = json.loads((folder / "model" / "training.json").read_text())
    assert about["loss"]["first"] == pytest.approx(math.log(512), abs=0.2)
    assert about["loss"]["last"] < about["loss"]["first"] - 0.2
    assert about["ranks"] == 2
    assert about["held_out_bits_per_byte"] > 0
    assert about["unigram_bits_per_byte"] > 0
    assert about["perplexity"] > 1
    assert "records/s" in output
    assert "tokens/s" in output
    assert output.count("step 12/12") == 1  # rank 0 alone speaks


def test_every_rank_writes_its_figures(whole: tuple[Path, str]) -> None:
    folder, _ = whole
    assert losses(folder / "metrics", 0) == losses(folder / "metrics", 1)
    line = json.loads((folder / "metrics" / "rank-00001.jsonl").read_text().splitlines()[3])
    needed = {
        "time",
        "rank",
        "step",
        "loss",
        "records_per_second",
        "tokens_per_second",
        "gradient_norm",
        "communication_seconds",
    }
    assert needed <= line.keys()
    assert line["tokens_per_second"] == pytest.approx(32 * line["records_per_second"])


def resumed_alike(launch: Launch, whole: Path, folder: Path, folders: tuple[Path, Path], *, ranks: int = 2) -> str:
    """Go on in `folder` and compare with the undisturbed run, bit for bit."""
    output = finish(launch, ranks, pretrain_arguments(*folders, folder))
    done, expected = losses(folder / "metrics"), losses(whole / "metrics")
    assert {step: done[step] for step in expected if step in done} == {
        step: expected[step] for step in expected if step in done
    }
    assert (folder / "model" / "model.safetensors").read_bytes() == (whole / "model" / "model.safetensors").read_bytes()
    return output


def test_a_killed_run_goes_on_bit_for_bit(
    launch: Launch, whole: tuple[Path, str], folders: tuple[Path, Path], tmp_path: Path
) -> None:
    process = launch(2, pretrain_arguments(*folders, tmp_path))
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step 7/"):
            break
    process.kill()  # the launcher goes without a word, and its ranks with it
    process.stdout.close()
    process.wait()
    shutil.rmtree(tmp_path / "metrics")
    output = resumed_alike(launch, whole[0], tmp_path, folders)
    assert "resumed at step 4" in output


def test_a_damaged_checkpoint_is_passed_over(
    launch: Launch, whole: tuple[Path, str], folders: tuple[Path, Path], tmp_path: Path
) -> None:
    store = tmp_path / "model.checkpoints"
    shutil.copytree(whole[0] / "model.checkpoints", store)
    assert checkpoint.steps(store) == [12, 8]
    weights = checkpoint.path_of(store, 12) / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    output = resumed_alike(launch, whole[0], tmp_path, folders)
    assert "checkpoint of step 12 is not usable" in output
    assert "resumed at step 8" in output


def test_one_rank_goes_on_where_two_stopped(
    launch: Launch, whole: tuple[Path, str], folders: tuple[Path, Path], tmp_path: Path
) -> None:
    store = tmp_path / "model.checkpoints"
    shutil.copytree(whole[0] / "model.checkpoints", store)
    shutil.rmtree(checkpoint.path_of(store, 12))
    finish(launch, 1, pretrain_arguments(*folders, tmp_path))
    done, expected = losses(tmp_path / "metrics"), losses(whole[0] / "metrics")
    assert set(done) == {9, 10, 11, 12}
    for step, loss in done.items():
        assert loss == pytest.approx(expected[step], abs=1e-4)  # the same records; only the order of sums differs


def test_accumulation_takes_the_same_steps(
    launch: Launch, whole: tuple[Path, str], folders: tuple[Path, Path], tmp_path: Path
) -> None:
    finish(launch, 1, pretrain_arguments(*folders, tmp_path, micro_batch=2, steps=12))
    done, expected = losses(tmp_path / "metrics"), losses(whole[0] / "metrics")
    assert done.keys() == expected.keys()
    assert all(done[step] == pytest.approx(expected[step], abs=1e-3) for step in expected)


def test_sigterm_means_checkpoint_and_code_75(
    launch: Launch, whole: tuple[Path, str], folders: tuple[Path, Path], tmp_path: Path
) -> None:
    process = launch(1, pretrain_arguments(*folders, tmp_path, steps=100_000))
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step 5/"):
            process.send_signal(signal.SIGTERM)
            break
    rest = process.communicate(timeout=60)[0]
    assert process.returncode == 75
    stopped = checkpoint.steps(tmp_path / "model.checkpoints")[0]
    assert f"stopped by SIGTERM after step {stopped}" in rest
    assert stopped >= 5


def test_what_gives_up_exactness_is_said_and_kept(launch: Launch, folders: tuple[Path, Path], tmp_path: Path) -> None:
    said = "may differ from an undisturbed one in the last bits: gradients are fused as they come (--reduce-groups 0)"
    assert said in finish(launch, 2, pretrain_arguments(*folders, tmp_path, reduce_groups=0, steps=4))
    state = checkpoint.load(checkpoint.path_of(tmp_path / "model.checkpoints", 4)).state
    assert state["environment"]["inexact_because"] == ["gradients are fused as they come (--reduce-groups 0)"]
    assert state["environment"]["operations"] == "gloo"


def test_an_exact_run_says_nothing_of_bits(whole: tuple[Path, str]) -> None:
    folder, output = whole
    assert "last bits" not in output
    state = checkpoint.load(checkpoint.path_of(folder / "model.checkpoints", 12)).state
    assert state["environment"]["inexact_because"] == []


def test_other_settings_do_not_resume(
    launch: Launch, whole: tuple[Path, str], folders: tuple[Path, Path], tmp_path: Path
) -> None:
    shutil.copytree(whole[0] / "model.checkpoints", tmp_path / "model.checkpoints")
    output = finish(launch, 1, pretrain_arguments(*folders, tmp_path, learning_rate=0.5), code=1)
    assert "learning_rate: 0.003 there, 0.5 here" in output


def test_a_damaged_shard_stops_the_run(launch: Launch, folders: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(folders[0], tmp_path / "tokens")
    shard = next((tmp_path / "tokens").glob("train-*.bin"))
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    output = finish(launch, 1, pretrain_arguments(tmp_path / "tokens", folders[1], tmp_path), code=1)
    assert f"error: shard {shard} is damaged" in output


def test_a_batch_that_cannot_be_divided_names_every_factor(
    launch: Launch, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    output = finish(launch, 1, pretrain_arguments(*folders, tmp_path, micro_batch=3), code=2)
    assert "--global-batch 8 is not a multiple of --micro-batch 3 x 1 ranks" in output


def test_the_model_folder_generates_and_scores(whole: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    model = whole[0] / "model"
    loaded = LanguageModel(model)
    greedy = loaded.score("가나 다라.")
    assert greedy.tokens > 2
    assert greedy.log_probability < 0
    capsys.readouterr()
    for _ in range(2):
        assert (
            generate.main(["--model", str(model), "--prompt", "가나", "--length", "10", "--seed", "5", "--json"]) == 0
        )
    first, second = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert first == second
    assert first["text"].startswith("가나")
    assert score.main(["--model", str(model), "가나 다라.", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["log_probability"] == pytest.approx(greedy.log_probability)
    text = loaded.generate("가", length=100, sampling=Sampling(temperature=0), generator=None)  # type: ignore[arg-type]
    assert len(loaded.encode(text)) <= 33
