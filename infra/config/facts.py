"""The facts: what a deployed cluster says of itself, as one JSON object.

CloudFormation writes the object to the SSM parameter `/dure/NAME/facts`; the command line, the machines and
the agent read it. With a name and a region every other program finds the rest here.

CloudFormation builds the text by pasting resolved values into it, so a number may arrive as a string. The
loader converts those, and is strict about everything else: an unknown key, a missing key or a wrong type is
a problem, and all problems are reported at once.

Only the standard library is imported: the node programs read this module without the toolkit's packages.

Errors: `FactsError` (a ValueError), whose `problems` lists every finding with its path.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

VERSION = 1
# What the head can be asked for: by everybody who watches, and what changes something besides
WATCH_VERBS = ("jobs", "show", "nodes")
VERBS = ("submit", "cancel", *WATCH_VERBS)
WATCH_SUFFIX = "-watch"
MARKETS = ("on-demand", "spot", "capacity-block", "reservation")

_T = TypeVar("_T")


class FactsError(ValueError):
    """The facts cannot be used; `problems` says why, one line a finding, each with its path."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("the cluster's facts cannot be used:\n" + "\n".join(f"  {p}" for p in problems))


def parameter_name(cluster: str) -> str:
    """The SSM parameter that holds the facts of a cluster."""
    return f"/dure/{cluster}/facts"


@dataclass(frozen=True)
class Association:
    """A folder of the file system (`path`, absolute within it) tied to a prefix of the bucket."""

    path: str
    prefix: str


@dataclass(frozen=True)
class FileSystem:
    """The FSx for Lustre file system; it is mounted as `DNS_NAME@tcp:/MOUNT_NAME` at `mount_point`."""

    id: str
    dns_name: str
    mount_name: str
    mount_point: str
    associations: tuple[Association, ...]


@dataclass(frozen=True)
class Head:
    """The head's address and host name, known before it boots (it sits on its own network interface), and the EBS
    volume that keeps its state (None where that is on its root volume)."""

    private_ip: str
    host_name: str
    state_volume: str | None = None


@dataclass(frozen=True)
class LaunchTemplate:
    """Where and from what the nodes of a queue are launched in one zone."""

    zone_id: str
    subnet_id: str
    launch_template_id: str
    version: str


@dataclass(frozen=True)
class Queue:
    """One Slurm partition. `memory_mib`, `cpus` and `gpus` are of one node; `idle_seconds` is the time until an
    idle node is given back; `placement_group` is None where the nodes are spread.
    `fallback_types` are tried in turn, from the same templates, when there is no capacity of `instance_type`;
    `nvme_scratch`: its nodes have their NVMe instance store at /scratch."""

    name: str
    instance_type: str
    min: int
    max: int
    market: str
    efa: bool
    idle_seconds: int
    cpus: int
    memory_mib: int
    gpus: int
    placement_group: str | None
    launch_templates: tuple[LaunchTemplate, ...]
    fallback_types: tuple[str, ...] = ()
    nvme_scratch: bool = False

    def node_names(self) -> tuple[str, ...]:
        """The names of all nodes that this queue may have: QUEUE-1 to QUEUE-MAX."""
        return tuple(f"{self.name}-{number}" for number in range(1, self.max + 1))


@dataclass(frozen=True)
class LogGroups:
    """CloudWatch Logs groups: job output, and what the machines say of themselves."""

    jobs: str
    nodes: str


@dataclass(frozen=True)
class Toolkit:
    """The bundle of our own code that the machines run: an object in S3 and its content's SHA-256."""

    bucket: str
    key: str
    sha256: str


@dataclass(frozen=True)
class SlurmTimes:
    """How long Slurm waits for a node to come up, and to go away."""

    resume_timeout_seconds: int
    suspend_timeout_seconds: int


@dataclass(frozen=True)
class Monitoring:
    """How often the agents send metrics."""

    interval_seconds: int = 60


@dataclass(frozen=True)
class Facts:
    """Everything that a deployed cluster says of itself."""

    name: str
    region: str
    account: str
    bucket: str
    file_system: FileSystem
    head: Head
    queues: tuple[Queue, ...]
    munge_secret: str
    log_groups: LogGroups
    document: str
    metrics_namespace: str
    toolkit: Toolkit
    slurm: SlurmTimes
    monitoring: Monitoring = Monitoring()
    version: int = VERSION

    @classmethod
    def from_json(cls, text: str) -> Facts:
        """Read facts from their JSON text.

        Errors: FactsError with every problem found.
        """
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise FactsError([f"not JSON: {error}"]) from error
        problems: list[str] = []
        facts = _facts(_Reader(value, "facts", problems))
        if problems:
            raise FactsError(problems)
        return facts

    def to_json(self) -> str:
        """The facts as one line of JSON, keys sorted; `from_json` gives the same facts back."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    def document_for(self, verb: str) -> str:
        """The SSM document that asks the head for a verb: what changes nothing goes through one of its own."""
        return f"{self.document}{WATCH_SUFFIX}" if verb in WATCH_VERBS else self.document

    def queue(self, name: str) -> Queue:
        """The queue of that name. Errors: KeyError, naming the queues that there are."""
        for queue in self.queues:
            if queue.name == name:
                return queue
        known = ", ".join(queue.name for queue in self.queues)
        raise KeyError(f"cluster {self.name} has no queue {name!r}; it has: {known}")


class _Reader:
    """Reads one JSON object key by key, noting what is wrong instead of stopping.

    After a problem a reader returns a stand-in value; the caller throws the whole result away then.
    """

    def __init__(self, value: object, path: str, problems: list[str]) -> None:
        self._path = path
        self._problems = problems
        self._fields: dict[str, Any] = {}
        self._read: set[str] = set()
        self._is_object = isinstance(value, dict)
        if isinstance(value, dict):
            self._fields = value
        else:
            problems.append(f"{path}: found {_kind(value)}, needs an object")

    def done(self) -> None:
        """Note every key that nobody asked for."""
        for key in sorted(set(self._fields) - self._read):
            self._problems.append(f"{self._path}.{key}: unknown key; known: {', '.join(sorted(self._read))}")

    def has(self, key: str) -> bool:
        """Whether an optional key is there (it counts as known from then on)."""
        self._read.add(key)
        return key in self._fields

    def text(self, key: str) -> str:
        value = self._value(key)
        if isinstance(value, str) and value:
            return value
        return self.refuse(key, value, "a text that is not empty", "")

    def text_or_null(self, key: str) -> str | None:
        if self._fields.get(key, "") is None:
            self._read.add(key)
            return None
        return self.text(key)

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        value = self._value(key)
        if isinstance(value, str) and value in allowed:
            return value
        return self.refuse(key, value, "one of " + ", ".join(allowed), allowed[0])

    def number(self, key: str, *, least: int = 0) -> int:
        value = self._value(key)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and value >= least:
            return value
        return self.refuse(key, value, f"a whole number of at least {least}", least)

    def truth(self, key: str) -> bool:
        value = self._value(key)
        if value in ("true", "false"):
            return bool(value == "true")
        if isinstance(value, bool):
            return value
        return self.refuse(key, value, "true or false", False)

    def section(self, key: str, read: Callable[[_Reader], _T]) -> _T:
        return read(_Reader(self._value(key), f"{self._path}.{key}", self._problems))

    def sections(self, key: str, read: Callable[[_Reader], _T]) -> tuple[_T, ...]:
        value = self._value(key)
        if not isinstance(value, list):
            return self.refuse(key, value, "a list", ())
        return tuple(
            read(_Reader(item, f"{self._path}.{key}[{index}]", self._problems)) for index, item in enumerate(value)
        )

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._value(key)
        if isinstance(value, list) and all(isinstance(item, str) and item for item in value):
            return tuple(value)
        return self.refuse(key, value, "a list of texts", ())

    def _value(self, key: str) -> Any:
        self._read.add(key)
        return self._fields.get(key, _MISSING)

    def refuse(self, key: str, value: object, needs: str, stand_in: _T) -> _T:
        if value is _MISSING:
            if self._is_object:
                self._problems.append(f"{self._path}.{key}: missing, needs {needs}")
        else:
            self._problems.append(f"{self._path}.{key}: found {_kind(value)}, needs {needs}")
        return stand_in


_MISSING = object()


def _kind(value: object) -> str:
    """A value as an error message shows it: short, on one line."""
    if value is _MISSING:
        return "nothing"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _facts(reader: _Reader) -> Facts:
    version = reader.number("version")
    if version != VERSION:
        reader.refuse("version", version, f"{VERSION}; use the toolkit that deployed this cluster", VERSION)
    facts = Facts(
        version=VERSION,
        name=reader.text("name"),
        region=reader.text("region"),
        account=reader.text("account"),
        bucket=reader.text("bucket"),
        file_system=reader.section("file_system", _file_system),
        head=reader.section("head", _head),
        queues=reader.sections("queues", _queue),
        munge_secret=reader.text("munge_secret"),
        log_groups=reader.section("log_groups", _log_groups),
        document=reader.text("document"),
        metrics_namespace=reader.text("metrics_namespace"),
        toolkit=reader.section("toolkit", _toolkit),
        slurm=reader.section("slurm", _slurm),
        monitoring=reader.section("monitoring", _monitoring) if reader.has("monitoring") else Monitoring(),
    )
    reader.done()
    return facts


def _file_system(reader: _Reader) -> FileSystem:
    value = FileSystem(
        id=reader.text("id"),
        dns_name=reader.text("dns_name"),
        mount_name=reader.text("mount_name"),
        mount_point=reader.text("mount_point"),
        associations=reader.sections("associations", _association),
    )
    reader.done()
    return value


def _association(reader: _Reader) -> Association:
    value = Association(path=reader.text("path"), prefix=reader.text("prefix"))
    reader.done()
    return value


def _head(reader: _Reader) -> Head:
    value = Head(
        private_ip=reader.text("private_ip"),
        host_name=reader.text("host_name"),
        state_volume=reader.text_or_null("state_volume") if reader.has("state_volume") else None,
    )
    reader.done()
    return value


def _queue(reader: _Reader) -> Queue:
    value = Queue(
        name=reader.text("name"),
        instance_type=reader.text("instance_type"),
        min=reader.number("min"),
        max=reader.number("max", least=1),
        market=reader.choice("market", MARKETS),
        efa=reader.truth("efa"),
        idle_seconds=reader.number("idle_seconds", least=1),
        cpus=reader.number("cpus", least=1),
        memory_mib=reader.number("memory_mib", least=1),
        gpus=reader.number("gpus"),
        placement_group=reader.text_or_null("placement_group"),
        launch_templates=reader.sections("launch_templates", _launch_template),
        fallback_types=reader.texts("fallback_types") if reader.has("fallback_types") else (),
        nvme_scratch=reader.truth("nvme_scratch") if reader.has("nvme_scratch") else False,
    )
    reader.done()
    return value


def _launch_template(reader: _Reader) -> LaunchTemplate:
    value = LaunchTemplate(
        zone_id=reader.text("zone_id"),
        subnet_id=reader.text("subnet_id"),
        launch_template_id=reader.text("launch_template_id"),
        version=reader.text("version"),
    )
    reader.done()
    return value


def _log_groups(reader: _Reader) -> LogGroups:
    value = LogGroups(jobs=reader.text("jobs"), nodes=reader.text("nodes"))
    reader.done()
    return value


def _toolkit(reader: _Reader) -> Toolkit:
    value = Toolkit(bucket=reader.text("bucket"), key=reader.text("key"), sha256=reader.text("sha256"))
    reader.done()
    return value


def _monitoring(reader: _Reader) -> Monitoring:
    value = Monitoring(interval_seconds=reader.number("interval_seconds", least=1))
    reader.done()
    return value


def _slurm(reader: _Reader) -> SlurmTimes:
    value = SlurmTimes(
        resume_timeout_seconds=reader.number("resume_timeout_seconds", least=1),
        suspend_timeout_seconds=reader.number("suspend_timeout_seconds", least=1),
    )
    reader.done()
    return value
