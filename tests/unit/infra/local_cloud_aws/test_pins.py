"""The moto that we replace and lean on is the one that we read."""

from __future__ import annotations

import moto
import pytest

from infra.local_cloud.aws import pins


def test_moto_is_the_pinned_release() -> None:
    assert moto.__version__ == pins.MOTO_VERSION


@pytest.mark.parametrize("name", [*pins.REPLACED, *pins.LEANED_ON])
def test_source_is_as_pinned(name: str) -> None:
    assert pins.fingerprint(name) == {**pins.REPLACED, **pins.LEANED_ON}[name]


def test_a_change_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        pins, "LEANED_ON", {"moto.ec2.utils:filter_iam_instance_profiles": "0" * 16, "moto.gone:f": "1"}
    )
    problems = pins.check.__wrapped__()
    assert problems[0].startswith("moto.ec2.utils:filter_iam_instance_profiles has changed")
    assert problems[1].startswith("moto.gone:f is gone")
