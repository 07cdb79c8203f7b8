"""What is sent of a working folder, what is refused, and that the same files always give the same bytes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from cluster_scripts.cli.work_folder.archive import packed
from cluster_scripts.cli.work_folder.listing import list_files
from cluster_scripts.cli.work_folder.problems import FolderProblem, FolderTooLarge, KeyLikeFiles
from cluster_scripts.cli.work_folder.secrets import suspicion

# never a real key: put together here, so that no scanner finds one in this file
KEY_ID = "AKIA" + "QWERTYUIOPASDFGH"
SECRET = "aws_secret_access_key = " + "abcdefghij" * 4
PEM = "-----BEGIN RSA " + "PRIVATE KEY-----\n" + "MIIEowIBAAKCAQEA" * 6


def git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "protocol.file.allow=always"]
    subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "train.py").write_text("print('hello')\n")
    (folder / ".gitignore").write_text("out/\n*.params\n")
    (folder / "out").mkdir()
    (folder / "out" / "big").write_text("x")
    (folder / "model.params").write_text("x")
    return folder


def names(folder: Path) -> list[str]:
    with packed(folder) as archive, tarfile.open(archive.path) as tar:
        return tar.getnames()


def test_tracked_and_new_files_go_ignored_ones_do_not(work: Path) -> None:
    git(work, "add", "train.py")
    (work / "새 파일 'x'\n.py").write_text("1")
    assert names(work) == [".gitignore", "train.py", "새 파일 'x'\n.py"]


def test_a_tracked_file_that_is_ignored_goes_and_a_deleted_one_does_not(work: Path) -> None:
    git(work, "add", "-f", "model.params", "train.py")
    (work / "train.py").unlink()
    assert names(work) == [".gitignore", "model.params"]


def test_a_folder_below_the_root_of_the_work_tree_is_sent_alone(work: Path) -> None:
    (work / "job").mkdir()
    (work / "job" / "run.sh").write_text("1")
    (work / "job" / "a.params").write_text("ignored by the root's .gitignore")
    assert names(work / "job") == ["run.sh"]


def test_submodules_go_along(work: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    (other / "lib.py").write_text("1")
    git(other, "add", ".")
    git(other, "commit", "-qm", "x")
    git(work, "submodule", "add", "-q", str(other), "lib")
    assert "lib/lib.py" in names(work)


def test_without_git_caches_and_environments_stay(tmp_path: Path) -> None:
    for name in ("a.py", "pkg/b.py", "pkg/__pycache__/b.pyc", ".venv/bin/python", "node_modules/x.js", "out/c"):
        path = tmp_path / "plain" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1")
    assert list_files(tmp_path / "plain") == ["a.py", "out/c", "pkg/b.py"]


def test_the_same_files_give_the_same_bytes(work: Path) -> None:
    (work / "run.sh").write_text("1")
    (work / "run.sh").chmod(0o755)
    with packed(work) as first:
        content = first.path.read_bytes()
        assert first.sha256 == hashlib.sha256(content).hexdigest()
        assert (first.files, first.size) == (3, len(content))
    os.utime(work / "train.py", (1, 1))
    (work / "train.py").chmod(0o600)
    (work / "run.sh").chmod(0o700)
    with packed(work) as second:
        assert second.path.read_bytes() == content
        with tarfile.open(second.path) as tar:
            modes = {entry.name: entry.mode for entry in tar}
            assert {(entry.uid, entry.gid, entry.uname, entry.mtime) for entry in tar} == {(0, 0, "", 0)}
    assert modes == {".gitignore": 0o644, "run.sh": 0o755, "train.py": 0o644}


def test_the_archive_is_gone_afterwards(work: Path) -> None:
    with packed(work) as archive:
        path = archive.path
    assert not path.exists()


@pytest.mark.parametrize(
    "name", ["id_rsa", "sub/id_ed25519", "Server.PEM", ".env", ".env.production", "a.key", ".aws/credentials", ".netrc"]
)
def test_key_like_names_are_refused(work: Path, name: str) -> None:
    path = work / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("x")
    with pytest.raises(KeyLikeFiles) as refused:
        names(work)
    assert [found for found, _ in refused.value.findings] == [name]
    assert "--allow-file" in str(refused.value)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    "text", [f"key = '{KEY_ID}'", SECRET, SECRET.upper().replace(" = ", '": "'), PEM, "hf_" + "a" * 34]
)
def test_key_like_texts_are_refused_and_never_quoted(work: Path, text: str) -> None:
    (work / "notes.txt").write_text(text)
    with pytest.raises(KeyLikeFiles) as refused:
        names(work)
    assert "notes.txt" in str(refused.value)
    assert text not in str(refused.value)
    assert KEY_ID not in str(refused.value)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (".env.example", "PASSWORD="),
        ("a.py", "AKIAIOSFODNN7EXAMPLE"),
        ("a.py", "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        ("a.py", 'if line.startswith("-----BEGIN RSA PRIVATE KEY-----"): raise ValueError'),
        ("keyboard.py", "monkey = 1"),
        ("id_rsa.pub", "ssh-rsa AAAA"),
    ],
)
def test_harmless_files_are_not_suspected(path: str, content: str) -> None:
    assert suspicion(path, content.encode()) is None


def test_a_harmless_file_can_be_allowed(work: Path) -> None:
    (work / "tests").mkdir()
    (work / "tests" / "dummy.pem").write_text("x")
    with packed(work, allowed=["tests/dummy.pem"]) as archive:
        assert archive.files == 3
    with pytest.raises(FolderProblem, match=r"other\.pem"), packed(work, allowed=["tests/dummy.pem", "other.pem"]):
        pass


def test_too_large_a_folder_names_the_largest_files(work: Path) -> None:
    (work / "data.bin").write_bytes(b"\0" * 3000)
    (work / "small.bin").write_bytes(b"\0" * 10)
    with pytest.raises(FolderTooLarge) as refused, packed(work, limit=2000):
        pass
    assert str(refused.value).index("data.bin") < str(refused.value).index("train.py")
    assert "dure cp" in str(refused.value)


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "sub/../../outside"])
def test_links_that_lead_out_are_refused(work: Path, target: str) -> None:
    (work / "link").symlink_to(target)
    with pytest.raises(FolderProblem, match="outside of the folder"):
        names(work)


def test_links_inside_stay_links(work: Path) -> None:
    (work / "link.py").symlink_to("train.py")
    with packed(work) as archive, tarfile.open(archive.path) as tar:
        assert tar.getmember("link.py").linkname == "train.py"
        assert tar.getmember("link.py").issym()


def test_an_empty_folder_and_none_at_all_are_explained(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FolderProblem, match="no file to send"):
        names(tmp_path / "empty")
    with pytest.raises(FolderProblem, match="there is no folder"):
        names(tmp_path / "missing")


def test_pipes_and_sockets_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    os.mkfifo(tmp_path / "pipe")
    assert list_files(tmp_path) == ["a.py"]
