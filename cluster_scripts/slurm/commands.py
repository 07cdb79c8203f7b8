"""What we say to Slurm: argument lists and the batch script. Pure: building them runs nothing.

    argv = submit(spec, gpus=8)                        sbatch; the script goes to its standard input
    script = batch_script(spec, cluster="kogpt2")

Where things lie on the machines is a `Layout`; its defaults are Dure's own machines. Nothing of a user ever reaches a
shell unquoted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from cluster_scripts.jobs.spec import JOB_ID, JobSpec
from cluster_scripts.slurm.hostlist import compress

#: EX_TEMPFAIL: a batch script that ends with it is started again (RequeueExit in slurm.conf).
REQUEUE_EXIT = 75
#: What 75 becomes for a job that must not start again, and after too many starts: EX_IOERR.
NO_REQUEUE_EXIT = 74
#: A job that was started again this often has another problem than a lost node.
MAX_RESTARTS = 20
#: What `dure-node lost` ends with when a node of the job does not answer.
LOST_EXIT = 10

#: Every job that slurmctld still knows, as JSON; read by parse.jobs.
JOBS: tuple[str, ...] = ("squeue", "--json", "--states=all")
#: Every node, as JSON; read by parse.nodes.
NODES: tuple[str, ...] = ("sinfo", "--json")
#: Whether the controller answers; "UP" is in its output.
PING: tuple[str, ...] = ("scontrol", "ping")

_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where a job finds things on the machines. `lost`: the program that tells a lost node from a failed job, ()
    for none; `scratch_dir`: where a node's own fast space is, if it has any, "" for nowhere.
    """

    log_dir: str = "/fsx/.dure/logs"
    metrics_dir: str = "/fsx/.dure/metrics"
    code_dir: str = "/fsx/.dure/code"
    work_dir: str = "/fsx"
    home: str = "/home/dure"
    path: str = "/opt/dure/env/trainer/bin:/usr/local/bin:/usr/bin:/bin"
    python_path: str = "/opt/dure/toolkit/current"
    lost: tuple[str, ...] = ("/opt/dure/bin/dure-node", "lost")
    scratch_dir: str = "/scratch"

    def folder(self, spec: JobSpec) -> str:
        """Where the job's ranks start: its unpacked code, or the shared file system."""
        return self.work_dir if spec.code is None else f"{self.code_dir}/{spec.code.sha256}"


MACHINE = Layout()


def quote(text: str) -> str:
    r"""The text as one word of bash, on one line and in ASCII: `it's` gives `$'it\'s'`.

    Plain single quotes would leave line breaks in the script, and sbatch refuses a script with a carriage return in it.
    """
    if _PLAIN.fullmatch(text):
        return text
    return "$'" + "".join(_escape(byte) for byte in text.encode()) + "'"


def _escape(byte: int) -> str:
    sign = chr(byte)
    if sign in "'\\":
        return "\\" + sign
    return sign if 0x20 <= byte < 0x7F else f"\\{byte:03o}"


def submit(spec: JobSpec, *, gpus: int, layout: Layout = MACHINE) -> list[str]:
    """sbatch for this job, the script on standard input. `gpus` are those of one node of the queue: a job gets whole
    nodes.

    Run it with an environment of your own: SBATCH_* variables would change it, and the job inherits the environment.
    """
    argv = [
        "sbatch",
        "--parsable",
        f"--job-name={spec.name}",
        f"--partition={spec.queue}",
        f"--nodes={spec.nodes}",
        f"--ntasks-per-node={spec.tasks_per_node}",
        "--exclusive",
        "--requeue" if spec.requeue else "--no-requeue",
        "--open-mode=append",
        f"--output={layout.log_dir}/%j.log",
        f"--chdir={layout.folder(spec)}",
        f"--comment={spec.submitted_by}",
    ]
    if gpus:
        argv.append(f"--gres=gpu:{gpus}")
    if spec.time_limit_seconds is not None:
        # Slurm counts minutes
        argv.append(f"--time={-(-spec.time_limit_seconds // 60)}")
    return argv


def batch_script(spec: JobSpec, *, cluster: str, layout: Layout = MACHINE) -> str:
    """The script that Slurm runs on the job's first node: sets the environment, starts the ranks, and tells a lost
    node from a failed job.
    """
    environment = {
        "PATH": quote(layout.path),
        "PYTHONPATH": quote(layout.python_path),
        "HOME": quote(layout.home),
        "DURE_CLUSTER": quote(cluster),
        "DURE_JOB_ID": '"$SLURM_JOB_ID"',
        "DURE_METRICS_DIR": quote(layout.metrics_dir) + '/"$SLURM_JOB_ID"',
    } | {name: quote(text) for name, text in spec.environment.items()}
    exports = "\n".join(f"export {name}={word}" for name, word in environment.items())
    return f"""#!/bin/bash
set -u
# found before the job's own PATH counts
srun=$(command -v srun) || {{ echo "dure: there is no srun on $(hostname)" >&2; exit 1; }}
{_scratch(layout)}{exports}
mkdir -p "$DURE_METRICS_DIR" || echo "dure: can't make $DURE_METRICS_DIR: this job's figures will be missing" >&2
"$srun" --kill-on-bad-exit=1 -- {" ".join(quote(word) for word in spec.command)}
code=$?
{_ending(spec, layout)}exit "$code"
"""


def _scratch(layout: Layout) -> str:
    """The line that names the node's own space, where it has some: all nodes of a job are of one queue."""
    if not layout.scratch_dir:
        return ""
    folder = quote(layout.scratch_dir)
    return f"[ ! -d {folder} ] || export DURE_SCRATCH={folder}\n"


def _ending(spec: JobSpec, layout: Layout) -> str:
    """The lines that decide about a new start from `code`."""
    if not spec.requeue:
        return f'[ "$code" -ne {REQUEUE_EXIT} ] || code={NO_REQUEUE_EXIT}\n'
    lost = ""
    if layout.lost:
        # ranks usually crash before slurmctld misses the node, and a job that has failed by itself is not started again
        lost = f"""if [ "$code" -ne 0 ] && [ "$code" -ne {REQUEUE_EXIT} ]; then
    {" ".join(quote(word) for word in layout.lost)} >&2
    [ $? -ne {LOST_EXIT} ] || code={REQUEUE_EXIT}
fi
"""
    return f"""{lost}if [ "$code" -eq {REQUEUE_EXIT} ] && [ "${{SLURM_RESTART_COUNT:-0}}" -ge {MAX_RESTARTS} ]; then
    echo "dure: started again $SLURM_RESTART_COUNT times already, giving up" >&2
    code={NO_REQUEUE_EXIT}
fi
"""


def cancel(id: str) -> list[str]:
    """scancel. It says nothing and ends with 0 for an id that Slurm does not know: ask `JOBS` first."""
    if not JOB_ID.fullmatch(id):
        raise ValueError(f"not a job id: {id!r}")
    return ["scancel", id]


def history(id: str) -> list[str]:
    """One job from the completion log, for one that slurmctld has forgotten; read by parse.history."""
    if not JOB_ID.fullmatch(id):
        raise ValueError(f"not a job id: {id!r}")
    fields = "jobid,jobname,partition,state,exitcode,nodelist,nnodes,user,submit,start,end"
    return ["sacct", "-c", "--parsable2", "--noheader", f"--jobs={id}", f"--format={fields}", "--starttime=1970-01-01"]


def node_states(node_list: str) -> list[str]:
    """The short states and addresses of some nodes; read by parse.node_states."""
    return ["sinfo", "--noheader", "--Node", f"--nodes={node_list}", "--format=%N %t %o"]


def update_nodes(names: Iterable[str], **values: str) -> list[str]:
    """scontrol update of nodes: `update_nodes(names, state="DOWN", reason="no capacity")`.

    Values are passed as they are: scontrol takes no quotes and each value is one argument of its own.
    """
    return ["scontrol", "update", f"NodeName={compress(names)}", *(f"{key}={text}" for key, text in values.items())]


def note_job(id: str, text: str) -> list[str]:
    """scontrol update of a job's admin comment, which only Slurm's own users can write; parse.jobs shows it as the
    reason."""
    if not JOB_ID.fullmatch(id):
        raise ValueError(f"not a job id: {id!r}")
    return ["scontrol", "update", f"JobId={id}", f"AdminComment={text}"]
