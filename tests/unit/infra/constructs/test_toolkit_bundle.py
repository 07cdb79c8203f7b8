from __future__ import annotations

import io
import zipfile
from pathlib import Path

from infra.constructs.toolkit_bundle import bundle
from tests.unit.infra.conftest import ROOT


def tree(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


def names(content: bytes) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(content)).namelist()


def test_it_holds_our_code_and_nothing_else(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        "cluster_scripts/a.py",
        "cluster_scripts/tests/test_a.py",
        "cluster_scripts/__pycache__/a.pyc",
        "cluster_scripts/.cache/x",
        "cluster_scripts/b.pyc",
        "infra/__init__.py",
        "infra/config/facts.py",
        "infra/config/catalog.json",
        "infra/stacks/x.py",
        "infra/local_cloud/x.py",
        "training/kernel.cc",
        "training/kernel.so",
        "tests/x.py",
        "secrets.txt",
    )
    assert names(bundle(root)) == [
        "cluster_scripts/a.py",
        "infra/__init__.py",
        "infra/config/catalog.json",
        "infra/config/facts.py",
        "training/kernel.cc",
    ]


def test_times_modes_and_order_of_creation_do_not_matter(tmp_path: Path) -> None:
    one = tree(tmp_path / "one", "monitoring/a.py", "monitoring/b/c.py", "training/d.py")
    two = tree(tmp_path / "two", "training/d.py", "monitoring/b/c.py", "monitoring/a.py")
    (two / "monitoring/a.py").chmod(0o700)
    assert bundle(one) == bundle(two)


def test_one_changed_byte_is_another_bundle(tmp_path: Path) -> None:
    root = tree(tmp_path, "training/a.py")
    before = bundle(root)
    (root / "training/a.py").write_text("x")
    assert bundle(root) != before


def test_the_real_one_holds_what_the_machines_import() -> None:
    found = names(bundle(ROOT))
    assert {"infra/__init__.py", "infra/config/__init__.py", "infra/config/facts.py"} <= set(found)
    assert not [name for name in found if name.startswith(("tests", "infra/stacks", "infra/local_cloud"))]
