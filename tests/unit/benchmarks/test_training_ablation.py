"""The table of the tuning list says what was measured, by the right clock, and what was not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.training_ablation import BEGIN, COMPARISONS, END, Comparison, arms, line, put_between_marks

FOUND: dict[str, Any] = {
    "date": "2026-11-30",
    "machine": "two cores",
    "runs": 2,
    "goal": "> 1",
    "holds": False,
    "table": {
        "new": {"seconds": 0.2, "cpu_seconds": 0.1},
        "old": {"seconds": 0.3, "cpu_seconds": 0.4},
    },
}
ONE = Comparison("some", "new / old", "new", "old", "GPUs")


def test_a_row_divides_cpu_seconds_or_the_clock_where_ranks_wait() -> None:
    command = "`python -m benchmarks.training_ablation_some`"
    assert line(ONE, FOUND) == f"| new / old | 0.2 / 0.3 | 0.1 / 0.4 | **4.00** | GPUs | {command} |"
    assert "**1.50**" in line(replace(ONE, by_clock=True), FOUND)


def test_what_was_not_measured_is_said() -> None:
    nothing = {"table": {}, "device": "cpu(0)", "said": "float16 fully connected layer is only supported by CuDNN"}
    assert "| needs a GPU | | |" in line(ONE, nothing)
    assert "| not measured yet | | |" in line(ONE, None)
    assert "Nothing measured on cpu(0)" in "\n".join(arms("fp16", nothing))


def test_a_goal_that_does_not_hold_is_said() -> None:
    text = "\n".join(arms("some", FOUND))
    assert "**does not hold.**" in text
    assert "| old | 0.3 | 0.4 |" in text


def test_the_table_goes_between_the_marks_only(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    put_between_marks(document, "| new |")
    assert document.read_text() == f"before\n{BEGIN}\n\n| new |\n\n{END}\nafter\n"
    document.write_text("no marks")
    with pytest.raises(ValueError, match="put them where"):
        put_between_marks(document, "| new |")


def test_every_comparison_names_a_benchmark() -> None:
    folder = Path(__file__).parents[3] / "benchmarks"
    assert all((folder / f"training_ablation_{comparison.name}.py").exists() for comparison in COMPARISONS)
