from __future__ import annotations

from pathlib import Path

import pytest

from infra.config.source import MAX_BYTES, parse, read

BOMB = (
    "a: &a [x, x, x, x, x, x, x, x, x]\n"
    "b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
    "c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]\n"
    "d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c]\n"
    "e: [*d, *d, *d, *d, *d, *d, *d, *d, *d]\n"
)


def rules(text: str | bytes) -> set[str]:
    content = text if isinstance(text, bytes) else text.encode()
    return {problem.rule for problem in parse(content, file="x.yaml").problems}


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (BOMB, "yaml-bomb"),
        ("a: &a [*a]", "yaml-bomb"),
        ("a: &a {b: *a}", "yaml-bomb"),
        ("[" * 5000, "yaml-depth"),
        ("[" * 200 + "]" * 200, "yaml-depth"),
        ("a: 1\na: 2", "duplicate-key"),
        ("a: [", "yaml"),
        ("a: b: c", "yaml"),
        ("a: 1\n---\nb: 2", "yaml"),
        ("*nowhere", "yaml"),
        ("\ta: 1", "yaml"),
        (b"\xff\xfe", "yaml"),
        (b"a: \x00", "yaml"),
        ("1: x", "yaml-key"),
        ("[a]: x", "yaml-key"),
        ("<<: {a: 1}", "yaml-key"),
        ("a: !!python/object/apply:os.system [x]", "yaml-tag"),
        ("a: !Ref x", "yaml-tag"),
        ("a: !!set {x}", "yaml-tag"),
        ("a: 2020-99-99", "yaml-value"),
        ("a: !!int x", "yaml-value"),
        ("a: " + "9" * 5000, "yaml-value"),
    ],
)
def test_what_a_cluster_file_never_needs_is_refused(text: str | bytes, rule: str) -> None:
    assert rule in rules(text)


def test_a_merge_key_is_said_to_be_no_key() -> None:
    assert "yaml-key" in rules("base: &b {x: 1}\nother: {<<: *b}")


def test_lines_are_remembered_for_keys_and_items() -> None:
    document = parse(b"a: 1\nb:\n  - c: 2\n\n    d: 3\n", file="x.yaml")
    assert document.problems == []
    assert document.value == {"a": 1, "b": [{"c": 2, "d": 3}]}
    assert [document.line(path) for path in [("a",), ("b", 0, "c"), ("b", 0, "d"), ("b", 0, "missing")]] == [1, 3, 5, 3]


def test_the_line_of_broken_yaml_is_the_parsers() -> None:
    (problem,) = parse(b"a: 1\nb: 2\nc: [\n", file="x.yaml").problems
    assert problem.line in (3, 4)


def test_harmless_aliases_are_values() -> None:
    assert parse(b"a: &x [1, 2]\nb: *x\n", file="x").value == {"a": [1, 2], "b": [1, 2]}


def test_files_that_cannot_be_read_are_problems(tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (MAX_BYTES + 1))
    assert [problem.rule for problem in read(large).problems] == ["file-size"]
    assert [problem.rule for problem in read(tmp_path / "none.yaml").problems] == ["file"]
    assert [problem.rule for problem in read(tmp_path).problems] == ["file"]
