"""The user that jobs run as, and the folders that programs and jobs find."""

from __future__ import annotations

from cluster_scripts.jobs.errors import StepFailed
from cluster_scripts.node.system import System
from cluster_scripts.slurm.commands import MACHINE
from infra.config.facts import Facts

#: The same number on every machine: files on the shared file system carry it.
JOB_USER, JOB_UID = "dure", 5000

#: Folders of a machine: path, mode, owner.
_LOCAL: tuple[tuple[str, int, str], ...] = (
    ("/etc/dure", 0o755, "root"),
    ("/etc/slurm", 0o755, "root"),
    ("/etc/munge", 0o700, "munge"),
    ("/var/log/dure", 0o755, "root"),
    ("/var/log/slurm", 0o755, "slurm"),
    ("/var/lib/dure", 0o755, "root"),
    ("/var/lib/dure/slurm", 0o700, "slurm"),
    ("/var/spool/slurmd", 0o755, "root"),
)
#: Folders on the shared file system, made by the head. What holds code is root's: no job can change another's.
_SHARED: tuple[tuple[str, int, str], ...] = (
    ("/fsx/.dure", 0o755, "root"),
    (MACHINE.code_dir, 0o755, "root"),
    (MACHINE.log_dir, 0o755, JOB_USER),
    (MACHINE.metrics_dir, 0o755, JOB_USER),
)


def make_job_user(system: System) -> None:
    """Make the user and group unless they are there; StepFailed if somebody else has their number."""
    home = MACHINE.home
    if system.run(["getent", "group", JOB_USER]).code:
        system.check(["groupadd", "--gid", str(JOB_UID), JOB_USER])
    if system.run(["getent", "passwd", JOB_USER]).code:
        options = ["--uid", str(JOB_UID), "--gid", str(JOB_UID), "--home-dir", home, "--shell", "/bin/bash"]
        system.check(["useradd", "--create-home", *options, JOB_USER])
    entry = system.check(["getent", "passwd", JOB_USER]).split(":")
    if entry[2:4] != [str(JOB_UID)] * 2:
        raise StepFailed(
            f"the user {JOB_USER} is {':'.join(entry[2:4])}, expected {JOB_UID}:{JOB_UID}; use a clean image"
        )


def make_local_folders(system: System) -> None:
    """The folders of this machine."""
    for path, mode, owner in _LOCAL:
        system.folder(path, mode=mode, owner=owner)


def make_shared_folders(system: System, facts: Facts) -> None:
    """The folders on the shared file system, and jobs' right to write beside them."""
    for path, mode, owner in _SHARED:
        system.folder(path, mode=mode, owner=owner)
    # As in /tmp all may make files, and nobody can move what is root's: root must always find its own folders here.
    system.folder(facts.file_system.mount_point, mode=0o1777, owner="root")
    for association in facts.file_system.associations:
        path = facts.file_system.mount_point + association.path
        system.folder(path, mode=0o775, owner="root", group=JOB_USER)
