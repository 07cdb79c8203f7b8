"""The ladder: what each step deploys, and that it stops at the first command that fails."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from cluster_scripts.cli.ladder import PAID_STEPS, climb, commands, steps, variant_of, written
from infra.config.live import FREE_STEPS
from infra.config.loader import check_file, load_cluster
from infra.config.schema import ClusterFile

ROOT = Path(__file__).parents[4]
TALK = load_cluster(ROOT / "clusters/kogpt2-p3dn.yaml")


def test_the_steps_go_from_nothing_to_everything() -> None:
    ladder = steps(TALK)
    assert [step.name for step in ladder] == [*FREE_STEPS, *PAID_STEPS]
    assert [step.price for step in ladder[:3]] == ["costs nothing"] * 3
    prices = [step.usd_an_hour for step in ladder]
    assert None not in prices
    assert sorted(prices, key=lambda usd: usd or 0.0) == prices
    assert ladder[-1].price == "251.03 USD for each hour that it stands"


def test_a_file_without_gpus_has_no_step_for_them() -> None:
    queue = TALK.queues[0].model_copy(update={"instance_type": "c5.2xlarge", "efa": False})
    cluster = TALK.model_copy(update={"queues": (queue,)})
    assert [step.name for step in steps(cluster)] == [*FREE_STEPS, "cpu", "all"]


def test_what_has_no_price_is_said_to_have_none() -> None:
    cluster = TALK.model_copy(update={"region": "eu-north-1"})
    assert steps(cluster)[-1].price == "no price in the catalog"


@pytest.mark.parametrize("step", PAID_STEPS)
@pytest.mark.parametrize("file", sorted((ROOT / "clusters").glob("*.yaml")), ids=lambda file: str(file.stem))
def test_every_steps_file_is_a_sound_cluster_file(
    file: Path, step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cluster = load_cluster(file)
    found = {each.name: each for each in steps(cluster)}
    if step not in found:
        pytest.skip("this file has no such step")
    path = written(found[step], file)
    checked = check_file(path)
    assert checked.problems == ()
    assert checked.cluster == found[step].cluster
    assert (path == file) == (step == "all")


def test_the_smaller_clusters_have_one_node_and_a_name_of_their_own() -> None:
    long: ClusterFile = TALK.model_copy(update={"name": "a" * 18 + "-b", "protect": True})
    for step in ("cpu", "gpu"):
        variant = variant_of(long, step)
        assert variant is not None
        assert (variant.name, variant.protect) == ("a" * 16 + f"-{step}", False)
        assert [queue.max for queue in variant.queues] == [1]
        assert (variant.image, variant.network, variant.head) == (long.image, long.network, long.head)


class Calls:
    def __init__(self, *codes: int) -> None:
        self.codes, self.made = list(codes), list[list[str]]()

    def __call__(self, words: Sequence[str]) -> int:
        self.made.append(list(words))
        return self.codes.pop(0) if self.codes else 0


CPU = next(step for step in steps(TALK) if step.name == "cpu")


def test_a_step_runs_the_commands_that_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    calls = Calls()
    assert climb(CPU, Path("x.yaml"), call=calls, yes=True) == 0
    assert [words[0] for words in calls.made] == ["up", "submit", "down"]
    assert calls.made == [list(words) for words in commands(CPU, Path("x.yaml"))]
    out = capsys.readouterr().out
    assert out.index("0.79 USD") < out.index("$ dure up x.yaml") < out.index("step cpu passes")


def test_a_step_that_fails_is_left_standing_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    calls = Calls(0, 1)
    assert climb(CPU, Path("x.yaml"), call=calls, yes=True) == 1
    assert [words[0] for words in calls.made] == ["up", "submit"]
    assert "costs money: `dure down x.yaml` ends it" in capsys.readouterr().err


def test_the_last_step_leaves_the_cluster() -> None:
    assert [words[0] for words in commands(steps(TALK)[-1], Path("x.yaml"))] == ["up", "submit"]
