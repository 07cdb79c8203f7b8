"""`dure cp`: which side is which, and where things go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from cluster_scripts.backends.aws.bucket import Bucket
from cluster_scripts.backends.aws.cluster import AwsCluster
from cluster_scripts.backends.aws.copying import Item
from cluster_scripts.cli import cp
from cluster_scripts.cli.main import main
from tests.unit.cluster_scripts.backends.aws.stubbed import FACTS


class Place:
    """A cluster whose bucket has the folder data/runs."""

    facts = FACTS
    bucket = Bucket(aws=cast(Any, None), name="the-bucket")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Item]:
    items: list[Item] = []

    def upload(bucket: Bucket, wanted: list[Item], *, progress: Any) -> None:
        items.extend(wanted)
        for item in wanted:
            progress(item.size)

    monkeypatch.setattr(cp, "open_aws", lambda target: cast(AwsCluster, Place()))
    monkeypatch.setattr(cp, "is_folder", lambda bucket, key: key == "data/runs")
    monkeypatch.setattr(cp, "upload", upload)
    return items


@pytest.mark.parametrize(
    ("target", "key"),
    [
        (":/data/new.txt", "data/new.txt"),
        (":/data/", "data/f.txt"),
        (":/data", "data/f.txt"),
        (":/data/runs", "data/runs/f.txt"),
        (":/fsx/data/new/", "data/new/f.txt"),
        (":/data/ko", "korean/f.txt"),
    ],
)
def test_a_file_goes_into_a_folder_or_gets_a_new_name(
    target: str, key: str, sent: list[Item], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "f.txt").write_text("1234")
    assert main(["cp", str(tmp_path / "f.txt"), target]) == 0
    assert [item.key for item in sent] == [key]
    assert "1 file, 4 B in 0s" in capsys.readouterr().err


def test_several_files_go_into_the_target(sent: list[Item], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "ab":
        (tmp_path / name).write_text(name)
    assert main(["cp", "--json", str(tmp_path / "a"), str(tmp_path / "b"), ":/data/new"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [file["key"] for file in answer["files"]] == ["data/new/a", "data/new/b"]
    assert answer["bytes"] == 2


@pytest.mark.parametrize("words", [["a"], ["a", "b"], [":/data/a", ":/data/b"], ["a", ":/data/b", ":/data/c"]])
def test_one_side_must_be_the_clusters(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["cp", *words])
    assert end.value.code == 2


def test_several_things_need_a_folder_to_go_to(
    sent: list[Item], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cp", ":/data/a", ":/data/b", str(tmp_path / "new")]) == 2
    assert "is no folder" in capsys.readouterr().err
