"""What the programs on a cluster machine ask of AWS, in plain values: facts, the munge key, objects, launches.

    services = NodeServices.open(region="us-east-1")
    services.parameter("/dure/kogpt2/facts")

Credentials are those of the machine's role. Every method may raise an OtherSide; no botocore type leaves this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from botocore.config import Config
from botocore.exceptions import ClientError

from cluster_scripts.backends.aws.errors import code_of, translated, translating
from cluster_scripts.backends.aws.machines import instances
from cluster_scripts.backends.aws.objects import is_absent
from cluster_scripts.backends.aws.session import CONFIG, Aws, open_session
from cluster_scripts.jobs.errors import InvalidCode, NoCapacity, NoSuchCluster

if TYPE_CHECKING:
    from botocore.config import _RetryDict
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.literals import InstanceTypeType
    from mypy_boto3_ec2.type_defs import InstanceTypeDef, TagTypeDef

# Not in that zone, not with that market, or its subnet is full: another zone may have it. Source: EC2's error codes.
_NOT_HERE = frozenset({"Unsupported", "UnsupportedOperation", "InsufficientFreeAddressesInSubnet"})
# The volume is (still) attached, or the instance is not known as running yet. Source: EC2's error codes.
_NOT_NOW = frozenset({"VolumeInUse", "IncorrectState", "IncorrectInstanceState", "InvalidInstanceID.NotFound"})
_LIVE = ["pending", "running"]
# EC2's own limits for one call
DESCRIBE_BATCH = 500
TERMINATE_BATCH = 500
_CHUNK = 1 << 20
_ONCE: _RetryDict = {"mode": "standard", "total_max_attempts": 1}


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One EC2 instance. `zone`: its zone's name (us-east-1a); `launch`: its tag dure:launch, "" without one."""

    id: str
    private_ip: str
    host_name: str
    instance_type: str
    zone: str
    state: str
    efa_interfaces: int
    launch: str
    launched_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Launch:
    """A wish for `count` machines, all or none. `token` makes a repeated call the same launch.

    `instance_type`: instead of the template's.
    """

    template_id: str
    template_version: str
    instance_type: str
    count: int
    token: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class NodeServices:
    """The AWS side of a cluster machine. Not for several threads at once."""

    aws: Aws

    @classmethod
    def open(cls, *, region: str) -> NodeServices:
        """Makes no call. The machine's own role and boto3's own configuration say how to reach AWS."""
        return cls(open_session(region))

    @cached_property
    def _launching(self) -> EC2Client:
        """EC2 says "no capacity" with status 500, which botocore would try again for half a minute: the caller tries
        again."""
        return self.aws.session.client("ec2", region_name=self.aws.region, config=CONFIG.merge(Config(retries=_ONCE)))

    def parameter(self, name: str) -> str:
        """The value of an SSM parameter. NoSuchCluster when there is none."""
        try:
            return str(self.aws.ssm.get_parameter(Name=name)["Parameter"].get("Value", ""))
        except ClientError as error:
            if code_of(error) == "ParameterNotFound":
                raise NoSuchCluster(f"there is no SSM parameter {name} in {self.aws.region}") from error
            raise translated(error, f"reading the SSM parameter {name}") from error

    def secret(self, arn: str) -> str:
        """The text of a secret. The caller never logs it."""
        with translating(f"reading the secret {arn}"):
            return self.aws.secrets.get_secret_value(SecretId=arn)["SecretString"]

    def object(self, bucket: str, key: str) -> bytes | None:
        """A small object; None when it isn't there. Refused, with the action, when it is not for us."""
        doing = f"reading s3://{bucket}/{key}"
        try:
            return self.aws.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        except ClientError as error:
            if is_absent(self.aws.s3, bucket, key, error):
                return None
            raise translated(error, doing) from error

    def download(self, bucket: str, key: str, *, to: Path, limit: int) -> bool:
        """Write an object to a file; False when it isn't there. InvalidCode when it is longer than `limit` bytes."""
        doing = f"reading s3://{bucket}/{key}"
        try:
            answer = self.aws.s3.get_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if is_absent(self.aws.s3, bucket, key, error):
                return False
            raise translated(error, doing) from error
        if answer["ContentLength"] > limit:
            raise InvalidCode(f"s3://{bucket}/{key} is {answer['ContentLength']} bytes long, at most {limit} are taken")
        with translating(doing), to.open("wb") as file:
            for chunk in answer["Body"].iter_chunks(_CHUNK):
                file.write(chunk)
        return True

    def put_object(self, bucket: str, key: str, content: bytes) -> None:
        """Write a small object; it appears whole or not at all."""
        with translating(f"writing s3://{bucket}/{key}"):
            self.aws.s3.put_object(Bucket=bucket, Key=key, Body=content, ContentType="application/json")

    def launch(self, wish: Launch) -> list[str]:
        """Launch exactly `count` instances, or none: their ids. NoCapacity when the zone has not so many."""
        doing = f"launching {wish.count} x {wish.instance_type} from {wish.template_id} version {wish.template_version}"
        try:
            answer = self._launching.run_instances(
                LaunchTemplate={"LaunchTemplateId": wish.template_id, "Version": wish.template_version},
                InstanceType=cast("InstanceTypeType", wish.instance_type),
                MinCount=wish.count,
                MaxCount=wish.count,
                ClientToken=wish.token,
                TagSpecifications=[{"ResourceType": "instance", "Tags": _tags(wish.tags)}],
            )
        except ClientError as error:
            ours = translated(error, doing)
            raise (NoCapacity(str(ours)) if code_of(error) in _NOT_HERE else ours) from error
        return [instance["InstanceId"] for instance in answer["Instances"]]

    def instances(self, ids: Sequence[str]) -> list[Instance]:
        """These instances in this order; what EC2 does not know (yet) is left out."""
        found: dict[str, Instance] = {}
        for start in range(0, len(ids), DESCRIBE_BATCH):
            # a filter, not InstanceIds: one unknown id would make the whole call fail
            batch = list(ids[start : start + DESCRIBE_BATCH])
            found.update((each.id, each) for each in self._described([{"Name": "instance-id", "Values": batch}]))
        return [found[id] for id in ids if id in found]

    def cluster_nodes(self, cluster: str) -> list[Instance]:
        """The cluster's compute instances that are pending or running."""
        with translating("listing the cluster's machines"):
            return [_instance(each) for each in instances(self.aws, cluster, role="compute", states=_LIVE)]

    def terminate(self, ids: Iterable[str]) -> list[str]:
        """End these instances: the ids that EC2 ended. One that is gone already is no error."""
        left, ended = sorted(set(ids)), list[str]()
        for start in range(0, len(left), TERMINATE_BATCH):
            ended += self._terminate(left[start : start + TERMINATE_BATCH])
        return ended

    def _terminate(self, batch: list[str]) -> list[str]:
        try:
            answer = self.aws.ec2.terminate_instances(InstanceIds=batch)
            return [each["InstanceId"] for each in answer["TerminatingInstances"]]
        except ClientError as error:
            if code_of(error) not in ("InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"):
                raise translated(error, f"ending {', '.join(batch)}") from error
            # EC2 ends none of them when it does not know one
            return [] if len(batch) == 1 else [id for each in batch for id in self._terminate([each])]

    def attach_volume(self, volume_id: str, *, instance_id: str, device: str) -> bool:
        """Attach a volume to an instance; False when EC2 can't do it now: it is attached, here or elsewhere."""
        try:
            self.aws.ec2.attach_volume(VolumeId=volume_id, InstanceId=instance_id, Device=device)
        except ClientError as error:
            if code_of(error) in _NOT_NOW:
                return False
            raise translated(error, f"attaching {volume_id} to {instance_id}") from error
        return True

    def _described(self, filters: list[Any]) -> list[Instance]:
        with translating("listing the cluster's machines"):
            pages = self.aws.ec2.get_paginator("describe_instances").paginate(Filters=filters)
            return [
                _instance(instance)
                for page in pages
                for reservation in page["Reservations"]
                for instance in reservation.get("Instances", ())
            ]


def _tags(tags: Mapping[str, str]) -> list[TagTypeDef]:
    return [{"Key": key, "Value": tags[key]} for key in sorted(tags)]


def _instance(entry: InstanceTypeDef) -> Instance:
    tags = {tag.get("Key"): tag.get("Value", "") for tag in entry.get("Tags", ())}
    kinds = [interface.get("InterfaceType", "interface") for interface in entry.get("NetworkInterfaces", ())]
    return Instance(
        id=entry["InstanceId"],
        private_ip=entry.get("PrivateIpAddress", ""),
        host_name=entry.get("PrivateDnsName", "").partition(".")[0],
        instance_type=str(entry.get("InstanceType", "")),
        zone=entry.get("Placement", {}).get("AvailabilityZone", ""),
        state=str(entry.get("State", {}).get("Name", "")),
        efa_interfaces=sum(kind in ("efa", "efa-only") for kind in kinds),
        launch=tags.get("dure:launch", ""),
        launched_at=entry.get("LaunchTime"),
    )
