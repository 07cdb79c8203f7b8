"""The specification: one loader, strict, on both sides of the wire."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster_scripts.jobs.errors import InvalidSpec
from cluster_scripts.jobs.spec import MAX_ARGUMENT, MAX_COMMAND, CodeRef, JobSpec

SPEC = JobSpec(
    name="pretrain",
    queue="gpu",
    nodes=2,
    tasks_per_node=8,
    command=("python", "-m", "training.pretrain", "--text", "아버지가 방에 들어가신다"),
    environment={"NCCL_DEBUG": "INFO"},
    time_limit_seconds=3600,
    code=CodeRef.of("ab" * 32),
    submitted_by="arn:aws:sts::123456789012:assumed-role/scientist/kim",
    submitted_at=datetime(2020, 5, 13, 9, 0, tzinfo=UTC),
)


def edited(**changes: Any) -> str:
    return json.dumps({**json.loads(SPEC.to_json()), **changes})


def problems(text: str) -> list[str]:
    with pytest.raises(InvalidSpec) as caught:
        JobSpec.from_json(text)
    return list(caught.value.problems)


def test_text_and_value_are_inverse() -> None:
    assert JobSpec.from_json(SPEC.to_json()) == SPEC
    assert JobSpec.from_json(replace(SPEC, code=None, time_limit_seconds=None).to_json()).code is None


def test_same_specification_is_the_same_text() -> None:
    again = json.dumps(dict(reversed(json.loads(SPEC.to_json()).items())))
    assert JobSpec.from_json(again).to_json() == SPEC.to_json()


@given(
    words=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40), max_size=5),
    value=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40),
)
def test_any_text_survives_the_wire(words: list[str], value: str) -> None:
    spec = replace(SPEC, command=("program", *words), environment={"X": value})
    assert JobSpec.from_json(spec.to_json()) == spec


def test_every_problem_is_named_at_once() -> None:
    text = edited(name="a b", nodes="2", queue="GPU", command=[], environment={"1X": "", "SLURM_X": ""}, extra=1)
    found = problems(text)
    assert [problem.split(":")[0] for problem in found] == [
        "'extra'",
        "name",
        "queue",
        "nodes",
        "command",
        "environment",
        "environment",
    ]
    assert "found '2', expected a whole number from 1 to 1000" in found[3]


@pytest.mark.parametrize("key", sorted(json.loads(SPEC.to_json())))
def test_every_key_is_needed(key: str) -> None:
    data = json.loads(SPEC.to_json())
    del data[key]
    assert problems(json.dumps(data)) == [f"{key}: missing"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("version", 2),
        ("version", True),
        ("name", ""),
        ("name", "a" * 65),
        ("name", "x\n"),
        ("name", "$(id)"),
        ("name", "-J"),
        ("queue", "gpu,cpu"),
        ("queue", "gpu --wrap=id"),
        ("nodes", 0),
        ("nodes", True),
        ("nodes", 1.5),
        ("nodes", 10**6),
        ("tasks_per_node", 0),
        ("command", "ls"),
        ("command", [""]),
        ("command", ["ls", 1]),
        ("command", ["a\0b"]),
        ("command", ["\ud800"]),
        ("command", ["x" * (MAX_ARGUMENT + 1)]),
        ("command", ["x" * 90_000] * 3),
        ("environment", []),
        ("environment", {"A B": "x"}),
        ("environment", {"A\n": "x"}),
        ("environment", {"X": 1}),
        ("environment", {"X": "a\0"}),
        ("environment", {"DURE_JOB_ID": "1"}),
        ("environment", {"SBATCH_WAIT": "1"}),
        ("environment", {f"V{i}": "x" * 50_000 for i in range(3)}),
        ("time_limit_seconds", 0),
        ("time_limit_seconds", 10**9),
        ("code", {"sha256": "ab" * 32}),
        ("code", {"sha256": "AB" * 32, "key": f".dure/code/{'AB' * 32}.tar.gz"}),
        ("code", {"sha256": "ab" * 32, "key": f".dure/code/{'cd' * 32}.tar.gz"}),
        ("code", {"sha256": "ab" * 32, "key": f"../.dure/code/{'ab' * 32}.tar.gz"}),
        ("submitted_by", ""),
        ("submitted_by", "a\nb"),
        ("submitted_by", "x" * 1001),
        ("submitted_at", "yesterday"),
        ("submitted_at", "2020-05-13T09:00:00"),
        ("submitted_at", None),
        ("requeue", "yes"),
    ],
)
def test_bad_values_are_refused(key: str, value: object) -> None:
    assert all(problem.startswith(f"{key}: ") for problem in problems(edited(**{key: value})))


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"version":1,"version":1}', "[" * 100_000, " " * 1_000_001])
def test_broken_text_is_refused(text: str) -> None:
    assert problems(text)


def test_made_by_hand_it_is_checked_too() -> None:
    with pytest.raises(InvalidSpec, match="name"):
        replace(SPEC, name="a b")


def test_limits_are_reachable() -> None:
    JobSpec.from_json(edited(command=["x" * MAX_ARGUMENT, "y" * (MAX_COMMAND - MAX_ARGUMENT - 4), "z"]))
