"""Templates of the ready cluster files, each synthesized once a run, without a network and without an account."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

# Before aws_cdk is imported anywhere: its kernel runs in node, which the toolkit's environment brings along
_NODE = Path(sys.executable).with_name("node")
if _NODE.exists():
    os.environ.setdefault("JSII_NODE", str(_NODE))
os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "1")

ROOT = Path(__file__).resolve().parents[3]
FULL = Path(__file__).with_name("full.yaml")
CLUSTER_FILES = (*sorted((ROOT / "clusters").glob("*.yaml")), FULL)

Templates = dict[str, dict[str, Any]]


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Templates]:
    """The templates of a cluster file by stack: network, storage, cluster, monitoring."""
    import aws_cdk as cdk

    from infra.config.loader import load_cluster
    from infra.stacks.assemble import assemble

    @cache
    def synthesized(path: Path) -> Templates:
        folder = tmp_path_factory.mktemp(path.stem)
        cluster = load_cluster(path)
        app = cdk.App(analytics_reporting=False, outdir=str(folder))
        assemble(app, cluster, root=ROOT, account=None)
        app.synth()
        return {
            stack: json.loads((folder / f"dure-{cluster.name}-{stack}.template.json").read_text())
            for stack in ("network", "storage", "cluster", "monitoring")
        }

    return synthesized


@pytest.fixture(params=CLUSTER_FILES, ids=lambda path: str(path.stem))
def every(request: pytest.FixtureRequest, templates: Callable[[Path], Templates]) -> Templates:
    """The templates of each cluster file in turn."""
    return templates(request.param)


@pytest.fixture
def local(templates: Callable[[Path], Templates]) -> Templates:
    """The templates of clusters/local.yaml."""
    return templates(ROOT / "clusters/local.yaml")
