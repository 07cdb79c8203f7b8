"""Paths of the file system and their keys, and copies that appear whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.response import StreamingBody
from botocore.stub import ANY

from cluster_scripts.backends.aws.bucket import Bucket
from cluster_scripts.backends.aws.copying import Item, Places, download, plan_download, plan_upload, upload
from cluster_scripts.jobs.errors import InvalidArgument, OtherSide, Refused
from tests.unit.cluster_scripts.backends.aws.stubbed import FACTS, Stubs, stubbed

PLACES = Places(FACTS.file_system)


@pytest.fixture
def stubs() -> Iterator[Stubs]:
    with stubbed() as there:
        yield there


@pytest.fixture
def bucket(stubs: Stubs) -> Bucket:
    return Bucket(aws=stubs.aws, name="the-bucket")


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/data/a/b.txt", "data/a/b.txt"),
        ("/fsx/data/a", "data/a"),
        ("/data", "data"),
        ("/data/", "data"),
        ("/data//a/./b/", "data/a/b"),
        ("/data/ko/말뭉치.txt", "korean/말뭉치.txt"),
        ("/data/korean", "data/korean"),
    ],
)
def test_paths_become_keys_by_their_nearest_association(path: str, key: str) -> None:
    assert PLACES.key(path) == key


@pytest.mark.parametrize("path", ["/home/x", "/fsx", "/", "/dat", "/fsx/.dure/logs/1.log", "data/x", "", "/data/../x"])
def test_paths_outside_of_every_association_are_refused(path: str) -> None:
    with pytest.raises(InvalidArgument):
        PLACES.key(path)


def test_a_refusal_names_the_folders_that_are_tied() -> None:
    with pytest.raises(InvalidArgument, match=r":/data, :/data/ko"):
        PLACES.key("/home/x")


def test_a_key_longer_than_s3_takes_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="too long"):
        PLACES.key("/data/" + "가" * 400)


def test_folders_are_planned_whole_and_in_order(tmp_path: Path) -> None:
    for name in ("b", "a/c", "a/한"):
        (tmp_path / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "src" / name).write_text(name)
    (tmp_path / "src" / "link").symlink_to("b")
    (tmp_path / "src" / "broken").symlink_to("nowhere")
    plain = plan_upload(tmp_path / "src", "data/t", into=False)
    assert [(item.key, item.size) for item in plain] == [
        ("data/t/a/c", 3),
        ("data/t/a/한", 5),
        ("data/t/b", 1),
        ("data/t/link", 1),
    ]
    assert plan_upload(tmp_path / "src", "data", into=True)[0].key == "data/src/a/c"
    assert plan_upload(tmp_path / "src" / "b", "data/new", into=False)[0].key == "data/new"


def test_there_must_be_something_to_send(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="no file or folder"):
        plan_upload(tmp_path / "missing", "data", into=True)
    with pytest.raises(InvalidArgument, match="no file in it"):
        plan_upload(tmp_path, "data", into=True)


def listing(stubs: Stubs, *names: str) -> None:
    stubs["s3"].add_client_error("head_object", "404", http_status_code=404)
    contents = [{"Key": name, "Size": 1} for name in names]
    stubs["s3"].add_response("list_objects_v2", {"Contents": contents, "IsTruncated": False})


def test_a_folder_is_fetched_without_the_marks_of_folders(stubs: Stubs, bucket: Bucket, tmp_path: Path) -> None:
    listing(stubs, "data/f/", "data/f/b", "data/f/a/", "data/f/a/c")
    items = plan_download(bucket, "data/f", tmp_path, shown="/data/f")
    assert [(item.key, item.path) for item in items] == [
        ("data/f/a/c", tmp_path / "f" / "a" / "c"),
        ("data/f/b", tmp_path / "f" / "b"),
    ]


@pytest.mark.parametrize("name", ["data/f/../../etc/passwd", "data/f//etc/passwd"])
def test_an_object_that_would_lead_out_is_refused(name: str, stubs: Stubs, bucket: Bucket, tmp_path: Path) -> None:
    listing(stubs, name)
    with pytest.raises(InvalidArgument, match="outside"):
        plan_download(bucket, "data/f", tmp_path / "new", shown="/data/f")


def test_nothing_there_is_said(stubs: Stubs, bucket: Bucket, tmp_path: Path) -> None:
    listing(stubs)
    with pytest.raises(InvalidArgument, match="nothing at :/data/f"):
        plan_download(bucket, "data/f", tmp_path / "new", shown="/data/f")


def body(content: bytes) -> dict[str, object]:
    return {"Body": StreamingBody(io.BytesIO(content), len(content)), "ContentLength": len(content), "ETag": '"e"'}


def test_a_fetched_file_appears_whole(stubs: Stubs, bucket: Bucket, tmp_path: Path) -> None:
    stubs["s3"].add_response("head_object", {"ContentLength": 4, "ETag": '"e"'})
    stubs["s3"].add_response("get_object", body(b"data"), None)
    target = tmp_path / "new" / "file"
    counted: list[int] = []
    download(bucket, [Item(path=target, key="data/x", size=4, name="x")], progress=counted.append)
    assert target.read_bytes() == b"data"
    assert sum(counted) == 4
    assert [path.name for path in target.parent.iterdir()] == ["file"]


def test_a_failed_fetch_leaves_what_was_there(stubs: Stubs, bucket: Bucket, tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    stubs["s3"].add_client_error("head_object", "403", http_status_code=403)
    with pytest.raises(Refused):
        download(bucket, [Item(path=target, key="data/x", size=4, name="x")], progress=lambda count: None)
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_target_that_cannot_be_written_is_explained(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    item = Item(path=tmp_path / "file" / "below", key="data/x", size=4, name="x")
    with pytest.raises(InvalidArgument, match="can't be written"):
        download(bucket, [item], progress=lambda count: None)


def test_files_are_sent_and_counted(stubs: Stubs, bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("12345")
    stubs["s3"].add_response(
        "put_object", {}, {"Bucket": "the-bucket", "Key": "data/f", "Body": ANY, "ChecksumAlgorithm": ANY}
    )
    upload(bucket, plan_upload(tmp_path / "f", "data", into=True), progress=lambda count: None)


def test_a_refused_upload_is_an_error_of_the_other_side(stubs: Stubs, bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("12345")
    stubs["s3"].add_client_error("put_object", "NoSuchBucket")
    with pytest.raises(OtherSide, match="NoSuchBucket"):
        upload(bucket, plan_upload(tmp_path / "f", "data", into=True), progress=lambda count: None)
