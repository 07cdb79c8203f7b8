"""What a changed cluster file does to a live cluster is said before it is done, and asked for where it destroys."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster_scripts.cli.update import changes_of, confirm
from cluster_scripts.jobs.errors import RequestError
from infra.config.changes import to_json
from infra.config.loader import load_cluster

CLUSTERS = Path(__file__).resolve().parents[4] / "clusters"
LOCAL = load_cluster(CLUSTERS / "local.yaml")


def test_a_new_cluster_changes_nothing() -> None:
    assert changes_of(None, LOCAL) == ()
    assert confirm((), replace=False) is False


def test_the_same_file_changes_nothing() -> None:
    assert changes_of(to_json(LOCAL), LOCAL) == ()


def test_a_larger_queue_is_said_and_done(capsys: pytest.CaptureFixture[str]) -> None:
    queue = LOCAL.queues[0]
    wanted = LOCAL.model_copy(update={"queues": (queue.model_copy(update={"max": queue.max + 1}),)})
    assert confirm(changes_of(to_json(LOCAL), wanted), replace=False) is False
    assert "queues.gpu.max: 4 -> 5" in capsys.readouterr().out


def test_a_new_head_needs_replace_and_then_two_deployments() -> None:
    wanted = LOCAL.model_copy(update={"head": LOCAL.head.model_copy(update={"root_volume_gib": 333})})
    changes = changes_of(to_json(LOCAL), wanted)
    with pytest.raises(RequestError, match=r"root_volume_gib.*--replace"):
        confirm(changes, replace=False)
    assert confirm(changes, replace=True) is True


def test_another_region_is_another_cluster_even_with_replace() -> None:
    wanted = LOCAL.model_copy(update={"region": "us-west-2"})
    with pytest.raises(RequestError, match="another cluster"):
        confirm(changes_of(to_json(LOCAL), wanted), replace=True)


def test_a_file_of_another_version_is_not_guessed_at() -> None:
    with pytest.raises(RequestError, match="another version"):
        changes_of('{"version_of_the_future": 1}', LOCAL)
