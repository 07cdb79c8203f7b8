"""What a person needs who deploys a cluster and takes it away.

That is `cdk deploy`, `dure up`, `dure down`, `dure check --live`. The CDK CLI does its work in the roles that
`cdk bootstrap` made: the deployer may take those on. The rest is what `dure` asks and does itself. The bootstrap is an
administrator's, once for an account and region.
"""

from __future__ import annotations

from infra.config.access.cluster import Place
from infra.config.access.people import Used, watcher
from infra.config.access.statements import Statement
from infra.config.facts import WATCH_SUFFIX

QUALIFIER = "hnb659fds"  # the CDK's own, unless the bootstrap was told another
_CDK_ROLES = ("deploy", "file-publishing", "lookup")


def deployer(place: Place, *, qualifier: str = QUALIFIER) -> list[Statement]:
    """All that it takes but the execution role's, which CloudFormation uses."""
    stacks = place.arn("cloudformation", f"stack/dure-{place.cluster}-*")
    cdk = tuple(
        place.arn("iam", f"role/cdk-{qualifier}-{role}-role-{place.account}-{place.region}", region="")
        for role in _CDK_ROLES
    )
    return [
        Statement("UseBootstrap", ("sts:AssumeRole",), cdk),
        Statement("ReadClusterFile", ("ssm:GetParameter",), (place.parameter("cluster-file"),)),
        *_wait_for_head(place),
        # Without a stack's name it knows no resource
        Statement("ListStacks", ("cloudformation:DescribeStacks",), ("*",)),
        Statement("SeeStacks", ("cloudformation:ListStackResources",), (stacks,)),
        Statement("LiftProtection", ("cloudformation:UpdateTerminationProtection",), (stacks,)),
        *_take_away(place),
        *_ask_beforehand(place, qualifier),
    ]


def _wait_for_head(place: Place) -> list[Statement]:
    """Ask the head for nodes and jobs, as who watches does: the bucket has a name of CloudFormation's making."""
    used = Used(
        place=place,
        bucket_arn=_bucket(place),
        key_arn=place.arn("kms", "key/*"),
        jobs_log_group=f"/dure/{place.cluster}/jobs",
        document="",
        watch_document=f"Dure-{place.cluster}{WATCH_SUFFIX}",
        prefixes=(),
    )
    return [each for each in watcher(used) if each.sid not in ("ReadFigures", "ReadOutput")]


def _take_away(place: Place) -> list[Statement]:
    """See that the data is exported, end the machines, empty the bucket, look what is left."""
    ours: dict[str, dict[str, str | list[str]]] = {"StringEquals": {"aws:ResourceTag/dure:cluster": place.cluster}}
    bucket = _bucket(place)
    return [
        Statement("EndMachines", ("ec2:TerminateInstances",), (place.instances,), ours),
        Statement("SeeBucket", ("s3:ListBucket", "s3:ListBucketVersions"), (bucket,)),
        Statement("EmptyBucket", ("s3:DeleteObject", "s3:DeleteObjectVersion"), (f"{bucket}/*",)),
        Statement(
            "SeeWhatIsLeft",
            (
                "ec2:DescribeVolumes",
                "fsx:DescribeDataRepositoryAssociations",
                "fsx:DescribeDataRepositoryTasks",
                "fsx:DescribeFileSystems",
            ),
            ("*",),
        ),
        # Whether FSx's exports have caught up; what does not go by itself, --export sends
        Statement("SeeExports", ("cloudwatch:GetMetricStatistics",), ("*",)),
        Statement(
            "Export",
            ("fsx:CreateDataRepositoryTask",),
            (place.arn("fsx", "file-system/*"), place.arn("fsx", "task/*")),
        ),
        Statement(
            "SeeParameters", ("ssm:GetParametersByPath",), (place.arn("ssm", f"parameter/dure/{place.cluster}"),)
        ),
    ]


def _ask_beforehand(place: Place, qualifier: str) -> list[Statement]:
    """`dure check --live`, but for its dry run of a launch, which takes the very permission to launch."""
    region: dict[str, dict[str, str | list[str]]] = {"StringEquals": {"aws:RequestedRegion": place.region}}
    # IAM knows the path of a role that is there only
    roles = tuple(place.arn("iam", f"role/{each}*", region="") for each in ("aws-service-role/", "AWSServiceRoleFor"))
    parameters = (place.arn("ssm", "parameter/aws/service/*", account=""), _version(place, qualifier))
    return [
        Statement("ReadPublicParameters", ("ssm:GetParameter",), parameters),
        Statement("SeeServiceRoles", ("iam:GetRole",), roles),
        Statement(
            "SeeQuotas",
            ("servicequotas:GetAWSDefaultServiceQuota", "servicequotas:GetServiceQuota"),
            ("*",),
        ),
        Statement(
            "SeeOffers",
            (
                "ec2:DescribeAvailabilityZones",
                "ec2:DescribeCapacityReservations",
                "ec2:DescribeImages",
                "ec2:DescribeInstanceTypeOfferings",
                "ec2:DescribeSubnets",
                "ec2:DescribeVpcs",
            ),
            ("*",),
            region,
        ),
    ]


def _bucket(place: Place) -> str:
    return f"arn:{place.partition}:s3:::dure-{place.cluster}-storage-*"


def _version(place: Place, qualifier: str) -> str:
    return place.arn("ssm", f"parameter/cdk-bootstrap/{qualifier}/version")
