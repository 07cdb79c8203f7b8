"""The configuration of Slurm, rendered from the facts. Pure: `files(facts)` gives names and contents, someone else
writes them.

The same keys and values for every cluster, on EC2 and in rehearsals: only what names the cluster, its head, its nodes
and its patience differs (`VARIES`, with the reasons; a test compares the rendered files). Measured figures:
docs/node.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cluster_scripts.slurm.commands import REQUEUE_EXIT
from infra.config.facts import Facts, Queue

#: The only keys of slurm.conf in which two clusters may differ, and why.
VARIES: Mapping[str, str] = {
    "ClusterName": "each cluster has its own name",
    "SlurmctldHost": "each cluster has its own head",
    "ResumeTimeout": "slurm.resume_timeout_seconds of the cluster file",
    "SuspendTimeout": "slurm.suspend_timeout_seconds of the cluster file",
    "SuspendExcNodes": "the nodes that a queue keeps running (its `min`)",
    "NodeName": "the queues, their sizes and their instance types",
    "PartitionName": "the queues, and how long their nodes may be idle",
}

#: Slurm gets this share of a machine's memory: the kernel and the firmware keep some of what the catalog says.
MEMORY_SHARE = 0.95

_STATE = "/var/lib/dure/slurm"  # on the head's own volume, which outlives it
_BIN = "/opt/dure/bin/dure-node"

# Why each is set, where it isn't plain. The order is that of the file.
_FIXED: tuple[tuple[str, str, str], ...] = (
    ("AuthType", "auth/munge", ""),
    ("CredType", "cred/munge", ""),
    ("AuthInfo", "cred_expire=10", "a requeued job waits until its credential has expired: 120 s by default"),
    ("SlurmUser", "slurm", ""),
    ("SlurmdUser", "root", ""),
    ("MailProg", "/bin/true", ""),
    ("StateSaveLocation", _STATE, ""),
    ("SlurmdSpoolDir", "/var/spool/slurmd", ""),
    ("SlurmctldPidFile", "/run/slurm/slurmctld.pid", ""),
    ("SlurmdPidFile", "/run/slurm/slurmd.pid", ""),
    ("SlurmctldLogFile", "/var/log/slurm/slurmctld.log", ""),
    ("SlurmdLogFile", "/var/log/slurm/slurmd.log", ""),
    ("ProctrackType", "proctrack/linuxproc", "a node runs one job at a time and the epilog ends what is left of it"),
    ("TaskPlugin", "task/none", "a job has whole nodes: nothing to confine it from"),
    ("JobAcctGatherType", "jobacct_gather/linux", ""),
    ("MpiDefault", "none", "ranks find each other through Gloo or NCCL"),
    (
        "PropagateResourceLimits",
        "NONE",
        "limits are those of slurmd's unit (locked memory for EFA), not the submitter's",
    ),
    ("ReturnToService", "2", "a node that answers again after a fault is used again"),
    ("SlurmdTimeout", "30", "a node that is silent for so long is down, and its job starts again"),
    ("MessageTimeout", "10", ""),
    ("TCPTimeout", "2", ""),
    ("SrunPortRange", "60001-60999", "where srun listens: the security groups let these through, no others"),
    ("InactiveLimit", "0", ""),
    ("KillWait", "30", "seconds between SIGTERM and SIGKILL: the time for a last checkpoint"),
    ("UnkillableStepTimeout", "120", ""),
    ("JobRequeue", "1", ""),
    ("RequeueExit", str(REQUEUE_EXIT), "EX_TEMPFAIL: the batch script ends so when a node was lost"),
    ("SchedulerType", "sched/backfill", ""),
    (
        "SchedulerParameters",
        "batch_sched_delay=0,sched_interval=1,bf_interval=1,nohold_on_prolog_fail",
        "the default starts a job up to 3 s late; a job whose prolog failed waits for another node, not for a person",
    ),
    ("SelectType", "select/cons_tres", ""),
    ("SelectTypeParameters", "CR_Core", ""),
    ("GresTypes", "gpu", ""),
    ("EnforcePartLimits", "ALL", "a job that can never run is refused when it is submitted"),
    ("AccountingStorageType", "accounting_storage/none", ""),
    ("JobCompType", "jobcomp/filetxt", "ended jobs, for sacct -c"),
    ("JobCompLoc", f"{_STATE}/jobcomp.txt", ""),
    ("MinJobAge", "604800", "ended jobs are shown for a week"),
    ("MaxJobCount", "50000", "room for them"),
    (
        "SlurmdParameters",
        "config_overrides",
        "a node has what the instance catalog says; dure's prolog checks the GPUs",
    ),
    ("PrivateData", "cloud", "shows nodes that have no machine now"),
    ("CommunicationParameters", "NoAddrCache", "a node's address changes with its machine"),
    (
        "SlurmctldParameters",
        "enable_configless,cloud_reg_addrs,idle_on_node_suspend,power_save_interval=1,power_save_min_interval=0",
        "nodes fetch this file from the head; machines are asked for at once",
    ),
    ("ResumeProgram", f"{_BIN}-resume", ""),
    ("SuspendProgram", f"{_BIN}-suspend", ""),
    ("ResumeFailProgram", f"{_BIN}-resume-fail", ""),
    ("ResumeRate", "0", "no limit: launches are all or nothing for each job"),
    ("SuspendRate", "0", ""),
    ("SuspendTime", "600", "each partition has its own"),
    ("PrologSlurmctld", f"{_BIN}-prolog-slurmctld", "waits until the nodes answer: else sbatch waits for a 30 s tick"),
    ("Prolog", f"{_BIN}-prolog", ""),
    ("Epilog", f"{_BIN}-epilog", ""),
    ("PrologFlags", "Alloc", "checks every node of a job before its first rank starts"),
    ("SlurmctldDebug", "info", ""),
    ("SlurmdDebug", "info", ""),
)


def slurm_conf(facts: Facts) -> list[tuple[str, str]]:
    """The keys and values of slurm.conf, in the order of the file."""
    out = [
        ("ClusterName", facts.name),
        ("SlurmctldHost", f"{facts.head.host_name}({facts.head.private_ip})"),
        *((key, value) for key, value, _ in _FIXED),
        ("ResumeTimeout", str(facts.slurm.resume_timeout_seconds)),
        ("SuspendTimeout", str(facts.slurm.suspend_timeout_seconds)),
    ]
    if kept := ",".join(_names(queue, queue.min) for queue in facts.queues if queue.min):
        out.append(("SuspendExcNodes", kept))
    out.extend(("NodeName", _node(queue)) for queue in facts.queues)
    out.extend(("PartitionName", _partition(queue, first=place == 0)) for place, queue in enumerate(facts.queues))
    return out


def files(facts: Facts) -> dict[str, str]:
    """The files of /etc/slurm by name. Only the head has them: nodes fetch them from slurmctld (configless)."""
    reasons = {key: reason for key, _, reason in _FIXED}
    head = f"# Written by dure-node boot from the facts of cluster {facts.name}; changes are lost.\n"
    lines = []
    for key, value in slurm_conf(facts):
        if reason := reasons.get(key):
            lines.append(f"# {reason}")
        lines.append(f"{key}={value}")
    gres = "".join(_gres(queue) for queue in facts.queues if queue.gpus)
    # proctrack/linuxproc and task/none use no cgroup, but 22.05 loads a plug-in for them all the same ("disabled" came
    # later). `autodetect` takes v2 on most hosts, which wants to write to a cgroup file system that may be read-only
    cgroup = "CgroupPlugin=cgroup/v1\n"
    return {"slurm.conf": head + "\n".join(lines) + "\n", "gres.conf": head + gres, "cgroup.conf": head + cgroup}


def read(text: str) -> Iterator[tuple[str, str]]:
    """The keys and values of a slurm.conf, comments left out: the inverse of what `files` writes."""
    for line in text.splitlines():
        if line and not line.startswith("#"):
            key, _, value = line.partition("=")
            yield key, value


def _names(queue: Queue, count: int) -> str:
    return f"{queue.name}-[1-{count}]"


def _node(queue: Queue) -> str:
    gres = f" Gres=gpu:{queue.gpus}" if queue.gpus else ""
    memory = int(queue.memory_mib * MEMORY_SHARE)
    return f"{_names(queue, queue.max)} CPUs={queue.cpus} RealMemory={memory}{gres} State=CLOUD"


def _partition(queue: Queue, *, first: bool) -> str:
    default = "YES" if first else "NO"
    return (
        f"{queue.name} Nodes={_names(queue, queue.max)} Default={default} OverSubscribe=EXCLUSIVE MaxTime=INFINITE "
        f"SuspendTime={queue.idle_seconds} State=UP"
    )


def _gres(queue: Queue) -> str:
    """A count without device files is refused by slurmd: name the devices that the NVIDIA driver makes."""
    devices = f"/dev/nvidia[0-{queue.gpus - 1}]" if queue.gpus > 1 else "/dev/nvidia0"
    return f"NodeName={_names(queue, queue.max)} Name=gpu File={devices}\n"
