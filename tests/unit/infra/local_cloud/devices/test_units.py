"""Unit files are read as systemd reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.local_cloud.devices.systemd import execution, units
from infra.local_cloud.machines.inside.children import Identity

SEARCH = ("/etc/systemd/system", "/lib/systemd/system")


def write(root: Path, name: str, text: str, *, folder: str = "lib/systemd/system") -> None:
    path = root / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def unit(text: str, name: str = "x.service") -> units.Unit:
    return units.Unit(name, f"/lib/{name}", units.parse(text))


def test_sections_keys_comments_and_continued_lines() -> None:
    text = "# c\n[Unit]\nAfter=a.service \\\n  b.service\n; c\n[Service]\n"
    text += "ExecStart=/bin/a\nExecStart=\nExecStart=/bin/b c\n"
    parsed = units.parse(text)
    assert parsed["Service"] == {"ExecStart": ["/bin/b c"]}
    assert unit(text).words("Unit", "After") == ["a.service", "b.service"]


def test_nonsense_is_refused_with_its_place() -> None:
    with pytest.raises(units.UnitError, match=r"my\.service:2: neither a section nor an assignment: 'what'"):
        units.parse("[Service]\nwhat\n", where="my.service")


def test_etc_wins_over_lib_and_drop_ins_add_or_reset(tmp_path: Path) -> None:
    write(tmp_path, "a.service", "[Service]\nExecStart=/bin/lib\n")
    assert units.load("a.service", root=tmp_path, search=SEARCH).value("ExecStart") == "/bin/lib"
    write(tmp_path, "a.service", "[Service]\nExecStart=/bin/etc\nEnvironment=A=1\n", folder="etc/systemd/system")
    write(tmp_path, "a.service.d/b.conf", "[Service]\nExecStart=\nExecStart=/bin/new\nEnvironment=B=2\n")
    loaded = units.load("a.service", root=tmp_path, search=SEARCH)
    assert loaded.lists("Service", "ExecStart") == ["/bin/new"]
    assert loaded.lists("Service", "Environment") == ["A=1", "B=2"]


def test_templates_masks_and_missing_units(tmp_path: Path) -> None:
    write(tmp_path, "t@.service", "[Service]\nExecStart=/bin/echo %i %n\n")
    (line,) = units.load("t@one.service", root=tmp_path, search=SEARCH).commands("ExecStart")
    assert line.words == ("/bin/echo", "one", "t@one.service")
    (tmp_path / "lib/systemd/system/m.service").symlink_to("/dev/null")
    with pytest.raises(units.UnitError, match="masked"):
        units.load("m.service", root=tmp_path, search=SEARCH)
    with pytest.raises(units.UnitNotFound):
        units.load("n.service", root=tmp_path, search=SEARCH)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[Service]\nType=dbus\nExecStart=/bin/a\n", "Type=dbus is not known"),
        ("[Service]\nRestart=sometimes\nExecStart=/bin/a\n", "Restart=sometimes"),
        ("[Service]\nType=exec\n", "no ExecStart"),
        ("[Service]\nExecStart=/bin/a\nExecStart=/bin/b\n", "more than one ExecStart"),
    ],
)
def test_what_cannot_be_obeyed_is_refused(text: str, why: str) -> None:
    with pytest.raises(units.UnitError, match=why):
        units.check(unit(text))


def test_command_lines_variables_and_prefixes() -> None:
    one = unit("[Service]\nExecStart=-/bin/sh -c 'echo $$HOME ${A} %%' $B \"${A} b\"\n")
    (line,) = one.commands("ExecStart")
    assert line.ignore_failure and not line.as_root
    assert units.expand(line.words, {"A": "1 2", "B": "x y"}) == [
        "/bin/sh",
        "-c",
        "echo $HOME 1 2 %",
        "x",
        "y",
        "1 2 b",
    ]
    with pytest.raises(units.UnitError, match="prefix"):
        unit("[Service]\nExecStart=@/bin/a b\n").commands("ExecStart")
    with pytest.raises(units.UnitError, match="%q"):
        unit("[Service]\nExecStart=/bin/a %q\n").commands("ExecStart")


@pytest.mark.parametrize(
    ("text", "seconds"), [("5", 5), ("500ms", 0.5), ("1min 30s", 90), ("2h", 7200), ("infinity", float("inf"))]
)
def test_time_spans(text: str, seconds: float) -> None:
    assert units.span(text) == seconds


@pytest.mark.parametrize("text", ["soon", "5 parsecs", "-1x"])
def test_what_is_no_time_span(text: str) -> None:
    with pytest.raises(units.UnitError):
        units.span(text)


def test_limits_directories_and_flags() -> None:
    one = unit(
        "[Service]\nExecStart=/bin/a\nLimitMEMLOCK=infinity\nLimitNOFILE=1K:2K\nRuntimeDirectory=a b/c\n"
        "RuntimeDirectoryMode=0700\nLogsDirectory=a\nRemainAfterExit=yes\n"
    )
    assert one.limits() == {"memlock": "unlimited:unlimited", "nofile": "1024:2048"}
    assert [(d.kind, d.path, oct(d.mode)) for d in one.directories()] == [
        ("Runtime", "/run/a", "0o700"), ("Runtime", "/run/b/c", "0o700"), ("Logs", "/var/log/a", "0o755")]  # fmt: skip
    assert one.flag("RemainAfterExit") and not one.flag("Nothing")
    assert execution.directory_environment(one) == {
        "RUNTIME_DIRECTORY": "/run/a:/run/b/c",
        "LOGS_DIRECTORY": "/var/log/a",
    }


def test_environment_files_and_words() -> None:
    assert units.environment_words("A=1 \"B=two words\" 'C=x'") == {"A": "1", "B": "two words", "C": "x"}
    text = '# c\nA=1\nexport B=2\n\nC="quoted value"\nD=plain value\n'
    assert units.environment_file(text) == {"A": "1", "B": "2", "C": "quoted value", "D": "plain value"}


@pytest.mark.parametrize(
    ("policy", "code", "again"),
    [
        ("no", 1, False), ("on-failure", 1, True), ("on-failure", 0, False), ("on-failure", 143, False),
        ("on-failure", 137, True), ("on-success", 0, True), ("always", 0, True), ("on-abnormal", 1, False),
        ("on-abnormal", 137, True), ("on-abort", 134, True), ("on-abort", 1, False),
    ],
)  # fmt: skip
def test_restart_policies(policy: str, code: int, again: bool) -> None:
    one = unit(f"[Service]\nExecStart=/bin/a\nRestart={policy}\n")
    assert execution.restarts(one, code) is again


def test_restart_exceptions() -> None:
    one = unit(
        "[Service]\nExecStart=/bin/a\nRestart=on-failure\nSuccessExitStatus=75 SIGKILL\nRestartPreventExitStatus=3\n"
    )
    assert not execution.restarts(one, 75) and not execution.restarts(one, 137) and not execution.restarts(one, 3)
    assert execution.restarts(one, 1)


def test_limits_are_set_before_the_user_changes() -> None:
    one = unit("[Service]\nExecStart=/bin/a\nLimitNOFILE=5\n")
    argv = execution.with_limits(one, ["/bin/a"], Identity(7, 8, (8, 9)))
    assert argv[-8:] == ["--nofile=5:5", ".", "setpriv", "--reuid=7", "--regid=8", "--groups=8,9", "--", "/bin/a"]
    assert execution.with_limits(unit("[Service]\nExecStart=/bin/a\n"), ["/bin/a"], None) == ["/bin/a"]


def test_an_unknown_user_is_named() -> None:
    with pytest.raises(units.UnitError, match="User=no-such-user"):
        execution.identity(unit("[Service]\nUser=no-such-user\n"))
