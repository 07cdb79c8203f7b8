"""The port over ssh: an existing Slurm cluster, seen from its login machine as the user who logs in.

Slurm's words are made and read here, at the client; the other side needs nothing but Slurm, a shell and tar. What we
keep there lies in ~/.dure: code/SHA256 (unpacked work folders), logs/JOBID.log, metrics/JOBID.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster_scripts.backends.reached import QueueLimits, check_queue
from cluster_scripts.backends.ssh import output
from cluster_scripts.backends.ssh.connection import Connection, Result
from cluster_scripts.jobs.errors import InvalidArgument, NoSuchJob, OtherSide, SlurmRefused, UnexpectedAnswer
from cluster_scripts.jobs.model import Job, LogEvent, LogPage, Node
from cluster_scripts.jobs.spec import JOB_ID, JobSpec
from cluster_scripts.slurm import commands, parse

# a shared file system shows the last lines of another machine a moment later
DRAIN_SECONDS = 3.0
LAST_BYTES = 64 << 10

# asks the login shell, once, for what every later command is given: profiles may print, so a mark leads the answer
_MARK = "dure-login:"
_PROBE = f'printf "\\n"; printf "%s\\n" "{_MARK}" "$HOME" "$PATH" "${{SLURM_CONF-}}" "$(id -un)" "$(hostname)"'

# $1 the archive, $2 the folder that it becomes; a folder that is there was unpacked whole
_UNPACK = """set -eu
[ -d "$2" ] && { rm -f "$1"; exit 0; }
part=$(mktemp -d "$2.XXXXXX")
tar -xzf "$1" -C "$part" --no-same-owner --no-same-permissions
chmod -R a-w,a+rX "$part"
mv -T "$part" "$2" 2>/dev/null || { chmod -R u+w "$part"; rm -rf "$part"; [ -d "$2" ]; }
rm -f "$1"
"""


@dataclass(frozen=True)
class Login:
    """What the login shell says of itself."""

    home: str
    path: str
    slurm_conf: str
    user: str
    host: str

    def environment(self) -> list[str]:
        """The words that run a program in a clean environment: SBATCH_* variables would change a job."""
        fixed = [f"HOME={self.home}", f"PATH={self.path}", f"USER={self.user}", "LC_ALL=C.UTF-8", "TZ=UTC"]
        return ["env", "-i", *fixed, *([f"SLURM_CONF={self.slurm_conf}"] if self.slurm_conf else [])]

    def layout(self) -> commands.Layout:
        """Where a job of this user finds things."""
        place = f"{self.home}/.dure"
        return commands.Layout(
            log_dir=f"{place}/logs",
            metrics_dir=f"{place}/metrics",
            code_dir=f"{place}/code",
            work_dir=self.home,
            home=self.home,
            path=self.path,
            python_path="",
            lost=(),
            scratch_dir="",
        )


def login_of(text: str) -> Login:
    """Read the probe's answer; raises UnexpectedAnswer."""
    words = text.rpartition(f"\n{_MARK}\n")[2].splitlines()[:5] if _MARK in text else []
    words += [""] * (5 - len(words))
    if not words[0].startswith("/") or not words[3]:
        raise UnexpectedAnswer(f"the login shell did not say where its home is, but {text[-300:]!r}")
    return Login(home=words[0], path=words[1], slurm_conf=words[2], user=words[3], host=words[4])


class SshCluster:
    """A Slurm cluster behind a login machine; implements `cluster_scripts.jobs.ports.Cluster`. Close it after use."""

    def __init__(
        self, connection: Connection, login: Login, *, time_ms: Callable[[], int], new_id: Callable[[], str]
    ) -> None:
        """No call is made. time_ms: milliseconds since 1970. new_id: letters and digits that never come twice."""
        self._connection = connection
        self._login = login
        self._layout = login.layout()
        self._time_ms = time_ms
        self._new_id = new_id

    @classmethod
    def open(cls, address: str, *, config_path: Path | None = None) -> SshCluster:
        """Connect to [USER@]HOST[:PORT] and ask the login shell for its environment."""
        connection = Connection.open(address, config_path=config_path)
        try:
            answer = connection.run(["bash", "-lc", _PROBE])
            return cls(
                connection,
                login_of(answer.stdout),
                time_ms=lambda: time.time_ns() // 1_000_000,
                new_id=lambda: uuid.uuid4().hex,
            )
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        self._connection.close()

    @property
    def name(self) -> str:
        return self._connection.address.host

    @property
    def drain_seconds(self) -> float:
        return DRAIN_SECONDS

    @property
    def marks_log_end(self) -> bool:
        return False

    def is_log_end(self, event: LogEvent) -> bool:
        return False

    def caller(self) -> str:
        return f"{self._login.user}@{self._login.host}"

    def queues(self) -> tuple[QueueLimits, ...]:
        return queues_of(self._slurm(["sinfo", "--noheader", "--format=%P|%D|%G"]).stdout)

    def submit(self, spec: JobSpec, *, code: Path | None) -> str:
        """See the port. Side effects: ~/.dure on the other side, with the unpacked code if it is not there yet."""
        if (spec.code is None) != (code is None):
            raise InvalidArgument("an archive belongs to a specification with code, and only to one")
        queues = self.queues()
        check_queue(spec.queue, nodes=spec.nodes, queues=queues)
        self._checked(["mkdir", "-p", self._layout.log_dir, self._layout.metrics_dir, self._layout.code_dir])
        if spec.code is not None and code is not None:
            self._send(code, self._layout.folder(spec))
        gpus = next(queue.gpus for queue in queues if queue.name == spec.queue)
        script = commands.batch_script(spec, cluster=self.name, layout=self._layout)
        return parse.submitted(self._slurm(commands.submit(spec, gpus=gpus, layout=self._layout), stdin=script).stdout)

    def jobs(self) -> list[Job]:
        return parse.jobs(self._slurm(commands.JOBS).stdout)

    def job(self, id: str) -> Job:
        found = next((job for job in self.jobs() if job.id == _checked_id(id)), None)
        return found or self._past(id)

    def cancel(self, id: str) -> None:
        if not self.job(id).ended:
            self._slurm(commands.cancel(id))

    def nodes(self) -> list[Node]:
        return parse.nodes(self._slurm(commands.NODES).stdout, jobs=self.jobs())

    def log_events(self, id: str, *, cursor: str | None) -> LogPage:
        place = output.Place.of(cursor)
        found = self._connection.read(self._log(id), offset=place.offset, limit=output.CHUNK)
        if found is None:
            return LogPage(events=(), cursor=cursor or "")
        content, size = found
        if size < place.offset:  # written anew: read it from its beginning
            return self.log_events(id, cursor=None)
        return output.page(content, place, now_ms=self._time_ms())

    def last_lines(self, id: str, count: int) -> tuple[LogEvent, ...]:
        found = self._connection.read(self._log(id), offset=-LAST_BYTES, limit=LAST_BYTES)
        lines = found[0].removesuffix(b"\n").split(b"\n")[-count:] if found and found[0] else []
        return tuple(LogEvent(timestamp_ms=self._time_ms(), message=output.text_of(line)) for line in lines)

    def _past(self, id: str) -> Job:
        """A job that the controller has forgotten, from the completion log where the cluster keeps one."""
        unknown = f"{self.name} does not know job {id}; `dure jobs` lists those that it knows"
        try:
            past = parse.history(self._slurm(commands.history(id)).stdout)
        except (SlurmRefused, NoSuchJob) as error:
            raise NoSuchJob(unknown) from error
        if not past:
            raise NoSuchJob(unknown)
        return past[-1]

    def _log(self, id: str) -> str:
        return f"{self._layout.log_dir}/{_checked_id(id)}.log"

    def _send(self, code: Path, folder: str) -> None:
        if self._connection.exists(folder):
            return
        # a name of its own: somebody else may send the same folder at the same time
        archive = f"{folder}.{self._new_id()}.tar.gz"
        self._connection.put(code, archive)
        self._checked(["sh", "-c", _UNPACK, "unpack", archive, folder])

    def _slurm(self, argv: Sequence[str], *, stdin: str = "") -> Result:
        result = self._connection.run([*self._login.environment(), *argv], stdin=stdin)
        if result.code == 127:
            raise SlurmRefused(
                f"there is no {argv[0]} on {self.name} in the PATH of its login shell ({self._login.path}); "
                "is this the login machine of a Slurm cluster?"
            )
        if result.code:
            raise parse.refusal(argv, code=result.code, stderr=result.stderr)
        return result

    def _checked(self, argv: Sequence[str]) -> None:
        result = self._connection.run([*self._login.environment(), *argv])
        if result.code:
            raise OtherSide(f"{argv[0]} on {self.name} ended with {result.code}: {result.stderr.strip()[-300:]}")


def queues_of(text: str) -> tuple[QueueLimits, ...]:
    """The answer of sinfo --format=%P|%D|%G, the default queue (marked *) first."""
    nodes: dict[str, int] = {}
    gpus: dict[str, int] = {}
    default = ""
    for line in text.splitlines():
        name, _, rest = line.strip().partition("|")
        count, _, gres = rest.partition("|")
        if not count.isdigit():
            raise UnexpectedAnswer(f"sinfo gave {line!r} instead of a queue, its nodes and its GPUs")
        if name.endswith("*"):
            name = default = name[:-1]
        nodes[name] = nodes.get(name, 0) + int(count)
        gpus[name] = min(gpus.get(name, 1 << 30), parse.gpus(gres))
    order = sorted(nodes, key=lambda name: (name != default, name))
    return tuple(QueueLimits(name=name, nodes=nodes[name], gpus=gpus[name]) for name in order)


def _checked_id(id: str) -> str:
    if not JOB_ID.fullmatch(id):
        raise InvalidArgument(f"{id!r} is no job id; `dure jobs` lists them (a number such as 12)")
    return id
