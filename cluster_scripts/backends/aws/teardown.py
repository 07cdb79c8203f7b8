"""Taking a cluster away: what must go before CloudFormation can delete its stacks, and what is left afterwards.

CloudFormation deletes neither a bucket that holds objects nor a subnet in which instances run; the compute nodes were
launched by the head, not by a stack. So `dure down` ends the machines and empties the bucket first, lets the CDK CLI
destroy the stacks, and then looks whether anything of the cluster is left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from botocore.exceptions import ClientError

from cluster_scripts.backends.aws.errors import code_of, translated, translating
from cluster_scripts.backends.aws.machines import EXISTING, instances
from cluster_scripts.backends.aws.session import Aws
from cluster_scripts.jobs.errors import Unreachable

BUCKET, FILE_SYSTEM, VOLUME = "AWS::S3::Bucket", "AWS::FSx::FileSystem", "AWS::EC2::Volume"
HOLD_DATA = (BUCKET, FILE_SYSTEM, VOLUME)
_BATCH = 1000  # DeleteObjects and TerminateInstances take at most that many at once


@dataclass(frozen=True)
class Leftover:
    """One thing of the cluster that still exists: its AWS type and its id or name."""

    kind: str
    name: str


def machines(aws: Aws, cluster: str, *, role: str | None = None) -> list[str]:
    """The ids of the cluster's instances that are not terminated, sorted. Raises an OtherSide."""
    with translating(f"listing the machines of cluster {cluster!r}"):
        return sorted(each["InstanceId"] for each in instances(aws, cluster, role=role, states=EXISTING))


def end_machines(
    aws: Aws,
    cluster: str,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    timeout: float = 600.0,
) -> list[str]:
    """Terminates the head, then every compute node, and waits until each is gone; returns their ids.

    The head first: while its Slurm lives it launches nodes again, for a job that it requeues or a queue's minimum.
    Errors: Unreachable when machines are still there `timeout` seconds after their turn; any OtherSide.
    """
    return [one for role in ("head", "compute") for one in _end(aws, cluster, role, clock, sleep, timeout)]


def _end(
    aws: Aws, cluster: str, role: str, clock: Callable[[], float], sleep: Callable[[float], None], timeout: float
) -> list[str]:
    ids = machines(aws, cluster, role=role)
    with translating(f"terminating the {role} machines of cluster {cluster!r}"):
        for start in range(0, len(ids), _BATCH):
            aws.ec2.terminate_instances(InstanceIds=ids[start : start + _BATCH])
    deadline, left, pause = clock() + timeout, ids, 0.5
    while left and (left := machines(aws, cluster, role=role)):
        if clock() > deadline:
            raise Unreachable(f"after {timeout:.0f} s these machines are still not terminated: {', '.join(left)}")
        sleep(pause)
        pause = min(pause * 2, 10.0)
    return ids


def _versions(aws: Aws, bucket: str) -> Iterator[list[dict[str, str]]]:
    for page in aws.s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        if found:
            yield [{"Key": v["Key"], "VersionId": v["VersionId"]} for v in found]


def holds_objects(aws: Aws, bucket: str) -> bool:
    """Whether any version of any object lies in the bucket; False for one that is gone. Raises an OtherSide."""
    try:
        page = aws.s3.list_object_versions(Bucket=bucket, MaxKeys=1)
    except ClientError as error:
        if code_of(error) == "NoSuchBucket":
            return False
        raise translated(error, f"looking into s3://{bucket}") from error
    return bool(page.get("Versions") or page.get("DeleteMarkers"))


def empty_bucket(aws: Aws, bucket: str, *, progress: Callable[[int], None] = lambda _: None) -> int:
    """Deletes every version of every object; returns how many. A bucket that is gone counts as empty.

    `progress` gets the running total. Errors: any OtherSide, naming what S3 refused to delete.
    """
    total = 0
    try:
        for batch in _versions(aws, bucket):
            answer = aws.s3.delete_objects(Bucket=bucket, Delete={"Objects": batch, "Quiet": True})  # type: ignore[typeddict-item]
            if errors := answer.get("Errors"):
                first = errors[0]
                raise Unreachable(
                    f"emptying s3://{bucket}: {len(errors)} objects were not deleted, "
                    f"first {first.get('Key')}: {first.get('Code')} {first.get('Message')}; run it again"
                )
            total += len(batch)
            progress(total)
    except ClientError as error:
        if code_of(error) != "NoSuchBucket":
            raise translated(error, f"emptying s3://{bucket}") from error
    return total


def stacks(aws: Aws, cluster: str) -> list[str]:
    """The names of the cluster's stacks that exist, sorted. Raises an OtherSide."""
    with translating(f"listing the stacks of cluster {cluster!r}"):
        pages = aws.cloudformation.get_paginator("describe_stacks").paginate()
        return sorted(
            s["StackName"] for page in pages for s in page["Stacks"] if s["StackName"].startswith(f"dure-{cluster}-")
        )


def protected(aws: Aws, cluster: str) -> list[str]:
    """The cluster's stacks that CloudFormation refuses to delete (termination protection). Raises an OtherSide."""
    names = set(stacks(aws, cluster))
    with translating(f"asking which stacks of cluster {cluster!r} are protected"):
        pages = aws.cloudformation.get_paginator("describe_stacks").paginate()
        found = [each for page in pages for each in page["Stacks"] if each["StackName"] in names]
    return sorted(each["StackName"] for each in found if each.get("EnableTerminationProtection"))


def unprotect(aws: Aws, names: Sequence[str]) -> None:
    """Takes the protection of these stacks back. Raises an OtherSide."""
    with translating("taking the termination protection back"):
        for name in names:
            aws.cloudformation.update_termination_protection(StackName=name, EnableTerminationProtection=False)


def holdings(aws: Aws, cluster: str) -> list[Leftover]:
    """The buckets, file systems and volumes of the cluster's stacks: what holds data. Raises an OtherSide."""
    found = []
    with translating(f"listing what the stacks of cluster {cluster!r} hold"):
        for stack in stacks(aws, cluster):
            for page in aws.cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack):
                found += [
                    Leftover(r["ResourceType"], r["PhysicalResourceId"])
                    for r in page["StackResourceSummaries"]
                    if r["ResourceType"] in HOLD_DATA and r.get("PhysicalResourceId")
                ]
    return sorted(found, key=lambda one: (one.kind, one.name))


def audit(aws: Aws, cluster: str, held: list[Leftover]) -> list[Leftover]:
    """What of the cluster still exists: stacks, instances, parameters, and what `holdings` listed before.

    An empty list means that nothing goes on costing money. Raises an OtherSide.
    """
    left = [Leftover("AWS::CloudFormation::Stack", name) for name in stacks(aws, cluster)]
    left += [Leftover("AWS::EC2::Instance", i) for i in machines(aws, cluster)]
    with translating("looking for parameters of the cluster"):
        # a page may be empty and still have one after it
        pages = aws.ssm.get_paginator("get_parameters_by_path").paginate(Path=f"/dure/{cluster}", Recursive=True)
        left += [Leftover("AWS::SSM::Parameter", each["Name"]) for page in pages for each in page["Parameters"]]
    exists = {BUCKET: _bucket_exists, FILE_SYSTEM: _file_system_exists, VOLUME: _volume_exists}
    return left + [one for one in held if exists[one.kind](aws, one.name)]


def _bucket_exists(aws: Aws, bucket: str) -> bool:
    try:
        aws.s3.head_bucket(Bucket=bucket)
    except ClientError as error:
        if code_of(error) in ("404", "NoSuchBucket", "NotFound"):
            return False
        raise translated(error, f"looking for s3://{bucket}") from error
    return True


def _volume_exists(aws: Aws, volume: str) -> bool:
    try:
        aws.ec2.describe_volumes(VolumeIds=[volume])
    except ClientError as error:
        if code_of(error) == "InvalidVolume.NotFound":
            return False
        raise translated(error, f"looking for volume {volume}") from error
    return True


def _file_system_exists(aws: Aws, file_system: str) -> bool:
    try:
        aws.fsx.describe_file_systems(FileSystemIds=[file_system])
    except ClientError as error:
        if code_of(error) == "FileSystemNotFound":
            return False
        raise translated(error, f"looking for file system {file_system}") from error
    return True
