"""The cluster file: every key, its type, its default and what it means.

The descriptions here are the reference: docs/cluster-file.md and the JSON Schema for editors are made from them.
Shapes and single values are checked here; what depends on several keys or on AWS's own limits is in
`infra.config.rules`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

ZONE = r"^[a-z0-9]+(-[a-z0-9]+)*-az[0-9]+$"
EMAIL = r"^[^@\s]+@[^@\s]+\.[^@\s]+$"

ZoneId = Annotated[str, Field(pattern=ZONE, max_length=40)]
TypeName = Annotated[str, Field(pattern=r"^[a-z0-9-]+\.[a-z0-9-]+$", max_length=40)]
SubnetId = Annotated[str, Field(pattern=r"^subnet-[0-9a-f]{8,17}$")]
Event = Literal["NEW", "CHANGED", "DELETED"]
# The metadata service shows tags, and then refuses keys with spaces or slashes
TagKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9+=._:@-]+$", max_length=128)]
TagValue = Annotated[str, Field(pattern=r"^[A-Za-z0-9+=._:/@ -]*$", max_length=256)]
Retention = Literal[1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 3653]


class Section(BaseModel):
    """A part of the file: unknown keys are refused, values are not converted, and nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Network(Section):
    """Where the machines live: a network of the cluster's own, or subnets that you give."""

    cidr: str = Field(
        default="10.42.0.0/16",
        pattern=r"^\d{1,3}(\.\d{1,3}){3}/\d{1,2}$",
        description="Address range of the cluster's own network; each zone gets a private subnet of a /20 in it.",
    )
    nat: bool = Field(
        default=False,
        description=(
            "Give the private subnets a way out to the internet. Off, the endpoints of the AWS services suffice."
        ),
    )
    flow_logs: bool = Field(
        default=True, description="Of an own network: record refused and accepted connections in CloudWatch Logs."
    )
    vpc_id: str | None = Field(
        default=None,
        pattern=r"^vpc-[0-9a-f]{8,17}$",
        description="Use this network instead of an own one; `subnets` must name a private subnet for each zone.",
    )
    subnets: dict[ZoneId, SubnetId] = Field(
        default={}, description="With `vpc_id`: the private subnet of each zone, by zone id."
    )


class Head(Section):
    """The machine that runs Slurm's controller. It takes no jobs."""

    instance_type: TypeName = Field(default="m5.2xlarge", description="EC2 type of the head.")
    zone: ZoneId | None = Field(
        default=None, description="Zone of the head and the file system; the first of `zones` if absent."
    )
    root_volume_gib: int = Field(default=100, ge=20, le=16384, description="Size of its root volume.")
    state_volume_gib: int = Field(
        default=10,
        ge=1,
        le=16384,
        description="Size of the volume that keeps Slurm's queue when the head is replaced; it can only grow.",
    )


class Queue(Section):
    """One Slurm partition: machines of one kind, launched when jobs need them."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9]{0,14}$",
        description="Name of the queue; its nodes are called NAME-1, NAME-2 and so on.",
    )
    instance_type: TypeName = Field(description="EC2 type of its nodes.")
    min: int = Field(default=0, ge=0, le=1000, description="Nodes that are kept running.")
    max: int = Field(ge=1, le=1000, description="Nodes that the queue may have at most.")
    market: Literal["on-demand", "spot", "capacity-block", "reservation"] = Field(
        default="on-demand", description="How the nodes are bought."
    )
    capacity_reservation_id: str | None = Field(
        default=None,
        pattern=r"^cr-[0-9a-f]{8,17}$",
        description="The reservation or Capacity Block; needed for the markets `reservation` and `capacity-block`.",
    )
    zones: tuple[ZoneId, ...] = Field(
        default=(),
        strict=False,
        description="Zones in the order in which they are tried; all of the file's `zones` if absent.",
    )
    fallback_types: tuple[TypeName, ...] = Field(
        default=(),
        strict=False,
        max_length=10,
        description=(
            "Types that are tried next when there is no capacity; without EFA only, and as large as the first."
        ),
    )
    efa: bool = Field(default=False, description="Give the nodes EFA interfaces, as many as the type has.")
    placement_group: bool = Field(
        default=False, description="Put the nodes close together (a cluster placement group)."
    )
    idle_seconds: int = Field(
        default=600, ge=1, le=604800, description="Seconds without a job after which a node is given back."
    )
    root_volume_gib: int = Field(default=200, ge=20, le=16384, description="Size of a node's root volume.")
    nvme_scratch: bool = Field(
        default=False,
        description=(
            "Join the type's NVMe instance store as one file system at /scratch; jobs find it in DURE_SCRATCH, empty."
        ),
    )


class Association(Section):
    """A folder of the file system that follows a prefix of the bucket."""

    path: str = Field(pattern=r"^/[^\x00-\x1f]*$", max_length=4096, description="Folder within the file system.")
    prefix: str = Field(
        pattern=r"^[^/\x00-\x1f][^\x00-\x1f]*$",
        max_length=800,
        description="Prefix in the bucket, without slashes at its ends.",
    )
    import_events: tuple[Event, ...] = Field(
        default=("NEW", "CHANGED", "DELETED"),
        strict=False,
        max_length=3,
        description="Changes in the bucket that reach the folder.",
    )
    export_events: tuple[Event, ...] = Field(
        default=("NEW", "CHANGED", "DELETED"),
        strict=False,
        max_length=3,
        description="Changes in the folder that reach the bucket.",
    )


class Storage(Section):
    """The FSx for Lustre file system, mounted at /fsx, and the bucket."""

    deployment: Literal["SCRATCH_2", "PERSISTENT_1", "PERSISTENT_2"] = Field(
        default="PERSISTENT_2", description="Deployment type of FSx for Lustre."
    )
    capacity_gib: int = Field(
        default=1200, ge=1200, le=1_000_000, description="Size: 1200, 2400 or a multiple of 2400 GiB."
    )
    throughput: int | None = Field(
        default=250,
        ge=50,
        le=1000,
        description=(
            "MB/s for each TiB: 125, 250, 500 or 1000 (PERSISTENT_2), 50, 100 or 200 (PERSISTENT_1); "
            "absent for SCRATCH_2."
        ),
    )
    compression: Literal["LZ4", "NONE"] = Field(default="LZ4", description="Compression of what is written.")
    on_down: Literal["delete", "keep"] = Field(
        default="delete", description="What deleting the cluster does to the file system and the bucket."
    )
    associations: tuple[Association, ...] = Field(
        default=(Association(path="/data", prefix="data"),),
        strict=False,
        max_length=8,
        description="Folders that follow the bucket.",
    )


class Image(Section):
    """The machine image that head and nodes boot; give exactly one of `ami` and `ssm_parameter`."""

    ami: str | None = Field(default=None, pattern=r"^ami-[0-9a-f]{8,17}$", description="Id of an image.")
    ssm_parameter: str | None = Field(
        default=None,
        pattern=r"^/[A-Za-z0-9_.\-/]+$",
        max_length=1000,
        description="SSM parameter that holds the id; it is read at each deployment.",
    )
    root_device: Literal["/dev/xvda", "/dev/sda1"] = Field(
        default="/dev/xvda",
        description="Name of the image's root device (Amazon Linux and Debian: /dev/xvda, Ubuntu: /dev/sda1).",
    )
    nvidia_driver: str | None = Field(
        default=None,
        pattern=r"^[0-9]{3}(-open)?$",
        description=(
            "Branch of the NVIDIA driver in the image, such as 580 or 580-open; lets the rules see a "
            "GPU that it no longer knows."
        ),
    )


class Budget(Section):
    """A monthly limit with a warning by mail."""

    usd_per_month: float = Field(gt=0, le=10_000_000, allow_inf_nan=False, description="The limit in USD.")
    email: str = Field(
        pattern=EMAIL, max_length=254, description=("Who is warned at 80 % and at the forecast of 100 %.")
    )


class Monitoring(Section):
    """Logs, dashboard and alarms."""

    interval_seconds: int = Field(
        default=60, ge=1, le=60, description="How often each machine sends its metrics; below 60 they cost more."
    )
    log_retention_days: Retention = Field(default=30, description="How long logs are kept.")
    alarm_email: str | None = Field(
        default=None,
        pattern=EMAIL,
        max_length=254,
        description="Who gets the alarms; without it they only show on the dashboard.",
    )


class Slurm(Section):
    """Slurm's patience."""

    resume_timeout_seconds: int = Field(
        default=1800, ge=60, le=7200, description="How long a launched node may take until it has registered."
    )
    suspend_timeout_seconds: int = Field(
        default=120, ge=5, le=3600, description="How long a node that is given back may take until it is gone."
    )


class ClusterFile(Section):
    """One training cluster on AWS."""

    name: str = Field(
        pattern=r"^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$",
        description="Name of the cluster: stacks, parameters, log groups and tags carry it.",
    )
    region: str = Field(pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]$", max_length=30, description="AWS region.")
    zones: tuple[ZoneId, ...] = Field(
        min_length=1,
        max_length=6,
        strict=False,
        description=(
            "Availability zones by id (use1-az6, not us-east-1a: letters differ between accounts). The "
            "first holds head and file system."
        ),
    )
    network: Network = Field(default=Network(), description="The network.")
    head: Head = Field(default=Head(), description="The head.")
    queues: tuple[Queue, ...] = Field(min_length=1, max_length=20, strict=False, description="The queues.")
    storage: Storage = Field(default=Storage(), description="File system and bucket.")
    image: Image = Field(description="The machine image.")
    budget: Budget | None = Field(default=None, description="A monthly budget.")
    monitoring: Monitoring = Field(default=Monitoring(), description="Logs, dashboard, alarms.")
    slurm: Slurm = Field(default=Slurm(), description="Slurm's time limits.")
    access: Literal["ssm"] = Field(
        default="ssm", description="How people reach the machines: through SSM. There is no ssh to a cluster of ours."
    )
    protect: bool = Field(
        default=False, description="Refuse to delete the stacks until this is taken back (termination protection)."
    )
    tags: dict[TagKey, TagValue] = Field(default={}, max_length=40, description="Tags that every resource carries.")

    @property
    def home_zone(self) -> str:
        """The zone of the head and the file system."""
        return self.head.zone or self.zones[0]

    def queue_zones(self, queue: Queue) -> tuple[str, ...]:
        """The zones in which a queue launches, in the order in which they are tried."""
        return queue.zones or self.zones
