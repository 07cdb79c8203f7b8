"""The unit files, as systemd reads them and as the image has them."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
UNITS = sorted((ROOT / "ami/systemd").glob("*.service"))


def installed(root: Path) -> Path:
    """An image: our files, and stand-ins for the programs that come from packages and environments."""
    subprocess.run(
        ["sh", str(ROOT / "ami/install.sh")], env={"DESTDIR": str(root), "PATH": "/usr/bin:/bin"}, check=True
    )
    for name in ("usr/sbin/munged", "usr/sbin/slurmctld", "usr/sbin/slurmd", "opt/dure/env/node/bin/python"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("#!/bin/sh\n")
        (root / name).chmod(0o755)
    (root / "usr/lib/systemd").mkdir(parents=True)
    shutil.copytree("/lib/systemd/system", root / "usr/lib/systemd/system", symlinks=True)
    (root / "lib").symlink_to("usr/lib")
    (root / "etc/passwd").write_text(
        "root:x:0:0::/:/bin/sh\nslurm:x:64030:64030::/:/bin/sh\nmunge:x:110:110::/:/bin/sh\n"
    )
    (root / "etc/group").write_text("root:x:0:\nslurm:x:64030:\nmunge:x:110:\n")
    return root


def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    assert verify, "install systemd"
    root = installed(tmp_path / "root")
    names = [unit.name for unit in UNITS]
    done = subprocess.run(
        [verify, "verify", f"--root={root}", "--man=no", "--recursive-errors=no", *names],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if "dure-" in line]
    assert ours == []
    assert done.returncode == 0, done.stderr


def test_systemd_would_find_something_wrong(tmp_path: Path) -> None:
    root = installed(tmp_path / "root")
    (root / "usr/sbin/slurmd").unlink()
    broken = root / "etc/systemd/system/dure-agent.service"
    broken.write_text(broken.read_text().replace("Type=exec", "Type=dance"))
    done = subprocess.run(
        ["systemd-analyze", "verify", f"--root={root}", "--man=no", "dure-slurmd.service", "dure-agent.service"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "/usr/sbin/slurmd is not executable" in done.stderr
    assert "dance" in done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_units_use_what_every_manager_of_ours_knows(unit: Path) -> None:
    parser = configparser.ConfigParser(strict=True, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(unit, encoding="utf-8")
    assert parser["Service"]["Type"] in ("simple", "exec", "forking", "oneshot", "notify")
    known = {
        "Type",
        "RemainAfterExit",
        "ExecStart",
        "User",
        "Group",
        "Environment",
        "EnvironmentFile",
        "RuntimeDirectory",
        "RuntimeDirectoryMode",
        "StateDirectory",
        "StateDirectoryMode",
        "LogsDirectory",
        "LogsDirectoryMode",
        "Restart",
        "RestartSec",
        "KillMode",
        "Delegate",
        "TasksMax",
    }
    # nothing else may start before the boot has made the machine a part of its cluster
    assert parser.has_section("Install") is (unit.stem == "dure-boot")
    assert {key for key in parser["Service"] if not key.startswith("Limit")} <= known
    assert parser["Unit"]["Description"].startswith("Dure: ")


def test_installing_twice_changes_nothing(tmp_path: Path) -> None:
    def content() -> dict[str, str]:
        return {
            str(path.relative_to(tmp_path)): str(path.readlink()) if path.is_symlink() else path.read_text()
            for path in tmp_path.rglob("*")
            if not path.is_dir() or path.is_symlink()
        }

    environment = {"DESTDIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    subprocess.run(["sh", str(ROOT / "ami/install.sh")], env=environment, check=True)
    before = content()
    subprocess.run(["sh", str(ROOT / "ami/install.sh")], env=environment, check=True)
    assert content() == before
    assert before["etc/systemd/system/slurmd.service"] == "/dev/null"
    assert before["opt/dure/bin/dure-node-resume"] == "dure-node"


def test_every_hook_of_slurm_is_installed(tmp_path: Path) -> None:
    from cluster_scripts.node.__main__ import VERBS
    from cluster_scripts.slurm import config
    from tests.unit.cluster_scripts.made import FACTS

    subprocess.run(
        ["sh", str(ROOT / "ami/install.sh")], env={"DESTDIR": str(tmp_path), "PATH": "/usr/bin:/bin"}, check=True
    )
    hooks = [value for _, value in config.slurm_conf(FACTS) if value.startswith("/opt/dure/bin/")]
    assert len(hooks) == 6
    for hook in hooks:
        assert (tmp_path / hook.lstrip("/")).is_symlink()
        assert hook.removeprefix("/opt/dure/bin/dure-node-") in VERBS
