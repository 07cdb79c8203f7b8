"""Machines: their root, their network, their metadata, their file systems, and that this host never feels them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.machines_owner import FILE_SYSTEM, NETWORK, Owner, address, instance

pytestmark = [pytest.mark.local_cloud, pytest.mark.timeout(180)]

DNS_NAME = f"{FILE_SYSTEM}.fsx.us-east-1.amazonaws.com"
# An echo request without ping, which not every host has; the checksum of type 8, code 0 and zeroes is f7ff
PING = (
    "python3 -c 'import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); s.settimeout(1);"
    ' s.sendto(b"\\x08\\0\\xf7\\xff\\0\\0\\0\\0", ("{}", 0)); sys.exit(s.recv(99)[20] != 0)\' 2>/dev/null'
)
TOKEN = (
    "TOKEN=$(curl -sf -m 5 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token);"
    'md() { curl -sf -m 5 -H "X-aws-ec2-metadata-token: $TOKEN" "http://169.254.169.254/latest/$1"; };'
)


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Owner]:
    """An owner with machines 1 and 2 up."""
    running = Owner(tmp_path_factory.mktemp("machines"))
    running.launch(1, user_data='#!/bin/bash\necho "hello from $(hostname)"\necho "and to stderr" >&2\n')
    running.launch(2)
    yield running
    running.close()


def fingerprint() -> dict[str, str]:
    """What a machine might touch of this host: all of /etc by content, /usr and /tmp by name."""
    found = {}
    for path in sorted(Path("/etc").rglob("*")):
        if path.is_file() and os.access(path, os.R_OK):
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    for folder in ("/usr", "/usr/bin", "/usr/lib", "/var", "/var/lib", "/opt", "/root", "/"):
        if os.access(folder, os.R_OK):
            found[folder] = " ".join(sorted(entry.name for entry in Path(folder).iterdir()))
    return found


def wait_for(owner: Owner, number: int, state: str | None, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while owner.ask("state", number=number) != state:
        assert time.monotonic() < end, f"machine {number} never became {state}"
        time.sleep(0.05)


def test_boots_in_half_a_second(owner: Owner) -> None:
    owner.launch(3)
    assert owner.run(3, "true")[0] == 0
    seconds = {m["id"]: m["boot_seconds"] for m in owner.ask("describe")}[instance(3)]
    owner.ask("terminate", number=3)
    assert seconds < 2.0, "0.15 s on an idle machine; the bound leaves room for a busy one"
    assert owner.ask("state", number=3) is None


def test_a_destructive_script_does_not_touch_this_host(owner: Owner, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    mark.write_text("still here")
    before = fingerprint()
    owner.launch(4)
    damage = "rm -rf /tmp/* /etc/ssh /var/lib/* /home/* /root/* /opt/*; echo x >/etc/passwd; touch /usr/x"
    code, text = owner.run(4, f"{damage}; rm -f /usr/bin/python3; ls /usr")
    assert (code, "x" in text.split()) == (0, True), "the script did its worst, inside"
    owner.ask("terminate", number=4)
    assert fingerprint() == before
    assert mark.read_text() == "still here"


def test_nothing_of_the_host_is_in_sight(owner: Owner) -> None:
    script = f"ls -A /tmp /var/tmp /home /mnt /srv; ls -d {Path(__file__).parents[2]} {owner.state}; cat /proc/mounts"
    text = owner.run(1, script)[1]
    assert text.count("cannot access") == 2, text
    assert " /.host" not in text and "old_root" not in text
    listing = text.split("machine / ")[0]
    assert "pytest" not in listing.replace(str(owner.state), "").replace(str(Path(__file__).parents[2]), "")


def test_root_on_a_machine_has_no_hold_on_the_kernel(owner: Owner) -> None:
    attempts = {
        "mknod /root/disk b 8 0": "not permitted",
        "echo 1 >/proc/sys/vm/drop_caches": "Read-only file system|ermission denied",
        "date -s 2001-01-01": "not permitted",
        "touch /sys/kernel/x": "Read-only file system|ermission denied",
        "mkdir /sys/fs/cgroup/x": "Read-only file system|ermission denied",
    }
    for command, refusal in attempts.items():
        code, text = owner.run(1, command)
        assert code != 0 and re.search(refusal, text), f"{command}: {code} {text}"


def test_user_data_runs_once_and_says_how_it_ended(owner: Owner) -> None:
    owner.run(1, "until [ -e /run/cloud-init/result.json ]; do sleep 0.05; done")
    assert owner.run(1, "cat /var/log/cloud-init-output.log")[1] == "hello from ip-10-0-0-11\nand to stderr\n"
    assert json.loads(owner.run(1, "cat /run/cloud-init/result.json")[1])["v1"]["errors"] == []
    log = owner.state / "machines" / instance(1) / "log" / "cloud-init-output.log"
    assert log.read_text().startswith("hello"), "logs can be read from outside"


@pytest.mark.parametrize(
    ("user_data", "why"),
    [
        ("#!/bin/sh\nexit 7\n", "exit code 7"),
        ("#cloud-config\nruncmd: []\n", "cloud-config"),
        ("echo hi\n", "no script"),
    ],
)
def test_user_data_that_fails_is_loud(owner: Owner, user_data: str, why: str) -> None:
    owner.launch(5, user_data=user_data)
    owner.run(5, "until [ -e /run/cloud-init/result.json ]; do sleep 0.05; done")
    errors = json.loads(owner.run(5, "cat /run/cloud-init/result.json")[1])["v1"]["errors"]
    console = (owner.state / "machines" / instance(5) / "console.log").read_text()
    owner.ask("terminate", number=5)
    assert why in errors[0] and why in console


def test_two_machines_reach_each_other(owner: Owner) -> None:
    owner.run(2, f"setsid python3 -m http.server 8000 --bind {address(2)} >/dev/null 2>&1 & sleep 1")
    code, text = owner.run(1, f"curl -s -m 5 -o /dev/null -w '%{{http_code}} %{{local_ip}}' http://{address(2)}:8000/")
    assert (code, text) == (0, f"200 {address(1)}")
    assert owner.run(1, "cat /sys/class/net/eth0/address")[1] == "02:00:00:00:00:01\n"


def test_names_resolve_at_once(owner: Owner) -> None:
    script = "time getent hosts $(hostname) nowhere.example.com; getent hosts localhost"
    text = owner.run(1, script)[1]
    assert f"{address(1)}" in text and "0m0." in text, text


def test_metadata_needs_a_token_and_is_ones_own(owner: Owner) -> None:
    status = "curl -s -m 5 -o /dev/null -w '%{http_code}' "
    assert owner.run(1, TOKEN + "md meta-data/instance-id")[1] == instance(1)
    assert owner.run(2, TOKEN + "md meta-data/local-ipv4")[1] == address(2)
    assert owner.run(1, TOKEN + "md meta-data/")[1] == "instance-id\nlocal-ipv4"
    assert owner.run(1, status + "http://169.254.169.254/latest/meta-data/instance-id")[1] == "401"
    assert owner.run(1, status + "-H 'X-aws-ec2-metadata-token: made-up' http://169.254.169.254/latest/")[1] == "401"
    put = "-X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 30000' http://169.254.169.254/latest/api/token"
    assert owner.run(1, status + put)[1] == "400"
    assert owner.run(1, TOKEN + "md meta-data/nothing || echo none")[1] == "none\n"


@pytest.mark.parametrize(
    ("taken", "target"),
    [
        (address(1), "169.254.169.254/latest/meta-data/"),
        (address(15), "169.254.169.254/latest/meta-data/"),
        (address(15), f"{address(1)}:9"),
    ],
)
def test_a_machine_that_takes_another_address_reaches_nothing(owner: Owner, taken: str, target: str) -> None:
    """Neither one in use, whose machine's role the metadata would give it, nor a free one."""
    script = (
        f"ip addr add {taken}/24 dev eth0; curl -s -m 1 --interface {taken} http://{target}; code=$?; "
        f"ip addr del {taken}/24 dev eth0; exit $code"
    )
    assert owner.run(2, script) == (28, "")
    assert owner.run(1, TOKEN + "md meta-data/instance-id")[1] == instance(1), "and who has it keeps it"


def test_groups_let_through_what_they_name_and_its_answers(owner: Owner) -> None:
    servers = [f"setsid python3 -m http.server {port} >/dev/null 2>&1 &" for port in (8001, 8002)]
    owner.run(2, " ".join(servers) + " until ss -ltn | grep -q :8002; do sleep 0.1; done")
    code = "curl -s -m 1 -o /dev/null http://{}:{}/"
    rule = ["tcp", "b", 8001, 8001]
    groups = {
        "a": {"egress": [rule, ["icmp", f"{address(2)}/32", -1, -1]]},
        "b": {"ingress": [["tcp", "a", 8000, 8001], ["icmp", f"{NETWORK}.0/24", 8, -1]]},
    }
    try:
        owner.ask("set_network", groups=groups, members={"1": ["a"], "2": ["b"]}, mounts=False)
        assert owner.run(1, code.format(address(2), 8001))[0] == 0
        assert owner.run(1, code.format(address(2), 8002))[0] == 28, "dropped, not refused"
        assert owner.run(1, PING.format(address(2)))[0] == 0
        assert owner.run(2, PING.format(address(1)))[0] == 1, "nobody lets this way"
        assert owner.run(1, TOKEN + "md meta-data/instance-id")[1] == instance(1), "no group keeps this away"
        owner.ask("set_network", groups={**groups, "b": {}}, members={"1": ["a"], "2": ["b"]}, mounts=False)
        assert owner.run(1, code.format(address(2), 8001))[0] == 28
    finally:
        owner.ask("set_network", groups={}, members={}, mounts=True)
    assert owner.run(1, code.format(address(2), 8002))[0] == 0


def test_version_one_metadata_where_the_instance_allows_it(owner: Owner) -> None:
    owner.launch(6, tokens_required=False)
    text = owner.run(6, "curl -sf -m 5 http://169.254.169.254/latest/meta-data/instance-id")[1]
    owner.ask("terminate", number=6)
    assert text == instance(6)


def test_nftables_can_keep_users_from_the_metadata(owner: Owner) -> None:
    rule = "ip daddr 169.254.169.254 meta skuid != 0 drop"
    rules = f"table inet guard {{\n chain output {{\n type filter hook output priority 0;\n {rule};\n }}\n}}\n"
    owner.launch(7)
    code, text = owner.run(
        7, f"printf '{rules}' | nft -f - && useradd -m -u 5000 dure && {TOKEN} md meta-data/instance-id"
    )
    assert (code, text) == (0, instance(7))
    code, _ = owner.run(7, "runuser -u dure -- curl -s -m 1 http://169.254.169.254/latest/")
    owner.ask("terminate", number=7)
    assert code == 28, "the packet is dropped, so curl runs out of time"


def test_lustre_mounts_only_what_is_named_right_and_available(owner: Owner) -> None:
    folder = Path(owner.ask("add_file_system", id=FILE_SYSTEM, dns_name=DNS_NAME, mount_name="abcdev"))
    (folder / "hello").write_text("from the bucket\n")
    mount = "mkdir -p /fsx; mount -t lustre -o noatime,flock "
    code, text = owner.run(1, f"{mount} {DNS_NAME}@tcp:/abcdev /fsx")
    assert code == 5 and "Input/output error" in text and "Is the MGS running?" in text
    owner.ask("set_file_system_available", id=FILE_SYSTEM, available=True)
    code, text = owner.run(1, f"{mount} {DNS_NAME.replace('fs-0', 'fs-1')}@tcp:/abcdev /fsx")
    assert code == 22 and "Can't parse NID" in text
    code, text = owner.run(1, f"{mount} {DNS_NAME}@tcp:/wrong /fsx")
    assert code == 2 and "Is the filesystem name correct?" in text
    for number in (1, 2):
        assert owner.run(number, f"{mount} {DNS_NAME}@tcp:/abcdev /fsx && cat /fsx/hello") == (0, "from the bucket\n")
    owner.run(1, "echo shared >/fsx/x")
    assert owner.run(2, "cat /fsx/x; umount /fsx; ls /fsx") == (0, "shared\n")
    assert (folder / "x").read_text() == "shared\n"


def test_a_command_that_takes_too_long_is_killed_with_its_children(owner: Owner) -> None:
    with pytest.raises(RuntimeError, match="TimeoutError"):
        owner.run(1, "sleep 4711 & sleep 4711", timeout=0.5)
    assert owner.run(1, "pgrep -f 'sleep 471[1]'")[0] == 1


def test_a_command_does_not_wait_for_what_it_left_running(owner: Owner) -> None:
    began = time.monotonic()
    assert owner.run(1, "sleep 30 >/dev/null 2>&1 & exit 3") == (3, "")
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("command", ["poweroff", "shutdown -h now", "systemctl poweroff"])
def test_a_machine_can_end_itself(owner: Owner, command: str) -> None:
    owner.launch(8)
    owner.run(8, "true")
    owner.run(8, f"setsid sh -c 'sleep 0.1; {command}' >/dev/null 2>&1 &")
    wait_for(owner, 8, "stopped")
    assert instance(8) in owner.ask("exited")
    owner.ask("terminate", number=8)
    assert owner.ask("state", number=8) is None


def test_a_shutdown_lets_processes_end_cleanly(owner: Owner) -> None:
    owner.launch(9)
    trap = "trap 'sleep 0.2; echo ended >/var/log/farewell; exit' TERM"
    script = f"{trap}; echo on >/var/log/farewell; while :; do sleep 0.05; done"
    owner.run(9, f'setsid bash -c "{script}" >/dev/null 2>&1 & until [ -e /var/log/farewell ]; do sleep 0.05; done')
    owner.ask("terminate", number=9)
    assert (owner.state / "machines" / instance(9) / "log" / "farewell").read_text() == "ended\n"
    assert instance(9) not in owner.ask("exited"), "whoever terminates it needs no call back"


def test_gpu_devices_and_plain_devices(owner: Owner) -> None:
    text = owner.run(1, "ls /dev; : >/dev/null; head -c 4 /dev/zero | od -An -tx1; exec 3<>/dev/nvidia7")[1]
    assert "nvidia0" in text and "nvidia7" in text and "00 00 00 00" in text


def test_the_edge_leads_to_the_api(owner: Owner) -> None:
    text = owner.run(1, "cat /root/.aws/config; cmp /root/.aws/config ~slurm/.aws/config")[1]
    assert "\nendpoint_url = http://169.254.169.252:5055\n" in text
    assert "\ns3 =\n  endpoint_url = http://169.254.168." in text and text.endswith(":5055\n")


def test_an_address_that_changes_hands_is_reached_at_once(owner: Owner) -> None:
    knock = f"curl -s -m 2 -o /dev/null http://{address(10)}:9/"
    for mac in ("02:00:00:00:00:aa", "02:00:00:00:00:bb"):
        owner.launch(10, mac=mac)
        owner.run(10, "sleep 0.2")
        assert owner.run(1, knock)[0] == 7, "refused by the new machine, not lost on the way to the old one"
        owner.ask("terminate", number=10)
