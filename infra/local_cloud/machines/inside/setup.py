"""From fresh namespaces to a machine: make the root, pivot into it, let go of the host's files, become pid 1.

Started by the owner inside new net, UTS, IPC, PID and mount namespaces, with its end of the control channel as standard
input. The order is what keeps the host safe: only one mount is made while the host's root is still `/`, an empty folder
in memory at the machine's own folder, and that becomes the root. Everything else happens after pivot_root, when an
absolute path or symbolic link leads into the machine; sources are then read below `HOST`, which is unmounted before
any program but ip(8) runs.

A root that an earlier boot left (`Plan.kept`) was written by the machine, and may hold symbolic links that were put
there to catch us. None can lead to the host's files: the name of `HOST` is drawn anew at each boot, so that no link
knows it, and nothing is made in the one folder of the host that the machine wrote, its log.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from . import channel, syscalls
from .plan import Bind, Join, NewFile, Plan

HOST = f"/.host-{os.urandom(16).hex()}"
WRITABLE = "/.writable"
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_LINKS = (("ptmx", "pts/ptmx"), ("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2"))
_PROC_READ_ONLY = ("sys", "sysrq-trigger", "irq", "bus", "fs")
_DIRECTORIES = ("/run/lock", "/run/user", "/var/lib/cloud/instance", "/run/local-cloud")


def main(arguments: list[str]) -> int:
    """Run as `PYTHON FOLDER setup`; does not return when all goes well."""
    control = socket.socket(fileno=0)
    packet = channel.receive(control)
    if packet is None:
        return 1
    plan = Plan.from_message(packet[0])
    # The host's /proc is still mounted, so this is our pid as the owner sees it.
    channel.send(control, {"pid": int(Path("/proc/self").readlink().name)})
    enter_root(plan)
    furnish(plan)
    leave_host()
    if channel.receive(control) is None:  # the owner plugs in the cable, then says go
        return 1
    start(plan, control)
    return 1


def enter_root(plan: Plan) -> None:
    """Mount the machine's root, empty, unless it lies there already, and pivot into it; the host's root is at `HOST`
    from then on.
    """
    syscalls.mount("none", "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
    if not plan.kept:
        mount_root(plan)
    os.chdir(plan.mount_point)
    Path(HOST[1:]).mkdir(mode=0o700)
    syscalls.pivot_root(".", HOST[1:])
    os.chroot(".")
    os.chdir("/")


def mount_root(plan: Plan) -> None:
    """Mount an empty root at the plan's mount point."""
    syscalls.mount("machine", plan.mount_point, kind="tmpfs", data=f"mode=755,size={plan.memory_limit}")


def join(item: Join, number: int, plan: Plan) -> None:
    """Mount one overlay. What is written goes to the root's own memory, out of sight, or to the plan's folder."""
    base = HOST + plan.writable if plan.writable else WRITABLE
    upper, work = f"{base}/upper{item.path}", f"{base}/work/{number}"
    if item.nested:  # below another overlay's upper folder it would change under that one's feet
        upper, work = f"{WRITABLE}/nested/{number}/upper", f"{WRITABLE}/nested/{number}/work"
    for folder in (item.path, upper, work):
        Path(folder).mkdir(parents=True, exist_ok=True)
    layers = [HOST + layer for layer in item.layers if Path(HOST + layer).is_dir()]
    # In a user namespace overlayfs keeps its notes in user.* attributes; trusted.* is not for us.
    lower = ":".join(escaped(layer) for layer in layers)
    options = f"lowerdir={lower},upperdir={escaped(upper)},workdir={escaped(work)}"
    syscalls.mount("machine", item.path, kind="overlay", data=options + (",userxattr" if plan.unprivileged else ""))


def escaped(path: str) -> str:
    """A path as overlayfs's options can hold it."""
    for special in "\\:,":
        path = path.replace(special, f"\\{special}")
    return path


def furnish(plan: Plan) -> None:
    """Everything in the root: the system, kernel file systems, private folders, what is shown of the host, our own
    files.
    """
    for path, mode in plan.folders:
        if not Path(path).is_dir():
            Path(path).mkdir(parents=True)
            Path(path).chmod(mode)
    for path, target in plan.links:
        if not Path(path).is_symlink():
            Path(path).symlink_to(target)
    for number, folder in enumerate(plan.joins):
        join(folder, number, plan)
    mount_kernel_file_systems()
    mount_devices(plan.devices)
    for path, mode in (("/run", 0o755), ("/tmp", 0o1777), ("/var/tmp", 0o1777)):
        private_folder(path, mode)
    for path, mode in plan.masks:
        if Path(path).is_dir():
            private_folder(path, mode)
    for path in _DIRECTORIES:
        Path(path).mkdir(parents=True, exist_ok=True)
    if plan.log_folder:
        private_log_folder(HOST + plan.log_folder, again=plan.again)
    for item in plan.binds:
        show(item)
    socket.sethostname(plan.host_name)
    for file in plan.files:
        write(file)
    if plan.user_data:
        place(Path("/var/lib/cloud/instance/user-data.txt"), plan.user_data, mode=0o600, owner="root")


def mount_kernel_file_systems() -> None:
    """/proc of our PID namespace and /sys, without the switches that reach the host's kernel."""
    syscalls.mount("proc", "/proc", kind="proc", flags=syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC)
    network = syscalls.clone_tree("/proc/sys/net")  # stays writable: it belongs to our network namespace
    for name in _PROC_READ_ONLY:
        path = f"/proc/{name}"
        if Path(path).exists():
            flags = syscalls.MS_REMOUNT | syscalls.MS_BIND | syscalls.MS_RDONLY
            syscalls.mount(path, path, flags=syscalls.MS_BIND)
            syscalls.mount("none", path, flags=flags | syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC)
    syscalls.attach_tree(network, "/proc/sys/net")
    os.close(network)
    syscalls.mount("sysfs", "/sys", kind="sysfs", flags=syscalls.MS_RDONLY | syscalls.MS_NOSUID | syscalls.MS_NOEXEC)
    if Path("/sys/fs/cgroup").is_dir():
        syscalls.bind(f"{HOST}/sys/fs/cgroup", "/sys/fs/cgroup", read_only=True)


def mount_devices(devices: tuple[tuple[str, str], ...]) -> None:
    """A /dev with the plain devices, bound from the host: a user namespace may not make device nodes."""
    syscalls.mount("dev", "/dev", kind="tmpfs", flags=syscalls.MS_NOSUID, data="mode=755,size=4m")
    for folder in ("pts", "shm", "mqueue"):
        Path("/dev", folder).mkdir()
    syscalls.mount("devpts", "/dev/pts", kind="devpts", data="newinstance,ptmxmode=0666,mode=620")
    syscalls.mount("shm", "/dev/shm", kind="tmpfs", flags=syscalls.MS_NOSUID | syscalls.MS_NODEV, data="mode=1777")
    syscalls.mount("mqueue", "/dev/mqueue", kind="mqueue")
    for name, source in (*((name, name) for name in _DEVICES), ("console", "null"), *devices):
        Path("/dev", name).touch()
        syscalls.mount(f"{HOST}/dev/{source}", f"/dev/{name}", flags=syscalls.MS_BIND)
    for name, target in _LINKS:
        Path("/dev", name).symlink_to(target)


def private_folder(path: str, mode: int) -> None:
    """An empty folder in memory over `path`."""
    syscalls.mount("private", path, kind="tmpfs", flags=syscalls.MS_NOSUID | syscalls.MS_NODEV, data=f"mode={mode:o}")


def private_log_folder(outside: str, *, again: bool) -> None:
    """/var/log with the folders that packages made there, kept outside the machine so that it can be read
    afterwards. At a later boot it is there, and what is in it is the machine's: we touch none of it.
    """
    for entry in [] if again else sorted(Path("/var/log").iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            copy, known = Path(outside, entry.name), entry.stat()
            copy.mkdir(exist_ok=True)
            os.chown(copy, known.st_uid, known.st_gid)
            copy.chmod(known.st_mode & 0o7777)
    syscalls.bind(outside, "/var/log")


def show(item: Bind) -> None:
    """Show a file or folder of the host."""
    source, target = Path(HOST + item.source), Path(item.target)
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    elif not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    syscalls.bind(str(source), str(target), read_only=item.read_only)


def write(file: NewFile) -> None:
    """Write one file of ours; a path `~USER/...` is skipped when there is no such user."""
    path, owner = Path(file.path), file.owner
    if file.path.startswith("~"):
        owner, _, rest = file.path[1:].partition("/")
        try:
            path = Path(pwd.getpwnam(owner).pw_dir, rest)
        except KeyError:
            return
    place(path, file.content.encode(), mode=file.mode, owner=owner)


def place(path: Path, data: bytes, *, mode: int, owner: str) -> None:
    """Write a file, replacing a symbolic link rather than following it; missing folders get the same owner."""
    entry = pwd.getpwnam(owner)
    for folder in reversed([folder for folder in path.parents if not folder.exists()]):
        folder.mkdir()
        os.chown(folder, entry.pw_uid, entry.pw_gid)
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    path.chmod(mode)
    os.chown(path, entry.pw_uid, entry.pw_gid)


def leave_host() -> None:
    """Let go of the host's root: from here on none of its files can be reached but those that were shown on purpose."""
    os.chdir("/")
    syscalls.unmount_lazily(HOST)
    Path(HOST).rmdir()
    if Path(WRITABLE).is_dir():
        Path(WRITABLE).chmod(0)  # what is written lies here too: nobody's business but overlayfs's


def start(plan: Plan, control: socket.socket) -> None:
    """Bring the network up, drop what reaches the host's kernel, and become pid 1 (or the command of an image
    build).
    """
    network = "link set lo up\n" + plan.network
    subprocess.run(["ip", "-batch", "-"], input=network, text=True, check=True, env=ENVIRONMENT)
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    syscalls.drop_capabilities(n for n in syscalls.CAPABILITIES_THAT_REACH_THE_HOST.values() if n <= last)
    os.set_inheritable(control.fileno(), True)
    if plan.command:
        program = shutil.which(plan.command[0], path=ENVIRONMENT["PATH"]) or plan.command[0]
        os.execve(program, list(plan.command), ENVIRONMENT)
    os.execve(plan.python, [plan.python, "-EsS", plan.program_folder, "init", plan.instance_id], ENVIRONMENT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
