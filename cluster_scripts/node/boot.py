"""A machine becomes a part of its cluster: `dure-node boot`, at an instance's first boot from the user data of its
launch template, at every other one from dure-boot.service, which the first enables.

    identity, later boots, facts, firewall, user, (head: state volume,) host name, folders, file system, munge, Slurm,
    agent

Each step is logged with its time to /var/log/dure/boot.log. The first that fails ends the boot: such a machine joins
no cluster. A second run changes nothing that is right already.
"""

from __future__ import annotations

import socket
import sys
from dataclasses import dataclass, replace
from typing import Protocol

from cluster_scripts.jobs.errors import DureError, NoSuchCluster, StepFailed, Unreachable
from cluster_scripts.node import accounts, firewall, launches, lustre, names, scratch, state_volume
from cluster_scripts.node.identity import FILE, HEAD, Identity
from cluster_scripts.node.slurm import Slurm
from cluster_scripts.node.steps import StepLog
from cluster_scripts.node.system import System, account
from cluster_scripts.slurm import config
from infra.config.facts import Facts, FactsError, parameter_name

TOOLKIT = "/opt/dure/toolkit/current/cluster_scripts"
FACTS_FILE = "/etc/dure/facts.json"
LOG_FILE = "/var/log/dure/boot.log"
UNIT = "dure-boot.service"
MUNGE_KEY = "/etc/munge/munge.key"
SLURMD_OPTIONS = "/etc/dure/slurmd.env"
SLURMCTLD_PORT, SLURMD_PORT = 6817, 6818

#: Seconds that a machine waits for the stack, for its launch's object, and for its daemons.
FACTS_SECONDS = 900
LAUNCH_SECONDS = 300
DAEMON_SECONDS = 60

#: Minutes that a node whose boot failed stays for whoever wants to look at it.
LOOK_MINUTES = 5

# Limits of munged
_KEY_LEAST, _KEY_MOST = 32, 1024


class Services(Protocol):
    """What boot asks of AWS; backends.aws.node_services.NodeServices is one."""

    def parameter(self, name: str) -> str: ...

    def secret(self, arn: str) -> str: ...

    def object(self, bucket: str, key: str) -> bytes | None: ...

    def attach_volume(self, volume_id: str, *, instance_id: str, device: str) -> bool: ...


@dataclass(frozen=True)
class Boot:
    """One boot of one machine. `run` does it."""

    system: System
    services: Services
    identity: Identity
    log: StepLog

    def run(self) -> None:
        """All steps. Raises the error of the first that fails, after it was logged."""
        try:
            self._steps()
        except DureError:
            if self.identity.role != HEAD:
                # it costs the same as one that works, and Slurm waits for it until ResumeTimeout
                self.system.run(["shutdown", "-h", f"+{LOOK_MINUTES}", "dure-node boot failed; shutdown -c keeps it"])
                self.log.note(f"shuts down in {LOOK_MINUTES} minutes; `shutdown -c` keeps it", ok=False)
            raise

    def _steps(self) -> None:
        self._enable()
        with self.log.step("facts"):
            facts = self._facts()
        with self.log.step("job user"):
            accounts.make_job_user(self.system)
        with self.log.step("firewall"):
            self._close_metadata()
        if self.identity.role == HEAD and facts.head.state_volume:
            with self.log.step("state volume"):
                self._mount_state(facts.head.state_volume)
        with self.log.step("host name"):
            names.settle(self.system, name=socket.gethostname(), address=self.identity.private_ip)
        with self.log.step("folders"):
            accounts.make_local_folders(self.system)
            self.system.write(FACTS_FILE, facts.to_json() + "\n")
        with self.log.step("munge"):
            self._munge(facts)
        with self.log.step("file system"):
            lustre.mount(self.system, facts.file_system)
            lustre.tune(self.system)
        if self.identity.role == HEAD:
            self._head(facts)
        else:
            self._node(facts)
        with self.log.step("agent"):
            self._start("dure-agent", again=True)
        if self.identity.role == HEAD:
            with self.log.step("compile"):
                # Slurm's user runs a program for every job and can't keep its bytecode
                self.system.run([sys.executable, "-m", "compileall", "-q", TOOLKIT], timeout=DAEMON_SECONDS)

    def _head(self, facts: Facts) -> None:
        with self.log.step("shared folders"):
            accounts.make_shared_folders(self.system, facts)
        with self.log.step("configuration"):
            self._know(self.identity)
            changed = [self._write_changed(f"/etc/slurm/{name}", text) for name, text in config.files(facts).items()]
        with self.log.step("slurmctld"):
            # running jobs do not notice: slurmctld keeps its state, and slurmd waits for it
            self._start("dure-slurmctld", again=any(changed))
            slurm = Slurm(self.system)
            self.system.until("slurmctld answers", slurm.answers, seconds=DAEMON_SECONDS)
        with self.log.step("keeper"):
            self._start("dure-keeper", again=True)

    def _node(self, facts: Facts) -> None:
        with self.log.step("launch"):
            node = self._node_name(facts)
            self._know(replace(self.identity, node=node))
        if facts.queue(self.identity.queue).nvme_scratch:
            with self.log.step("scratch"):
                scratch.make(self.system, self.log)
        with self.log.step("slurmd"):
            options = f"-b -N {node} --conf-server {facts.head.private_ip}:{SLURMCTLD_PORT}"
            self.system.write(SLURMD_OPTIONS, f"SLURMD_OPTIONS={options}\n")
            self._start("dure-slurmd")
            self.system.until(
                f"slurmd listens on port {SLURMD_PORT}",
                lambda: listens(self.identity.private_ip, SLURMD_PORT),
                seconds=DAEMON_SECONDS,
            )

    def _enable(self) -> None:
        """Have the machine boot like this again: user data runs once in an instance's life.

        It is the first step, so that a machine whose boot failed tries again when it is rebooted. An image without the
        unit is no reason to fail: the machine works as long as it does not reboot.
        """
        if self.system.run(["systemctl", "is-enabled", "--quiet", UNIT]).code == 0:
            return
        done = self.system.run(["systemctl", "enable", UNIT], timeout=DAEMON_SECONDS)
        said = f"a reboot will not bring this machine back: {done.stderr.strip()}" if done.code else ""
        self.log.note("later boots", said, ok=not done.code)

    def _facts(self) -> Facts:
        """Wait for the cluster's facts: a head can be up before the rest of its stack."""
        name = parameter_name(self.identity.cluster)
        found: list[str] = []

        def there() -> bool:
            try:
                found.append(self.services.parameter(name))
            except (NoSuchCluster, Unreachable) as error:
                self.log.note("facts not there yet", str(error))
                return False
            return True

        self.system.until(f"the SSM parameter {name} exists", there, seconds=FACTS_SECONDS, pause=1)
        try:
            return Facts.from_json(found[-1])
        except FactsError as error:
            raise StepFailed(f"{name}: {error}. Do the toolkit in the image and the cluster fit each other?") from error

    def _close_metadata(self) -> None:
        """Before anything of a user can run here."""
        slurm = [account("slurm").pw_uid] if self.identity.role == HEAD else []
        firewall.close(self.system, slurm)

    def _mount_state(self, volume_id: str) -> None:
        state_volume.mount(self.system, self.services, volume_id=volume_id, instance_id=self.identity.instance_id)

    def _munge(self, facts: Facts) -> None:
        key = self.services.secret(facts.munge_secret).encode()
        if not _KEY_LEAST <= len(key) <= _KEY_MOST:
            raise StepFailed(f"the munge key in {facts.munge_secret} is {len(key)} bytes long, munged takes 32 to 1024")
        self.system.write(MUNGE_KEY, key, mode=0o400, owner="munge")
        self._start("dure-munged")
        self.system.until(
            "munged answers", lambda: self.system.run(["munge", "--no-input"]).code == 0, seconds=DAEMON_SECONDS
        )

    def _node_name(self, facts: Facts) -> str:
        """Which node we are: the head's ResumeProgram writes that down as soon as it knows our instance id."""
        key = launches.key(self.identity.launch)
        found: list[str] = []

        def there() -> bool:
            content = self.services.object(facts.bucket, key)
            if content is not None:
                found.append(
                    launches.node_name(content, launch=self.identity.launch, instance_id=self.identity.instance_id)
                )
            return bool(found)

        what = f"s3://{facts.bucket}/{key} says which node {self.identity.instance_id} is"
        self.system.until(what, there, seconds=LAUNCH_SECONDS, pause=0.1)
        name = found[-1]
        if not any(name in queue.node_names() for queue in facts.queues if queue.name == self.identity.queue):
            raise StepFailed(f"{key} says we are {name!r}, which is no node of queue {self.identity.queue!r}")
        return name

    def _know(self, identity: Identity) -> None:
        self.system.write(FILE, identity.to_json())

    def _write_changed(self, path: str, content: str) -> bool:
        """Write a file unless it is so already; whether it was written."""
        file = self.system.path(path)
        if file.is_file() and file.read_text(encoding="utf-8") == content:
            return False
        self.system.write(path, content)
        return True

    def _start(self, unit: str, *, again: bool = False) -> None:
        """Start a unit. again: if it runs, end it first, so that it takes a new toolkit or configuration."""
        verb = "restart" if again else "start"
        self.system.check(["systemctl", verb, f"{unit}.service"], timeout=DAEMON_SECONDS)


def listens(address: str, port: int) -> bool:
    """Whether something takes connections there."""
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True
