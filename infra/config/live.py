"""What `dure check --live` asks of AWS: an id for each question, the step of the ladder it belongs to, and the
service-linked roles that a cluster needs.

Only the table is here; `cluster_scripts.backends.aws.live` asks. docs/rules.md is made from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from infra.config.schema import ClusterFile

FreeStep = Literal["identity", "quotas", "dry-run"]
FREE_STEPS: tuple[FreeStep, ...] = ("identity", "quotas", "dry-run")


@dataclass(frozen=True)
class LiveRule:
    """One question: its id, its step, why it is asked, the permissions that asking takes, and the source."""

    id: str
    step: FreeStep
    why: str
    asks: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class ServiceRole:
    """A role that an AWS service acts by. `by_itself`: AWS makes it at the first use, if the user of the service
    may call iam:CreateServiceLinkedRole; where it does not, somebody has to make it beforehand.
    """

    name: str
    service: str
    why: str
    by_itself: bool

    @property
    def command(self) -> str:
        """What makes it, once an account."""
        return f"aws iam create-service-linked-role --aws-service-name {self.service}"


LIVE: tuple[LiveRule, ...] = (
    LiveRule(
        "live-identity",
        "identity",
        "Everything else is asked in this name and account.",
        ("sts:GetCallerIdentity",),
        "STS API, GetCallerIdentity",
    ),
    LiveRule(
        "live-zone",
        "identity",
        "A zone may be closed to an account, or not be opted into.",
        ("ec2:DescribeAvailabilityZones",),
        "EC2 API, DescribeAvailabilityZones",
    ),
    LiveRule(
        "live-type",
        "identity",
        "The catalog is a dated table: EC2 itself says where a type is offered today.",
        ("ec2:DescribeInstanceTypeOfferings",),
        "EC2 API, DescribeInstanceTypeOfferings",
    ),
    LiveRule(
        "live-image",
        "identity",
        "Machines boot from it: it must be readable from this account, for x86_64, with the root device of the file.",
        ("ssm:GetParameter", "ec2:DescribeImages"),
        "EC2 API, DescribeImages",
    ),
    LiveRule(
        "live-bootstrap",
        "identity",
        "`cdk deploy` needs what `cdk bootstrap` makes once in each account and region.",
        ("ssm:GetParameter",),
        "CDK Developer Guide, Bootstrapping",
    ),
    LiveRule(
        "live-role",
        "identity",
        "AWS services act by roles of their own; who launches may not be allowed to make them.",
        ("iam:GetRole",),
        "IAM User Guide, Service-linked roles; EC2 User Guide, Service-linked role for Spot Instance requests",
    ),
    LiveRule(
        "live-storage",
        "identity",
        "A deployment makes a file system, and reads it back.",
        ("fsx:DescribeFileSystems",),
        "FSx API, DescribeFileSystems",
    ),
    LiveRule(
        "live-quota",
        "quotas",
        "EC2 counts running vCPUs by class of type; many accounts start at 0 for GPUs.",
        ("servicequotas:GetServiceQuota", "ec2:DescribeInstances"),
        "EC2 User Guide, On-Demand Instance quotas; Service Quotas API, GetServiceQuota",
    ),
    LiveRule(
        "live-vpcs",
        "quotas",
        "A cluster with a network of its own is one VPC more in its region.",
        ("servicequotas:GetServiceQuota", "ec2:DescribeVpcs"),
        "VPC User Guide, Amazon VPC quotas",
    ),
    LiveRule(
        "live-subnet",
        "quotas",
        "A given subnet must be in the given network and zone, with room for every interface.",
        ("ec2:DescribeSubnets",),
        "EC2 API, DescribeSubnets",
    ),
    LiveRule(
        "live-reservation",
        "quotas",
        "A reservation is of one type in one zone, and a Capacity Block begins and ends.",
        ("ec2:DescribeCapacityReservations",),
        "EC2 API, DescribeCapacityReservations",
    ),
    LiveRule(
        "live-dry-run",
        "dry-run",
        "EC2 judges the very launch, without making it: permissions, parameters, image, subnet, market.",
        ("ec2:RunInstances", "iam:PassRole"),
        "EC2 API, RunInstances DryRun",
    ),
)


def service_roles(cluster: ClusterFile) -> tuple[ServiceRole, ...]:
    """The service-linked roles that a cluster needs. Source: the guides of FSx for Lustre, EC2 and
    CloudWatch.

    FSx makes one more for each file system that is linked to a bucket (AWSServiceRoleForFSxS3Access_fs-...), by
    whoever deploys: it can't exist before, so it is not listed.
    """
    roles = [
        ServiceRole("AWSServiceRoleForAmazonFSx", "fsx.amazonaws.com", "FSx makes the file system's interfaces", True),
        ServiceRole(
            "AWSServiceRoleForCloudWatchEvents",
            "events.amazonaws.com",
            "the head's alarms move it or reboot it by it",
            True,
        ),
    ]
    if any(queue.market == "spot" for queue in cluster.queues):
        why = "EC2 launches spot instances by it, and the head may not make it"
        roles.append(ServiceRole("AWSServiceRoleForEC2Spot", "spot.amazonaws.com", why, False))
    return tuple(roles)
