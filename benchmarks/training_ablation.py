"""python -m benchmarks.training_ablation [--again | --present] [--document FILE]: the talk's tuning list as one table.

Gathers what the comparisons (benchmarks.training_ablation_NAME) left in out/bench, and runs those that have left
nothing, or all with --again, or none with --present (the table then says what is missing). Prints the table as
Markdown, writes it to out/bench/ablation.md and, with --document, between the two marks of that file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.__main__ import OUT, run
from benchmarks.support import result

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


@dataclass(frozen=True)
class Comparison:
    """A line of the list: its benchmark, the arm that the trainer takes, the arm it is held against, and what the
    figure can't say.
    """

    name: str
    title: str
    taken: str
    other: str
    not_shown: str
    by_clock: bool = False  # several ranks wait for each other: the clock decides, not CPU seconds


COMPARISONS = (
    Comparison(
        "reducer",
        "Horovod's ring / one reducer (kvstore dist_sync), 4 ranks",
        "ring, 4 ranks",
        "one server, 4 ranks",
        "NCCL's ring and tree, EFA",
        by_clock=True,
    ),
    Comparison(
        "reducer",
        "Horovod's ring / a dist_sync server on every machine, 4 ranks",
        "ring, 4 ranks",
        "a server each, 4 ranks",
        "NCCL's ring and tree, EFA",
        by_clock=True,
    ),
    Comparison(
        "fusion",
        "reduction during the backward pass / after it, 2 ranks",
        "4 groups",
        "4 groups, not overlapped",
        "NCCL's streams",
        by_clock=True,
    ),
    Comparison(
        "fusion",
        "4 fixed groups / Horovod's fusion by timing (64 MB, 1 ms), 2 ranks",
        "4 groups",
        "fusion 64 MB, cycle 1 ms",
        "64 ranks, where each portion costs more",
        by_clock=True,
    ),
    Comparison(
        "fusion",
        "4 groups filled as gradients become ready / by name, 2 ranks",
        "4 groups",
        "4 groups, filled by name",
        "64 ranks, where each portion costs more",
        by_clock=True,
    ),
    Comparison("gelu", "fused GELU / composed, a training step", "step, fused", "step, composed", "kernel launches"),
    Comparison(
        "gelu", "fused GELU / composed, the operator alone", "operator, fused", "operator, composed", "kernel launches"
    ),
    Comparison(
        "optimizer",
        "multi-tensor AdamW / one by one (MXNet's operators)",
        "22.9 M parameters, adamw multi-tensor",
        "22.9 M parameters, adamw one by one",
        "kernel launches, which are what it saves: the trainer takes it on GPUs only",
    ),
    Comparison(
        "optimizer",
        "multi-tensor LAMB / one by one (MXNet's operators)",
        "22.9 M parameters, lamb multi-tensor",
        "22.9 M parameters, lamb one by one",
        "kernel launches",
    ),
    Comparison(
        "optimizer",
        "our AdamW operator / MXNet's one by one",
        "22.9 M parameters, adamw, our operator",
        "22.9 M parameters, adamw one by one",
        "GPUs: it is for CPUs only",
    ),
    Comparison(
        "trainer",
        "DistributedTrainer / DistributedOptimizer, 2 ranks",
        "trainer, 4 groups",
        "optimizer, 4 groups",
        "more than two ranks",
        by_clock=True,
    ),
    Comparison(
        "transpose", "ids turned on the host / on the device", "host", "device", "a GPU that waits for its host"
    ),
    Comparison("transpose", "ids turned once / activations at each layer", "host", "activations", "GPU memory traffic"),
    Comparison("graph", "static graph / hybridized without static memory", "static", "hybrid", "kernel launches"),
    Comparison("graph", "static graph / op by op", "static", "imperative", "kernel launches"),
    Comparison("fp16", "fp16 / fp32", "fp16", "fp32", "anything: MXNet has no fp16 kernel for it on a CPU"),
)


def line(comparison: Comparison, found: Mapping[str, Any] | None) -> str:
    """The comparison as a row of the table; without a result it says so."""
    command = f"`python -m benchmarks.training_ablation_{comparison.name}`"
    if found is None:
        return f"| {comparison.title} | not measured yet | | | {comparison.not_shown} | {command} |"
    taken, other = (found["table"].get(arm) for arm in (comparison.taken, comparison.other))
    if taken is None or other is None:
        return f"| {comparison.title} | needs a GPU | | | {comparison.not_shown} | {command} |"
    processor = [f"{arm['cpu_seconds']:.4g}" if "cpu_seconds" in arm else "-" for arm in (taken, other)]
    seconds = f"{taken['seconds']:.4g} / {other['seconds']:.4g}"
    by = "seconds" if comparison.by_clock else "cpu_seconds"
    factor = other[by] / taken[by]
    return (
        f"| {comparison.title} | {seconds} | {' / '.join(processor)} | **{factor:.2f}** | {comparison.not_shown} "
        f"| {command} |"
    )


def arms(name: str, found: Mapping[str, Any]) -> list[str]:
    """All arms of a benchmark as a table of their own."""
    if not found["table"]:
        return [
            f"### {name}",
            "",
            f"Nothing measured on {found['device']}: {' '.join(found['said'].split()[-12:])}",
            "",
        ]
    columns = list(next(iter(found["table"].values())))
    rows = [f"| {arm} | " + " | ".join(f"{row[c]:.4g}" for c in columns) + " |" for arm, row in found["table"].items()]
    return [
        f"### {name}",
        "",
        f"{found['date']}, {found['machine']}, {found['runs']} runs; goal: {found['goal']}; "
        + ("holds." if found["holds"] else "**does not hold.**"),
        "",
        f"| arm | {' | '.join(column.replace('_', ' ') for column in columns)} |",
        "| --- |" + " --- |" * len(columns),
        *rows,
        "",
    ]


def markdown(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The whole table, and every arm behind it."""
    lines = [
        "| what / against what | seconds a step | CPU seconds a step | factor | not shown on a CPU | command |",
        "| --- | --- | --- | --- | --- | --- |",
        *(line(comparison, results.get(comparison.name)) for comparison in COMPARISONS),
        "",
    ]
    for name, found in results.items():
        lines += arms(name, found)
    return "\n".join(lines)


def gather(names: Sequence[str], *, again: bool, present: bool) -> dict[str, dict[str, Any]]:
    """Results by name, from out/bench or (unless only what is `present` is wanted) from a run; RuntimeError for one
    that gives none.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        benchmark = f"training_ablation_{name}"
        path = OUT / f"{benchmark}.json"
        if present and not path.exists():
            continue
        if again or not path.exists():
            print(f"{benchmark} ...", file=sys.stderr, flush=True)
            if run(benchmark) is None:
                raise RuntimeError(f"{benchmark} gave no result: see {path.with_suffix('.log')}")
        found[name] = json.loads(path.read_text())
    return found


def put_between_marks(document: Path, table: str) -> None:
    """Replace what stands between the marks of a document; ValueError if it has none."""
    text = document.read_text()
    if BEGIN not in text or END not in text:
        raise ValueError(f"{document} has no {BEGIN} and {END}: put them where the table belongs")
    before, after = text.split(BEGIN, 1)[0], text.split(END, 1)[1]
    document.write_text(f"{before}{BEGIN}\n\n{table.strip()}\n\n{END}{after}")


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser()
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--again", action="store_true", help="run every comparison anew")
    which.add_argument("--present", action="store_true", help="run none")
    parser.add_argument("--document", type=Path, help="a Markdown file to put the table into")
    args = parser.parse_args()
    names = list(dict.fromkeys(comparison.name for comparison in COMPARISONS))
    results = gather(names, again=args.again, present=args.present)
    table = markdown(results)
    (OUT / "ablation.md").write_text(table)
    if args.document:
        put_between_marks(args.document, table)
    print(table)
    held = sum(bool(found["holds"]) for found in results.values())
    return result(
        "training_ablation",
        held / len(names),
        unit="share of the tuning list's comparisons whose goal holds",
        goal=1.0,
        holds=held == len(names),
        peers={name: found["value"] for name, found in results.items()},
        runs=1,
    )


if __name__ == "__main__":
    sys.exit(main())
