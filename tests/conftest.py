"""What every test gets: no AWS variables, and in unit tests no socket but to this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_socket

if TYPE_CHECKING:
    from tests.cloud import Cloud

try:
    import hypothesis
except ImportError:  # the local cloud's environment does without
    pass
else:
    # the same examples at every run, and no time limit for one: a busy machine fails no test
    hypothesis.settings.register_profile("dure", deadline=None, derandomize=True)
    hypothesis.settings.load_profile("dure")

UNIT = Path(__file__).parent / "unit"


@pytest.fixture(autouse=True)
def no_ambient_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may reach an account by accident: credentials, region and endpoints of the caller are taken away."""
    for name in list(os.environ):
        if name.startswith("AWS_") and name != "AWS_CA_BUNDLE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Unit tests reach 127.0.0.1 and nothing else."""
    if UNIT in item.path.parents:
        pytest_socket.socket_allow_hosts(["127.0.0.1", "localhost", "::1"], allow_unix_socket=True)


def pytest_runtest_teardown() -> None:
    """Other tests get their sockets back."""
    pytest_socket._remove_restrictions()


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A local cloud of this test run, with nothing in it."""
    from tests.cloud import Cloud

    running = Cloud.start(tmp_path_factory.mktemp("cloud"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def cluster(cloud: Cloud) -> Cloud:
    """The same, with clusters/local.yaml deployed and its head answering. One for all tests that leave it as it was."""
    cloud.deploy()
    return cloud
