"""Rules of the file system and its associations."""

from __future__ import annotations

from collections.abc import Iterator

from infra.config.problems import shown
from infra.config.rules.base import Found, Rule, rule
from infra.config.schema import ClusterFile

FSX_GUIDE = "FSx for Lustre User Guide"
# MB/s for each TiB of SSD storage. Source: FSx API, CreateFileSystemLustreConfiguration
THROUGHPUT: dict[str, tuple[int, ...]] = {
    "SCRATCH_2": (),
    "PERSISTENT_1": (50, 100, 200),
    "PERSISTENT_2": (125, 250, 500, 1000),
}
# GiB: the smallest two sizes, then steps. Source: FSx API, CreateFileSystem StorageCapacity
SMALLEST = 1200
STEP = 2400
OURS = ".dure"


@rule(
    "lustre-throughput", why="Each deployment type has its own steps of throughput.", source=f"{FSX_GUIDE}, Performance"
)
def lustre_throughput(cluster: ClusterFile) -> Iterator[Found]:
    storage = cluster.storage
    allowed = THROUGHPUT[storage.deployment]
    if not allowed and storage.throughput is not None:
        yield Found(("storage", "throughput"), str(storage.throughput), f"null (nothing) for {storage.deployment}")
    if allowed and storage.throughput not in allowed:
        steps = ", ".join(str(step) for step in allowed)
        yield Found(("storage", "throughput"), shown(storage.throughput), f"{steps} for {storage.deployment}")


@rule("lustre-capacity", why="FSx for Lustre comes in steps.", source=f"{FSX_GUIDE}, CreateFileSystem StorageCapacity")
def lustre_capacity(cluster: ClusterFile) -> Iterator[Found]:
    size = cluster.storage.capacity_gib
    if size != SMALLEST and size % STEP:
        below = size // STEP * STEP or SMALLEST
        fix = f"the next sizes are {below} and {size // STEP * STEP + STEP}"
        yield Found(("storage", "capacity_gib"), str(size), f"{SMALLEST}, {STEP} or a multiple of {STEP}", fix)


@rule(
    "association-path",
    why="FSx takes an absolute path within the file system; jobs' logs and metrics stay under /.dure.",
    source="FSx API, CreateDataRepositoryAssociation FileSystemPath",
)
def association_path(cluster: ClusterFile) -> Iterator[Found]:
    for index, each in enumerate(cluster.storage.associations):
        parts = each.path.split("/")[1:]
        where = ("storage", "associations", index, "path")
        if any(part in ("", ".", "..") for part in parts):
            yield Found(where, shown(each.path), "a folder below / without empty, . or .. parts, such as /data")
        elif parts[0] == OURS:
            yield Found(where, shown(each.path), f"any folder but /{OURS}, which is the toolkit's own")


@rule(
    "association-prefix",
    why="A prefix of the bucket, and not the one under which the toolkit keeps its own notes.",
    source="FSx API, CreateDataRepositoryAssociation DataRepositoryPath",
)
def association_prefix(cluster: ClusterFile) -> Iterator[Found]:
    for index, each in enumerate(cluster.storage.associations):
        parts = each.prefix.split("/")
        where = ("storage", "associations", index, "prefix")
        if any(part in ("", ".", "..") for part in parts):
            yield Found(where, shown(each.prefix), "a prefix without slashes at its ends, empty, . or .. parts")
        elif parts[0] == OURS:
            yield Found(where, shown(each.prefix), f"any prefix but {OURS}, which is the toolkit's own")


@rule(
    "association-overlap",
    why="FSx refuses associations of which one lies in the other; one's export would be the other's import.",
    source=f"{FSX_GUIDE}, Linking your file system to an S3 bucket",
)
def association_overlap(cluster: ClusterFile) -> Iterator[Found]:
    associations = cluster.storage.associations
    for index, each in enumerate(associations):
        for other in associations[:index]:
            for key, mine, theirs in (("path", each.path, other.path), ("prefix", each.prefix, other.prefix)):
                if _overlap(mine, theirs):
                    where = ("storage", "associations", index, key)
                    yield Found(where, f"{shown(mine)} beside {shown(theirs)}", "folders that do not lie in each other")


def _overlap(one: str, other: str) -> bool:
    one, other = one.rstrip("/") + "/", other.rstrip("/") + "/"
    return one.startswith(other) or other.startswith(one)


@rule("association-events", why="FSx refuses an event that is named twice.", source="FSx API, AutoImportPolicy Events")
def association_events(cluster: ClusterFile) -> Iterator[Found]:
    for index, each in enumerate(cluster.storage.associations):
        for key, events in (("import_events", each.import_events), ("export_events", each.export_events)):
            if len(set(events)) < len(events):
                yield Found(("storage", "associations", index, key), ", ".join(events), "each event once")


@rule(
    "scratch-kept",
    severity="advice",
    why="A scratch file system does not survive the failure of one of its servers.",
    source=f"{FSX_GUIDE}, Deployment options",
)
def scratch_kept(cluster: ClusterFile) -> Iterator[Found]:
    storage = cluster.storage
    if storage.deployment == "SCRATCH_2" and storage.on_down == "keep":
        yield Found(("storage", "on_down"), '"keep"', "PERSISTENT_2 for what you want to keep")


@rule(
    "unexported",
    severity="advice",
    why="What jobs write there never reaches the bucket, and goes with the file system.",
    source=f"{FSX_GUIDE}, Automatically export updates to your S3 bucket",
)
def unexported(cluster: ClusterFile) -> Iterator[Found]:
    for index, each in enumerate(cluster.storage.associations):
        if not {"NEW", "CHANGED"} <= set(each.export_events) and cluster.storage.on_down == "delete":
            where = ("storage", "associations", index, "export_events")
            yield Found(where, ", ".join(each.export_events) or "none", "NEW and CHANGED, unless it is read only")


STORAGE: tuple[Rule, ...] = (
    lustre_throughput,
    lustre_capacity,
    association_path,
    association_prefix,
    association_overlap,
    association_events,
    scratch_kept,
    unexported,
)
