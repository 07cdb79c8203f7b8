"""`dure check --live`: prints the ladder of a first deployment, asks AWS what can be asked for nothing, and says on
which step the cluster stands; `--step` climbs one of the paid ones.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster_scripts.cli.ladder import Step, climb, steps, written
from cluster_scripts.cli.output import say
from cluster_scripts.cli.wording import count
from cluster_scripts.jobs.errors import OtherSide, RequestError
from infra.config.live import FREE_STEPS

if TYPE_CHECKING:
    from cluster_scripts.backends.aws.asking import Answer
    from infra.config.schema import ClusterFile

_SIGNS = {"passes": "ok", "fails": "NO", "unknown": "? "}
Answers = dict[str, list["Answer"]]


def ask(cluster: ClusterFile, *, each_step: bool = False) -> Answers:
    """The answers by free step, up to the first step that fails. `each_step` prints each as it is asked."""
    from cluster_scripts.backends.aws.live import STEPS
    from cluster_scripts.backends.aws.session import open_session

    aws = open_session(cluster.region)
    found: Answers = {}
    for name in FREE_STEPS:
        found[name] = list(STEPS[name](aws, cluster))
        if each_step:
            _print_step(name, found[name])
        if failed(found[name]):
            break
    return found


def failed(answers: list[Answer]) -> bool:
    """Whether any question was answered with no."""
    return any(answer.verdict == "fails" for answer in answers)


def stands_on(answers: Answers) -> str | None:
    """The highest free step whose questions were all answered without a no; None when the first fails."""
    passed = [name for name in FREE_STEPS if name in answers and not failed(answers[name])]
    return passed[-1] if passed else None


def as_json(cluster: ClusterFile, answers: Answers) -> dict[str, Any]:
    """Ladder and answers for programs."""
    ladder = steps(cluster)
    return {
        "ladder": [{"name": step.name, "what": step.what, "usd_an_hour": step.usd_an_hour} for step in ladder],
        "live": [{"step": name, **asdict(answer)} for name in answers for answer in answers[name]],
        "stands_on": stands_on(answers),
    }


def show(cluster: ClusterFile, file: Path) -> Answers:
    """Prints the ladder with each price, then what AWS answers, then what to do next."""
    ladder = steps(cluster)
    print("the ladder of a first deployment:")
    for number, step in enumerate(ladder, 1):
        print(f"  {number}. {step.name:<9} {step.what} ({step.price})", flush=True)
    answers = ask(cluster, each_step=True)
    _print_end(ladder, answers, file)
    return answers


def _print_step(name: str, answers: list[Answer]) -> None:
    print(f"{name}:")
    for answer in answers:
        line = f"  {_SIGNS[answer.verdict]} {answer.what}: {answer.said} [{answer.rule}]"
        print(line + (f"\n     {answer.fix}" if answer.fix else ""), flush=True)


def _print_end(ladder: tuple[Step, ...], answers: Answers, file: Path) -> None:
    stands = stands_on(answers)
    if stands != FREE_STEPS[-1]:
        stopped = next(name for name in FREE_STEPS if failed(answers.get(name, [])))
        say(f"stands on: {stands or 'nothing yet'}; step {stopped} fails, and nothing further was asked")
        return
    open_questions = sum(answer.verdict == "unknown" for found in answers.values() for answer in found)
    left = f"; {count(open_questions, 'question')} could not be answered" if open_questions else ""
    print(f"stands on: {stands}, the highest step that costs nothing{left}. Next:")
    for step in ladder:
        if step.cluster is not None:
            print(f"  dure check {file} --live --step {step.name}    {step.price}")


def run_step(cluster: ClusterFile, file: Path, name: str, *, yes: bool) -> int:
    """Asks the free steps, then climbs a paid one. Errors: RequestError for a step that the file has not; OtherSide
    when a free step fails."""
    from cluster_scripts.cli.main import main

    step = next((each for each in steps(cluster) if each.name == name), None)
    if step is None or step.cluster is None:
        raise RequestError(f"there is no step {name} for this file: no queue of it has GPUs")
    answers = ask(step.cluster, each_step=True)
    if stands_on(answers) != FREE_STEPS[-1]:
        raise OtherSide(f"step {name} would fail: AWS refuses what is marked NO above; nothing was deployed")
    return climb(step, written(step, file), call=lambda words: main(list(words)), yes=yes)
