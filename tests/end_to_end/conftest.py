"""What several end-to-end files need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cloud import Cloud


@pytest.fixture(scope="module")
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """clusters/local.yaml on a local cloud of the file's own, for tests that change what the others stand on."""
    cloud = Cloud.start(tmp_path_factory.mktemp("own") / "cloud")
    try:
        cloud.deploy()
        yield cloud
    finally:
        cloud.stop()
