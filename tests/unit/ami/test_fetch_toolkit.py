"""The part of the boot that is in the image: it brings the rest, whole or not at all."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

FILE = Path(__file__).parents[3] / "ami/bin/fetch_toolkit.py"


@pytest.fixture
def fetch() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fetch_toolkit", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def bundle(**files: str) -> tuple[bytes, str]:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "/") + ".py", text)
    return buffer.getvalue(), hashlib.sha256(buffer.getvalue()).hexdigest()


def test_installs_beside_the_others_and_points_to_it(fetch: ModuleType, tmp_path: Path) -> None:
    for text in ("1", "2"):
        content, sha256 = bundle(cluster_scripts__x=text)
        fetch.install(content, sha256, toolkits=tmp_path)
        assert (tmp_path / "current/cluster_scripts/x.py").read_text() == text
        assert fetch.is_current(tmp_path, sha256)
    assert len(list(tmp_path.iterdir())) == 3


def test_goes_back_to_a_toolkit_that_is_there(fetch: ModuleType, tmp_path: Path) -> None:
    first, second = bundle(cluster_scripts__x="1"), bundle(cluster_scripts__x="2")
    fetch.install(*first, toolkits=tmp_path)
    fetch.install(*second, toolkits=tmp_path)
    assert fetch.is_current(tmp_path, first[1])
    assert (tmp_path / "current").readlink() == Path(first[1])
    assert not fetch.is_current(tmp_path, "ab" * 32)


@pytest.mark.parametrize("content", [b"", b"not a zip"])
def test_a_false_or_broken_bundle_leaves_what_was_there(content: bytes, fetch: ModuleType, tmp_path: Path) -> None:
    good = bundle(cluster_scripts__x="1")
    fetch.install(*good, toolkits=tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(fetch.CannotFetch, match="the facts say"):
        fetch.install(content, good[1], toolkits=tmp_path)
    with pytest.raises(zipfile.BadZipFile):
        fetch.install(content, hashlib.sha256(content).hexdigest(), toolkits=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert fetch.is_current(tmp_path, good[1])


def test_a_bundle_stays_in_its_folder(fetch: ModuleType, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../../out.py", "x")
        archive.writestr("cluster_scripts/x.py", "x")
    content = buffer.getvalue()
    toolkits = tmp_path / "opt/toolkit"
    fetch.install(content, hashlib.sha256(content).hexdigest(), toolkits=toolkits)
    assert {path.name for path in tmp_path.iterdir()} == {"opt"}
    assert {path.name for path in (tmp_path / "opt").iterdir()} == {"toolkit"}


@pytest.mark.parametrize(
    "facts",
    ["", "{}", '{"toolkit": null}', '{"toolkit": {"bucket": "b", "key": "k", "sha256": "../x"}}'],
)
def test_facts_without_a_bundle(facts: str, fetch: ModuleType) -> None:
    with pytest.raises(fetch.CannotFetch):
        fetch.wanted_bundle(facts)


def test_the_bundle_of_the_facts(fetch: ModuleType) -> None:
    facts = {"toolkit": {"bucket": "b", "key": "k", "sha256": "ab" * 32}}
    assert fetch.wanted_bundle(json.dumps(facts)) == ("b", "k", "ab" * 32)


def test_facts_that_are_not_there_yet(fetch: ModuleType) -> None:
    class ParameterNotFound(Exception):
        pass

    def missing(**_: str) -> None:
        raise ParameterNotFound

    ssm = SimpleNamespace(get_parameter=missing, exceptions=SimpleNamespace(ParameterNotFound=ParameterNotFound))
    assert fetch.facts_of(ssm, "local")() is None


def test_waiting_ends_with_what_was_tried(fetch: ModuleType) -> None:
    def refuse() -> str | None:
        raise OSError("no route to host")

    with pytest.raises(fetch.CannotFetch, match=r"the region: not within 0 s \(no route to host\)"):
        fetch.until("the region", refuse, seconds=0)


def test_it_goes_on_in_the_toolkit_that_it_brought(fetch: ModuleType, tmp_path: Path) -> None:
    program = "import sys; print('toolkit', sys.argv[1:]); sys.exit(3)"
    fetch.install(*bundle(cluster_scripts__x="1"), toolkits=tmp_path)
    package = tmp_path / "current/cluster_scripts"
    (package / "node").mkdir(exist_ok=True)
    for name in ("__init__.py", "node/__init__.py"):
        (package / name).touch()
    (package / "node/__main__.py").write_text(program)
    script = (
        "import importlib.util, pathlib, sys\n"
        f"spec = importlib.util.spec_from_file_location('fetch_toolkit', {str(FILE)!r})\n"
        "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)\n"
        f"module.TOOLKITS = pathlib.Path({str(tmp_path)!r}); module.LOG = module.TOOLKITS / 'boot.log'\n"
        "module.fetch = lambda: 'is there'\n"
        "sys.exit(module.main(['boot']))\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert done.stdout.splitlines()[-1] == "toolkit ['boot']"


def test_it_says_what_went_wrong(
    fetch: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> str:
        raise fetch.CannotFetch("there is no such bundle")

    monkeypatch.setattr(fetch, "LOG", tmp_path / "log/boot.log")
    monkeypatch.setattr(fetch, "fetch", broken)
    assert fetch.main(["boot"]) == 1
    entry = json.loads((tmp_path / "log/boot.log").read_text())
    assert (entry["step"], entry["ok"]) == ("toolkit", False)
    assert "there is no such bundle" in capsys.readouterr().err
