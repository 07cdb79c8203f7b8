"""What a machine's root is made of."""

from __future__ import annotations

import pwd
from pathlib import Path

from infra.local_cloud.machines import root
from infra.local_cloud.machines.api import MachineSpec
from infra.local_cloud.machines.inside.plan import Bind, Join, Plan

HOST = root.Host(
    hidden=("/home", "/opt/project", "/root"), python="/root/py/bin/python", bases=("/root/py", "/opt/project/py")
)
SPEC = MachineSpec(
    instance_id="i-0abc", private_ip="10.0.0.5", prefix_length=24, gateway="10.0.0.1", mac="02:00:00:00:00:01",
    host_name="ip-10-0-0-5", instance_type="t", gpus=2, user_data=b"\x00\xff", metadata=dict,
    tokens_required=True)  # fmt: skip


def plan(host: root.Host = HOST) -> Plan:
    return root.machine_plan(
        SPEC,
        host=host,
        folder=Path("/state/m"),
        image=Path("/state/image"),
        binds=[Bind("/a", "/b")],
        api_port=5055,
    )


def test_a_plan_survives_the_channel() -> None:
    assert Plan.from_message(plan().to_message()) == plan()


def test_the_systems_folders_are_joined_and_nothing_else_of_the_host_shows() -> None:
    made = plan()
    assert made.joins[0] == Join("/usr", ("/state/image/usr", "/usr"))
    assert {join.path for join in made.joins} == set(root.JOINED)
    assert all(path not in ("/usr", "/etc") for path, _ in made.folders)
    assert made.masks == (("/opt/project", 0o711),), (
        "hidden folders in joined ones are masked, passable to a Python in them"
    )
    assert made.binds == (Bind("/root/py", "/root/py"), Bind("/opt/project/py", "/opt/project/py"), Bind("/a", "/b"))
    assert dict(made.folders)["/root"] == 0o711, "its Python must be reachable by daemons' users"
    assert made.devices == (("nvidia0", "null"), ("nvidia1", "null"), ("nvidiactl", "null"), ("nvidia-uvm", "null"))


def test_in_a_user_namespace_etc_is_a_copy() -> None:
    host = root.Host(hidden=(), python="/usr/bin/python3", bases=(), base="/state/base")
    joins = {join.path: join.layers for join in plan(host).joins}
    assert joins["/etc"] == ("/state/image/etc", "/state/base/etc")
    assert joins["/var"] == ("/state/image/var", "/state/base/var"), "and so is /var, as far as it is folders"
    assert joins["/var/lib/dpkg"][-1] == "/var/lib/dpkg"
    assert joins["/usr"] == ("/state/image/usr", "/state/base/usr", "/usr")
    assert plan(host).unprivileged and not plan().unprivileged


def test_nested_mounts_that_belong_to_the_system() -> None:
    mounts = (
        "/dev/a / ext4 rw 0 0\n/dev/b /usr/share ext4 rw 0 0\ntmpfs /usr/lib tmpfs rw 0 0\n/dev/c /mnt xfs rw 0 0\n"
        "overlay /usr/lib/x overlay rw 0 0\n/dev/d /var/lib/mysql ext4 rw 0 0\n"
    )
    assert root.nested_mounts(mounts, ("/usr",)) == ["/usr/share"]


def test_homes_of_people() -> None:
    def entry(uid: int, home: str) -> pwd.struct_passwd:
        return pwd.struct_passwd(("n", "x", uid, uid, "", home, "/bin/sh"))

    people = [
        entry(0, "/root"),
        entry(33, "/var/www"),
        entry(1000, "/home/a"),
        entry(1001, "/data/b"),
        entry(1002, "/"),
    ]
    assert root.homes(people) == {"/root", "/home", "/data/b"}


def test_names_come_from_files_alone() -> None:
    text = root.files_only("passwd: files systemd\nhosts: files dns myhostname\nservices: db files\n")
    assert text == "services: db files\npasswd: files\ngroup: files\nshadow: files\ngshadow: files\nhosts: files\n"


def test_every_link_on_the_way_to_a_python_counts(tmp_path: Path) -> None:
    (tmp_path / "real/bin").mkdir(parents=True)
    (tmp_path / "real/bin/python3.11").touch()
    (tmp_path / "alias").symlink_to("real")
    (tmp_path / "venv/bin").mkdir(parents=True)
    (tmp_path / "venv/bin/python").symlink_to(tmp_path / "alias/bin/python3.11")
    assert root.python_bases(tmp_path / "venv/bin/python") == sorted([tmp_path / "alias", tmp_path / "real"])
    assert root.python_bases(Path("/usr/bin/python3")) == []


def test_hosts_file_names_itself() -> None:
    assert root.hosts_file(SPEC) == "127.0.0.1 localhost\n10.0.0.5 ip-10-0-0-5 ip-10-0-0-5.ec2.internal\n"
