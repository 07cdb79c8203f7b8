"""systemctl on a machine: real unit files, run by pid 1 as systemd would."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import pytest

from tests.end_to_end.machines_owner import Owner, encoded

pytestmark = [pytest.mark.local_cloud, pytest.mark.timeout(180)]

UNITS = {
    "simple": """
        [Unit]
        Description=A simple one
        [Service]
        User=daemon
        RuntimeDirectory=simple
        RuntimeDirectoryMode=0750
        StateDirectory=simple/deep
        Environment=A=1 "B=two words"
        EnvironmentFile=-/etc/nothing
        LimitNOFILE=100:200
        ExecStartPre=/bin/echo pre ${A}
        ExecStart=/bin/sh -c 'id -un; env; ulimit -n; exec sleep 1000'
        [Install]
        WantedBy=multi-user.target
        """,
    "flaky": """
        [Service]
        Type=exec
        Restart=on-failure
        RestartSec=200ms
        ExecStart=/bin/sh -c 'date +%%s.%%N >>/run/flaky; exit 3'
        """,
    "forks": """
        [Service]
        Type=forking
        PIDFile=/run/forks.pid
        ExecStart=/bin/sh -c 'sleep 1001 & echo $$! >/run/forks.pid'
        """,
    "once": """
        [Service]
        Type=oneshot
        RemainAfterExit=yes
        ExecStart=/bin/echo one
        ExecStart=-/bin/false
        ExecStart=/bin/echo two
        """,
    "ready": """
        [Unit]
        Requires=once.service
        After=once.service network-online.target
        [Service]
        Type=notify
        ExecStart=/bin/sh -c 'sleep 0.3; touch /run/ready; systemd-notify --ready --status=fine; exec sleep 1002'
        """,
    "bad": """
        [Service]
        Type=oneshot
        ExecStart=/bin/false
        """,
    "needs-bad": """
        [Unit]
        Requires=bad.service
        After=bad.service
        [Service]
        ExecStart=/bin/sleep 1003
        """,
    "lone": """
        [Service]
        KillMode=process
        ExecStart=/bin/sh -c 'sleep 1004 & wait'
        """,
    "whole": """
        [Service]
        ExecStart=/bin/sh -c 'setsid sleep 1005 & wait'
        """,
    "nobody": """
        [Service]
        User=no-such-user
        ExecStart=/bin/true
        """,
}


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Owner]:
    """A machine that has the units."""
    running = Owner(tmp_path_factory.mktemp("units"))
    running.launch(1)
    for name, text in UNITS.items():
        plain = "\n".join(line.strip() for line in text.strip().splitlines()) + "\n"
        running.run(1, f"{encoded(plain)} >/etc/systemd/system/{name}.service")
    yield running
    running.close()


def test_a_simple_service_gets_its_user_folders_environment_and_limits(owner: Owner) -> None:
    assert owner.run(1, "systemctl start simple") == (0, "")
    output = owner.run(1, "sleep 0.3; journalctl -u simple")[1].splitlines()
    for line in ("pre 1", "daemon", "A=1", "B=two words", "USER=daemon", "RUNTIME_DIRECTORY=/run/simple", "100"):
        assert line in output
    stat = owner.run(1, "stat -c '%U %a' /run/simple /var/lib/simple/deep")[1]
    assert stat == "daemon 750\ndaemon 755\n"
    assert owner.run(1, "systemctl is-active simple") == (0, "active\n")
    pid = owner.run(1, "systemctl show -p MainPID --value simple")[1].strip()
    assert owner.run(1, f"ps -o user=,args= -p {pid}")[1].split() == ["daemon", "sleep", "1000"]
    code, text = owner.run(1, "systemctl status simple")
    assert code == 0 and "A simple one" in text and "active (running)" in text
    assert owner.run(1, "systemctl stop simple; ls -d /run/simple; systemctl is-active simple")[0] == 3


def test_a_failing_service_is_restarted_until_the_limit(owner: Owner) -> None:
    owner.run(1, "systemctl start flaky; sleep 2")
    times = [float(line) for line in owner.run(1, "cat /run/flaky")[1].split()]
    assert len(times) == 5, "StartLimitBurst"
    assert all(later - earlier >= 0.2 for earlier, later in itertools.pairwise(times)), "RestartSec"
    text = owner.run(1, "systemctl show -p Result,ActiveState flaky; systemctl is-failed flaky")[1]
    assert text == "Result=start-limit-hit\nActiveState=failed\nfailed\n"


def test_a_forking_daemon_is_followed_by_its_pid_file(owner: Owner) -> None:
    assert owner.run(1, "systemctl start forks")[0] == 0
    pid = owner.run(1, "systemctl show -p MainPID --value forks")[1]
    assert pid == owner.run(1, "cat /run/forks.pid")[1]
    owner.run(1, f"kill -9 {pid.strip()}; sleep 0.3")
    assert owner.run(1, "systemctl is-active forks") == (3, "failed\n")


def test_notify_waits_and_requires_starts_the_other_first(owner: Owner) -> None:
    assert owner.run(1, "systemctl start ready && ls /run/ready") == (0, "/run/ready\n")
    assert owner.run(1, "systemctl show -p StatusText,SubState ready")[1] == "StatusText=fine\nSubState=running\n"
    assert owner.run(1, "systemctl show -p SubState --value once; journalctl -u once")[1] == "exited\none\ntwo\n"
    owner.run(1, "systemctl stop once")
    assert owner.run(1, "systemctl is-active ready")[1] == "inactive\n", "what requires it stops with it"


def test_failures_have_their_words_and_codes(owner: Owner) -> None:
    code, text = owner.run(1, "systemctl start bad")
    assert code == 1 and "Job for bad.service failed" in text
    code, text = owner.run(1, "systemctl start needs-bad")
    assert code == 1 and "A dependency job for needs-bad.service failed" in text
    assert owner.run(1, "systemctl start nothing")[0] == 5
    assert owner.run(1, "systemctl status nothing")[0] == 4
    assert owner.run(1, "systemctl status bad")[0] == 3
    code, text = owner.run(1, "systemctl start nobody")
    assert (
        code == 1
        and "no-such-user" in (owner.state / "machines").joinpath("i-00000000000000001", "console.log").read_text()
    )
    code, text = owner.run(1, "systemctl edit bad")
    assert code == 1 and "'edit' is not known" in text


def test_kill_mode(owner: Owner) -> None:
    owner.run(1, "systemctl start lone whole; sleep 0.2; systemctl stop lone whole")
    assert owner.run(1, "pgrep -c -f 'sleep 100[4]'")[1] == "1\n", "KillMode=process leaves the others"
    assert owner.run(1, "pgrep -c -f 'sleep 100[5]'")[1] == "0\n", "the default ends them, in whatever session"


def test_enable_links_and_drop_ins_count_after_a_reload(owner: Owner) -> None:
    link = "/etc/systemd/system/multi-user.target.wants/simple.service"
    assert "Created symlink" in owner.run(1, "systemctl enable simple")[1]
    assert owner.run(1, f"readlink {link}; systemctl is-enabled simple")[1] == (
        "/etc/systemd/system/simple.service\nenabled\n"
    )
    owner.run(
        1,
        "mkdir /etc/systemd/system/simple.service.d; cd /etc/systemd/system/simple.service.d;"
        "printf '[Service]\\nExecStart=\\nExecStart=/bin/sleep 1006\\n' >x.conf; systemctl daemon-reload",
    )
    owner.run(1, "systemctl start simple")
    pid = owner.run(1, "systemctl show -p MainPID --value simple")[1].strip()
    assert owner.run(1, f"ps -o args= -p {pid}")[1] == "/bin/sleep 1006\n"
    owner.run(1, "systemctl disable --now simple")
    assert owner.run(1, f"test -e {link} && echo left; systemctl is-active simple")[1] == "inactive\n"


def test_only_root_commands_the_manager(owner: Owner) -> None:
    assert owner.run(1, "runuser -u daemon -- systemctl stop ready")[0] != 0


def test_services_stop_when_the_machine_does(owner: Owner) -> None:
    owner.run(
        1,
        "printf '[Service]\\nExecStart=/bin/sleep 9\\nExecStop=/bin/touch /var/log/stopped\\n' "
        ">/etc/systemd/system/last.service; systemctl start last",
    )
    began = time.monotonic()
    owner.ask("terminate", number=1)
    assert time.monotonic() - began < 5
    assert (owner.state / "machines/i-00000000000000001/log/stopped").exists()
