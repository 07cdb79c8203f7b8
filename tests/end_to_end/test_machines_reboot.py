"""A machine that reboots, or is stopped and started, is the same one: its files, its volumes, its first boot behind
it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local_cloud.devices.volume_programs import device_of
from tests.end_to_end.machines_owner import Owner, address, encoded, instance

pytestmark = [pytest.mark.local_cloud, pytest.mark.timeout(180)]

USER_DATA = "#!/bin/sh\necho ran >>/root/user-data\n"
UNIT = """[Unit]
Description=Counts the boots

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'echo boot >>/opt/boots'

[Install]
WantedBy=multi-user.target
"""
PREPARE = f"""set -e
{encoded(UNIT)} >/etc/systemd/system/count.service
systemctl enable count.service
echo of /etc >/etc/mine; echo of /usr >/usr/share/mine; echo of root >/root/mine; mkdir /home/kim /data
echo of /data >/data/mine; rm /etc/issue.net; chown 5000:5000 /home/kim; chmod 750 /home/kim
echo gone >/run/mine; echo of the log >/var/log/mine
"""
LOOK = """cat /etc/mine /usr/share/mine /root/mine /data/mine /var/log/mine /root/user-data
test ! -e /run/mine && test ! -e /etc/issue.net && stat -c '%u %g %a' /home/kim
cat /opt/boots; hostname; cat /run/cloud-init/result.json | grep -c '"errors": \\[\\]'
"""
KEPT = ["of /etc", "of /usr", "of root", "of /data", "of the log", "ran", "5000 5000 750"]


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    owner = Owner(tmp_path / "state")
    yield owner
    owner.close()


def booted_again(owner: Owner, boots: int) -> None:
    """Wait until the machine has come up that often."""
    end = time.monotonic() + 30
    log = owner.state / "machines" / instance(1) / "console.log"
    while (said := log.read_text() if log.exists() else "").count("user data ended with 0") < boots:
        assert time.monotonic() < end, said[-2000:]
        time.sleep(0.05)


def prepare(owner: Owner) -> None:
    owner.launch(1, user_data=USER_DATA)
    booted_again(owner, 1)
    code, said = owner.run(1, PREPARE)
    assert code == 0, said


def look(owner: Owner, boots: int) -> None:
    booted_again(owner, boots)
    code, said = owner.run(1, LOOK)
    host_name = "ip-" + address(1).replace(".", "-")
    assert said.splitlines() == [*KEPT, *["boot"] * (boots - 1), host_name, "1"]
    assert code == 0


def test_a_reboot_keeps_files_and_runs_units_but_no_user_data(owner: Owner) -> None:
    prepare(owner)
    owner.ask("reboot", number=1)
    look(owner, 2)
    owner.ask("reboot", number=1)
    look(owner, 3)
    assert owner.ask("exited") == []


@pytest.mark.parametrize("command", ["reboot", "systemctl reboot", "shutdown -r now"])
def test_a_reboot_from_inside(owner: Owner, command: str) -> None:
    prepare(owner)
    assert owner.run(1, f"(sleep 0.3; {command}) >/dev/null 2>&1 &")[0] == 0
    look(owner, 2)
    assert owner.ask("exited") == []
    assert owner.ask("state", number=1) == "running"


def test_a_stop_and_a_start(owner: Owner) -> None:
    prepare(owner)
    owner.ask("power_off", number=1)
    assert owner.ask("state", number=1) == "stopped"
    with pytest.raises(RuntimeError, match="not up"):
        owner.run(1, "true")
    owner.ask("power_on", number=1, user_data=USER_DATA, more={"gpus": 2, "instance_type": "p3.8xlarge"})
    look(owner, 2)
    assert owner.run(1, "ls /dev | grep -c 'nvidia[0-9]'")[1] == "2\n", "another type has other devices"
    with pytest.raises(RuntimeError, match="can't be powered on: it is running"):
        owner.ask("power_on", number=1, user_data="", more={})
    assert owner.ask("exited") == []


def test_a_machine_that_powered_off_can_be_started(owner: Owner) -> None:
    prepare(owner)
    owner.run(1, "(sleep 0.3; systemctl poweroff) >/dev/null 2>&1 &")
    end = time.monotonic() + 15
    while owner.ask("exited") != [instance(1)]:
        assert time.monotonic() < end
        time.sleep(0.05)
    owner.ask("power_on", number=1, user_data=USER_DATA, more={})
    look(owner, 2)


def test_volumes_stay_attached(owner: Owner) -> None:
    volume, other = "vol-0123456789abcdef0", "vol-0123456789abcdef1"
    device = device_of(volume)
    owner.launch(1)
    for each in (volume, other):
        owner.ask("add_volume", id=each)
    owner.ask("attach_volume", number=1, id=volume)
    mount = f"mkdir -p /mnt/disk && mount -t ext4 {device} /mnt/disk"
    assert owner.run(1, f"mkfs.ext4 -q {device} && {mount} && echo kept >/mnt/disk/file")[0] == 0
    owner.ask("reboot", number=1)
    assert owner.run(1, f"ls /mnt/disk; {mount} && cat /mnt/disk/file") == (0, "kept\n")
    owner.ask("power_off", number=1)
    assert owner.ask("detach_volume", number=1, id=volume) is True, "nothing is mounted on a machine that is down"
    owner.ask("attach_volume", number=1, id=other)
    owner.ask("power_on", number=1, user_data="", more={})
    assert owner.run(1, f"test ! -e {device} && test -e {device_of(other)}")[0] == 0


# Links that lead to the host as a machine could know it, where its next boot makes, writes or mounts something
TRAPS = {
    "user data": "rm -rf /var/lib/cloud/instance; ln -s /.host{folder} /var/lib/cloud/instance",
    "what is written": "chmod 700 /.writable; mkdir -p /.writable/was; mv /.writable/upper/opt /.writable/was/opt;"
    " ln -s /.host{folder} /.writable/upper/opt",
    "home": "rm -rf /root/.aws; ln -s /.host{folder} /root/.aws",
    "folder of the log": "rm -rf /var/log/{name}; ln -s {up}{folder} /var/log/{name}",
    "proc": "rm -rf /root/.aws; ln -s /proc/1/root/.host{folder} /root/.aws",
}


@pytest.mark.parametrize("trap", TRAPS)
def test_what_a_machine_wrote_does_not_lead_its_next_boot_to_the_host(owner: Owner, tmp_path: Path, trap: str) -> None:
    folder = tmp_path / "of-the-host"
    folder.mkdir(mode=0o711)
    before = folder.stat()
    owner.launch(1, user_data=USER_DATA)
    booted_again(owner, 1)
    name = owner.run(1, "cd /var/log && ls -d */ | head -1 | tr -d '/\\n'")[1]
    up = "../" * (len((owner.state / "machines" / instance(1) / "log").parts) - 1)
    script = TRAPS[trap].replace("{folder}", str(folder)).replace("{up}", up[:-1]).replace("{name}", name)
    code, said = owner.run(1, f"set -e; {script}")
    assert code == 0, said
    owner.ask("reboot", number=1)
    end = time.monotonic() + 30
    while owner.ask("state", number=1) == "pending":
        assert time.monotonic() < end
        time.sleep(0.05)
    if owner.ask("state", number=1) == "running":
        owner.run(1, "touch /opt/written")
    after = folder.stat()
    assert list(folder.iterdir()) == []
    assert (after.st_mode, after.st_uid, after.st_mtime_ns) == (before.st_mode, before.st_uid, before.st_mtime_ns)


def test_a_machine_ends_while_it_reboots(owner: Owner) -> None:
    owner.launch(1)
    owner.run(1, "(sleep 0.05; reboot) &")
    time.sleep(0.1)
    owner.ask("terminate", number=1)
    assert owner.ask("state", number=1) is None
    assert owner.ask("describe") == []
    assert owner.ask("exited") == []
    owner.launch(1)
    assert owner.run(1, "ls /root/user-data")[0] != 0
