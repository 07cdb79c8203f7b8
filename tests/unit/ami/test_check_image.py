"""The check of a built image."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

AMI = Path(__file__).parents[3] / "ami"


@pytest.fixture
def check() -> ModuleType:
    spec = spec_from_loader("check_image", SourceFileLoader("check_image", str(AMI / "bin/check-image")))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LOCK = (AMI / "versions.lock").read_text(encoding="utf-8")


def test_the_lock_is_readable_and_names_each_thing_once(check: ModuleType) -> None:
    rows = list(check.wanted(LOCK))
    assert {kind for kind, _, _ in rows} == {"program", "python", "driver"}
    assert len({name for _, name, _ in rows}) == len(rows)
    assert all(check.version_in(least) for _, _, least in rows)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("slurm-wlm 22.05.8", (22, 5, 8)),
        ("munge-0.5.15 (2022-06-22)", (0, 5, 15)),
        ("nftables v1.0.6 (Lester Gooch #5)", (1, 0, 6)),
        ("2.15.3_1_g0c5e42d", (2, 15, 3)),
        ("none", ()),
    ],
)
def test_versions_in_real_output(text: str, version: tuple[int, ...], check: ModuleType) -> None:
    assert check.version_in(text) == version


def test_what_is_missing_or_old_is_named(check: ModuleType) -> None:
    def ask(argv: Sequence[str]) -> str | None:
        return {"slurmd": "slurm-wlm 20.11.4", "munged": None}.get(argv[0], "version 999.0")

    found = list(check.problems(LOCK, hardware=True, ask=ask))
    assert "program munged is missing: install version 0.5.13 or later" in found
    assert "program slurmd has version 'slurm-wlm 20.11.4', at least 22.05 is needed" in found
    assert not [problem for problem in found if "slurmctld" in problem]


def test_drivers_only_where_the_hardware_is(check: ModuleType) -> None:
    def without(hardware: bool) -> list[str]:
        return [p for p in check.problems(LOCK, hardware=hardware, ask=lambda _: None) if p.startswith("driver")]

    assert without(False) == []
    assert len(without(True)) == 4


def test_files_of_an_image(check: ModuleType, tmp_path: Path) -> None:
    found = list(check.missing(tmp_path))
    for unit in ("dure-slurmd", "dure-boot"):
        assert any(f"{unit}.service is missing" in problem for problem in found)
    assert not any("is enabled" in problem for problem in found)


def test_an_image_of_a_machine_that_has_booted_is_told(check: ModuleType, tmp_path: Path) -> None:
    wants = tmp_path / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / "dure-boot.service").symlink_to("/etc/systemd/system/dure-boot.service")
    assert any("systemctl disable dure-boot.service" in problem for problem in check.missing(tmp_path))
