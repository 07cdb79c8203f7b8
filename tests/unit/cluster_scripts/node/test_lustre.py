"""Mounting FSx for Lustre. The messages are those of mount.lustre 2.15."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster_scripts.jobs.errors import StepFailed
from cluster_scripts.node import lustre
from cluster_scripts.node.system import Result
from tests.unit.cluster_scripts.made import FACTS, Machine

DEVICE = "fs-1.fsx.amazonaws.com@tcp:/abcdef"
NOT_MOUNTED = Result(32, "", "")
NOT_READY = Result(5, "", f"mount.lustre: mount {DEVICE} at /fsx failed: Input/output error\nIs the MGS running?")
WRONG_NAME = Result(
    2,
    "",
    f"mount.lustre: mount {DEVICE} at /fsx failed: No such file or directory\n"
    "Is the MGS specification correct?\nIs the filesystem name correct?\n",
)
WRONG_HOST = Result(1, "", "mount.lustre: Can't parse NID 'fs-9.fsx.amazonaws.com@tcp:/abcdef'")


def machine(tmp_path: Path, *results: Result) -> Machine:
    left = list(results)
    made = Machine(tmp_path)
    made.answers = {"mountpoint": NOT_MOUNTED, "mount -t": lambda _: left.pop(0) if left else Result(0, "", "")}
    return made


def test_mounts_with_the_options_that_aws_names(tmp_path: Path) -> None:
    made = machine(tmp_path)
    lustre.mount(made.system, FACTS.file_system)
    assert made.ran("mount -t") == [f"mount -t lustre -o noatime,flock {DEVICE} /fsx"]
    assert (tmp_path / "fsx").is_dir()


def test_a_second_run_does_nothing(tmp_path: Path) -> None:
    made = machine(tmp_path)
    made.answers["mountpoint"] = Result(0, "", "")
    lustre.mount(made.system, FACTS.file_system)
    assert not made.ran("mount -t")


def test_waits_until_it_is_ready(tmp_path: Path) -> None:
    made = machine(tmp_path, NOT_READY, NOT_READY)
    lustre.mount(made.system, FACTS.file_system)
    assert len(made.ran("mount -t")) == 3
    assert made.time.slept == [lustre.PAUSE] * 2


@pytest.mark.parametrize("result", [WRONG_NAME, WRONG_HOST])
def test_a_wrong_name_fails_at_once(result: Result, tmp_path: Path) -> None:
    made = machine(tmp_path, result)
    with pytest.raises(StepFailed, match=r"can't be mounted at /fsx: mount.lustre: .*name that of the cluster"):
        lustre.mount(made.system, FACTS.file_system)
    assert made.time.slept == []


def test_gives_up_with_the_last_words(tmp_path: Path) -> None:
    made = Machine(tmp_path, answers={"mountpoint": NOT_MOUNTED, "mount -t": NOT_READY})
    with pytest.raises(StepFailed, match=r"not ready .* within 600 s; .*Is the MGS running"):
        lustre.mount(made.system, FACTS.file_system)


def test_tunes_only_where_there_is_a_client(tmp_path: Path) -> None:
    made = Machine(tmp_path, answers={"sh -c": Result(127, "", "")})
    lustre.tune(made.system)
    assert not made.ran("lctl")
    made = Machine(tmp_path)
    lustre.tune(made.system)
    assert len(made.ran("lctl set_param")) == len(lustre.PARAMETERS)
