"""The bundle of our own code that the machines of a cluster run, as an asset in S3.

The bundle is a zip made here, not by the CDK, so that its SHA-256 is known when the facts are written; the same
sources give the same bytes on every machine (fixed order, times and modes, no compression).
"""

from __future__ import annotations

import hashlib
import io
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from aws_cdk import aws_s3_assets as assets
from constructs import Construct

PARTS = ("cluster_scripts", "infra/__init__.py", "infra/config", "monitoring", "training")
_SKIPPED_FOLDERS = frozenset({"__pycache__", "tests", "node_modules"})
_SKIPPED_SUFFIXES = frozenset({".pyc", ".pyo", ".so", ".o", ".whl", ".tmp"})
_EPOCH = (1980, 1, 1, 0, 0, 0)


class ToolkitBundle(Construct):
    """The bundle as an S3 asset. `bucket` and `key` say where it will lie, `sha256` what it must be."""

    def __init__(self, scope: Construct, id: str, *, root: Path) -> None:
        super().__init__(scope, id)
        content = bundle(root)
        self.sha256 = hashlib.sha256(content).hexdigest()
        with tempfile.TemporaryDirectory(prefix="dure-bundle-") as folder:
            path = Path(folder) / "toolkit.zip"
            path.write_bytes(content)
            asset = assets.Asset(self, "Asset", path=str(path))
        self.bucket = asset.s3_bucket_name
        self.key = asset.s3_object_key


def bundle(root: Path) -> bytes:
    """The zip of the code under `root`; it depends on the files' names and contents only."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(bundled_files(root), key=lambda path: path.relative_to(root).as_posix()):
            entry = zipfile.ZipInfo(path.relative_to(root).as_posix(), date_time=_EPOCH)
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, path.read_bytes())
    return buffer.getvalue()


def bundled_files(root: Path) -> Iterator[Path]:
    """The files that belong into the bundle. A part that does not exist is left out."""
    for part in PARTS:
        start = root / part
        if start.is_file():
            yield start
            continue
        for path in start.rglob("*"):
            names = path.relative_to(root).parts
            hidden = any(name.startswith(".") or name in _SKIPPED_FOLDERS for name in names)
            if path.is_file() and not hidden and path.suffix not in _SKIPPED_SUFFIXES:
                yield path
