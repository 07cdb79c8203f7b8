"""Our own checks of the tree: each must find what it is there for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.check import rules


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(rules, "ROOT", tmp_path)
    return tmp_path


def put(tree: Path, name: str, text: str) -> str:
    (tree / name).parent.mkdir(parents=True, exist_ok=True)
    (tree / name).write_text(text)
    return name


@pytest.mark.parametrize(
    "line", ["import moto", "# on the local cloud", "host = '127.0.0.1'", "os.environ['AWS_ENDPOINT_URL']"]
)
def test_product_code_may_not_know_the_local_cloud(tree: Path, line: str) -> None:
    files = [put(tree, "monitoring/agent/main.py", line + "\n"), put(tree, "infra/local_cloud/server.py", line + "\n")]
    assert [found.split(":")[0] for found in rules.one_code_path(files)] == ["monitoring/agent/main.py"]


def test_the_command_that_starts_the_local_cloud_may_name_it(tree: Path) -> None:
    assert rules.one_code_path([put(tree, "cluster_scripts/cli/cloud.py", "# the local cloud\n")]) == []


def test_boto3_outside_its_place(tree: Path) -> None:
    files = [
        put(tree, "cluster_scripts/cli/jobs.py", "def f():\n    import boto3\n"),
        put(tree, "cluster_scripts/backends/aws/session.py", "import boto3\n"),
        put(tree, "training/encode.py", "from botocore.config import Config\n"),
    ]
    found = rules.boto3_in_its_place(files)
    assert [f.split(":")[0] for f in found] == ["cluster_scripts/cli/jobs.py", "training/encode.py"]


def test_long_files(tree: Path) -> None:
    files = [put(tree, "a.py", "x\n" * (rules.LONGEST_FILE + 1)), put(tree, "b.py", "x\n" * rules.LONGEST_FILE)]
    assert [f.split(":")[0] for f in rules.short_files(files)] == ["a.py"]


@pytest.mark.parametrize(
    "text", ["cd /work/main", "pip install --index-url x", "-----BEGIN RSA PRIVATE KEY-----", "AKIA" + "Q" * 16]
)
def test_leaks(tree: Path, text: str) -> None:
    assert len(rules.no_leaks([put(tree, "docs/a.md", text + "\n")])) == 1


def test_unfinished_merges(tree: Path) -> None:
    text = "a\n" + "<" * 7 + " HEAD\nb\n=======\nc\n" + ">" * 7 + " branch\n"
    found = rules.no_merge_marks([put(tree, "docs/a.md", text)])
    assert [f.split(":")[1] for f in found] == ["2", "6"]


def test_dead_links(tree: Path) -> None:
    put(tree, "docs/there.md", "")
    found = rules.links([put(tree, "docs/a.md", "[x](there.md) [y](gone.md) [z](https://example.com) [t](#top)\n")])
    assert [f.rsplit(" ", 1)[1] for f in found] == ["gone.md"]


def test_locks_without_hashes(tree: Path) -> None:
    good = put(tree, "requirements/a.txt", "six==1.0 \\\n    --hash=sha256:00\n")
    bad = put(tree, "requirements/b.txt", "six==1.0\n")
    assert [f.split(":")[0] for f in rules.hashed_locks([good, bad])] == ["requirements/b.txt"]
