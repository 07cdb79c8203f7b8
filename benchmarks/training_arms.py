"""What the comparisons of the tuning list share: arms (benchmarks.arms.step) run in turn, and their table."""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.support import median
from benchmarks.training_network import Machine, Started, machines, processor_seconds, start
from benchmarks.training_support import TRAINER, Measured, environment, measure

# 4.2 million parameters: a step of two windows takes about 0.2 s on one core
MODEL: dict[str, int] = {"layers": 4, "units": 256, "heads": 4, "sequence": 128, "vocabulary": 4000, "batch": 2}
Row = dict[str, float]
PORT = 19_177


def options(description: str | None, *, runs: int, steps: int) -> argparse.Namespace:
    """The two options that every comparison has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--runs", type=int, default=runs, help="times that each arm is started, in turn with the others"
    )
    parser.add_argument("--steps", type=int, default=steps, help="measured steps of a start")
    return parser.parse_args()


def build_operators() -> None:
    """The trainer's C++ operators, where they are not built yet."""
    measure([TRAINER, "-m", "training.native.build"])


def results(output: str) -> list[dict[str, Any]]:
    """What the ranks printed, rank 0 first."""
    lines = [line.removeprefix("RESULT ") for line in output.splitlines() if line.startswith("RESULT ")]
    return sorted((json.loads(line) for line in lines), key=lambda one: int(one.get("rank", 0)))


def run_arm(arm: Mapping[str, object], *, ranks: int = 1, env: Mapping[str, str] | None = None) -> Measured:
    """One start of an arm with so many ranks on this machine, one thread each."""
    launch: list[str | Path] = [TRAINER, "-m", "training.launch", "--local", str(ranks), "--"] if ranks > 1 else []
    step: list[str | Path] = [TRAINER, "-m", "benchmarks.arms.step", json.dumps(arm)]
    return measure([*launch, *step], env=environment(OPENBLAS_CORETYPE="Haswell", **(env or {})))


def row(found: Sequence[Sequence[dict[str, Any]]]) -> Row:
    """Medians over all measured steps of all starts: the slowest rank's seconds, all ranks' CPU seconds."""
    seconds, cpu = [], []
    for ranks in found:
        steps = range(len(ranks[0]["seconds"]))
        seconds += [max(float(one["seconds"][step]) for one in ranks) for step in steps]
        cpu += [sum(float(one["cpu"][step]) for one in ranks) for step in steps]
    return {"seconds": round(median(seconds), 4), "cpu_seconds": round(median(cpu), 4)}


def agree(losses: Sequence[Sequence[float]], *, within: float = 2e-3) -> bool:
    """Whether all these courses of losses are one."""
    return all(abs(a - b) < within for other in losses for a, b in zip(losses[0], other, strict=True))


def compare(
    arms: Mapping[str, Mapping[str, object]],
    *,
    runs: int,
    ranks: int = 1,
    envs: Mapping[str, Mapping[str, str]] | None = None,
) -> tuple[dict[str, Row], bool]:
    """Run all arms in turn; a row each, and whether the losses of all of them agree."""
    found: dict[str, list[list[dict[str, Any]]]] = {name: [] for name in arms}
    for number in range(runs):
        for name, arm in arms.items():
            ranked = results(run_arm(arm, ranks=ranks, env=(envs or {}).get(name)).output)
            found[name].append(ranked)
            print(f"run {number + 1}/{runs} {name}: {row([ranked])}", file=sys.stderr, flush=True)
    table = {name: row(group) for name, group in found.items()}
    same = [agree([group[rank]["losses"] for each in found.values() for group in each]) for rank in range(ranks)]
    return table, all(same)


def ways(module: str, *arguments: object) -> tuple[dict[str, Row], dict[str, float], dict[str, Any]]:
    """Run an arm that takes its ways in turn by itself; a row a way, how far each is from the first, and the rest."""
    command: list[str | Path] = [TRAINER, "-m", f"benchmarks.arms.{module}", *map(str, arguments)]
    found = results(measure(command, env=environment(OPENBLAS_CORETYPE="Haswell")).output)[0]
    table = {
        name: {"seconds": round(seconds, 5), "cpu_seconds": round(found["cpu"][name], 5)}
        for name, seconds in found["seconds"].items()
    }
    return table, found["differences"], found


@dataclass(frozen=True)
class Figures:
    """Of one run: median seconds of a step (the slowest rank's), CPU seconds a step of all processes together."""

    seconds: float
    cpu: float
    losses: list[list[float]]
    megabytes: float
    ranks: list[dict[str, Any]]


def medians(group: Sequence[Figures], *, digits: int) -> Row:
    """The row of an arm that ran on machines several times."""
    return {
        "seconds": round(median([one.seconds for one in group]), digits),
        "cpu_seconds": round(median([one.cpu for one in group]), digits),
    }


def same_losses(runs: Mapping[str, Sequence[Figures]], *, ranks: int) -> bool:
    """Whether every rank had the same losses in all runs of all arms."""
    every = [one for group in runs.values() for one in group]
    return all(agree([one.losses[rank] for one in every]) for rank in range(ranks))


def parameter_server(
    ranks: int, servers: str, cluster: Sequence[Machine], stack: contextlib.ExitStack, arm: str
) -> tuple[list[Started], list[Started]]:
    """Workers and the others of kvstore dist_sync; one server on the last machine, or one on every worker's."""
    places = [cluster[ranks]] if servers == "one" else list(cluster[:ranks])
    common = {
        "DMLC_PS_ROOT_URI": cluster[ranks].address,
        "DMLC_PS_ROOT_PORT": str(PORT),
        "DMLC_NUM_SERVER": str(len(places)),
        "DMLC_NUM_WORKER": str(ranks),
        "OPENBLAS_CORETYPE": "Haswell",
    }

    def one(machine: Machine, role: str, command: list[str]) -> Started:
        env = environment(**common, DMLC_ROLE=role, DMLC_NODE_HOST=machine.address)
        return start(machine, role, [TRAINER, *command], env, stack)

    others = [one(cluster[ranks], "scheduler", ["-c", "import mxnet"])]
    others += [one(place, "server", ["-c", "import mxnet"]) for place in places]
    workers = [one(place, "worker", ["-m", "benchmarks.arms.step", arm]) for place in cluster[:ranks]]
    return workers, others


def ring(
    ranks: int, cluster: Sequence[Machine], stack: contextlib.ExitStack, arm: str, more: Mapping[str, str]
) -> tuple[list[Started], list[Started]]:
    """Horovod's ranks."""
    env = environment(OPENBLAS_CORETYPE="Haswell", **more)
    started = []
    for rank, machine in enumerate(cluster[:ranks]):
        place = [str(rank), str(ranks), cluster[0].address, str(PORT)]
        step: list[str | Path] = [TRAINER, "-m", "benchmarks.arms.step", arm]
        started.append(start(machine, "rank", [TRAINER, "-m", "benchmarks.arms.rank", *place, "--", *step], env, stack))
    return started, []


def run_on_machines(
    arm: Mapping[str, object],
    *,
    ranks: int,
    megabits: float | None,
    servers: str | None = None,
    env: Mapping[str, str] | None = None,
) -> Figures:
    """One start of an arm on machines of their own, a rank each: Horovod's ring, or with `servers` (one, each) MXNet's
    parameter server on a further machine or on every rank's.
    """
    text = json.dumps({**arm, "reducer": "dist_sync" if servers else "trainer"})
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(machines(ranks + 1, megabits=megabits))
        if servers is None:
            ranked, others = ring(ranks, cluster, stack, text, env or {})
        else:
            ranked, others = parameter_server(ranks, servers, cluster, stack, text)
        return collect(ranked, others)


def collect(ranked: Sequence[Started], others: Sequence[Started]) -> Figures:
    """Read what the ranks print; CPU of servers between rank 0's BEGIN and RESULT."""
    before = after = 0.0
    found: list[dict[str, Any]] = []
    for started in ranked:
        assert started.process.stdout is not None
        said = []
        for line in started.process.stdout:
            said.append(line)
            if line.startswith("BEGIN") and started is ranked[0]:
                before = sum(processor_seconds(other.process.pid) for other in others)
            elif line.startswith("RESULT "):
                if started is ranked[0]:
                    after = sum(processor_seconds(other.process.pid) for other in others)
                found.append(json.loads(line.removeprefix("RESULT ")))
                break
        else:
            raise RuntimeError(f"a {started.name} ended without a result:\n{''.join(said)[-3000:]}")
    for started in ranked:
        with contextlib.suppress(subprocess.TimeoutExpired):
            started.process.wait(timeout=10)  # what a rank writes at its end
    found.sort(key=lambda one: int(one["rank"]))
    count = len(found[0]["seconds"])
    seconds = median([max(one["seconds"][step] for one in found) for step in range(count)])
    cpu = (sum(sum(one["cpu"]) for one in found) + after - before) / count
    return Figures(seconds, cpu, [one["losses"] for one in found], found[0]["bytes"] / 1e6, found)
