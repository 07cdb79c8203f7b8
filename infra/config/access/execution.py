"""What CloudFormation needs to make, change and remove the stacks of one cluster, in the place of AdministratorAccess.

Given to the CDK's execution role by `cdk bootstrap --cloudformation-execution-policies`. Two policies, as one would be
longer than IAM's 6,144 characters. What each resource type needs stands in resource_types.py; here it gets its scope:
names of the cluster where AWS lets us choose or foresee them, else the region.

A role that may write roles can give any right away: here to roles whose names begin as the cluster's stacks do, and
those can be passed to EC2 and flow logs only. Whoever wants a harder wall sets a permissions boundary at bootstrap.
"""

from __future__ import annotations

from collections.abc import Iterable

from infra.config.access.cluster import Place
from infra.config.access.resource_types import actions
from infra.config.access.statements import Statement

# CloudFormation cuts a stack's name to 24 characters in the names that it makes up for roles
NAME_STEM = 24
# Of EC2: what ends or stops machines is bound to those of the cluster
_MACHINES = frozenset(
    {"ec2:ModifyInstanceAttribute", "ec2:StartInstances", "ec2:StopInstances", "ec2:TerminateInstances"}
)
_LINKED = frozenset({"iam:AttachRolePolicy", "iam:CreateServiceLinkedRole"})
_KEY_USE = frozenset({"kms:CreateGrant", "kms:Decrypt", "kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext"})
# Actions that know no resources, by service. Source: the Service Authorization Reference
_NO_RESOURCE = frozenset(
    {
        "billing:GetBillingViewData",
        "fsx:DescribeDataRepositoryAssociations",
        "fsx:DescribeFileSystems",
        "kms:CreateKey",
        "kms:ListAliases",
        "logs:DescribeLogGroups",
        "route53:AssociateVPCWithHostedZone",
        "secretsmanager:GetRandomPassword",
        "ssm:DescribeAssociation",
        "ssm:ListAssociations",
    }
)
_FSX_ROLE = "s3.data-source.lustre.fsx.amazonaws.com"


def network_and_machines(place: Place) -> list[Statement]:
    """EC2, the bucket, the use of keys by the services that encrypt, and all that knows no resources."""
    region: dict[str, dict[str, str | list[str]]] = {"StringEquals": {"aws:RequestedRegion": place.region}}
    ours: dict[str, dict[str, str | list[str]]] = {"StringEquals": {"aws:ResourceTag/dure:cluster": place.cluster}}
    services = [f"{service}.{place.region}.amazonaws.com" for service in ("ec2", "fsx", "secretsmanager")]
    return [
        Statement("Network", _of("ec2", without=_MACHINES), ("*",), region),
        Statement("Machines", _sorted(_MACHINES), (place.instances,), ours),
        Statement("UseKeys", _sorted(_KEY_USE), _keys(place), {"StringEquals": {"kms:ViaService": services}}),
        Statement("Bucket", _of("s3"), (f"arn:{place.partition}:s3:::{_stem(place).lower()}*",)),
        Statement("NoResource", _sorted(_NO_RESOURCE), ("*",), region),
    ]


def everything_else(place: Place) -> list[Statement]:
    """Roles, key, file system, secret, documents, logs, alarms."""
    stem = _stem(place)
    roles = place.arn("iam", f"role/{stem}*", region="")
    named = tuple(place.arn("iam", f"{kind}/{stem}*", region="") for kind in ("role", "instance-profile", "policy"))
    given: dict[str, dict[str, str | list[str]]] = {
        "StringEquals": {"iam:PassedToService": ["ec2.amazonaws.com", "vpc-flow-logs.amazonaws.com"]}
    }
    linked = place.arn("iam", "role/aws-service-role/*", region="")
    fsx_role = place.arn("iam", f"role/aws-service-role/{_FSX_ROLE}/*", region="")
    makers: dict[str, dict[str, str | list[str]]] = {
        "StringEquals": {"iam:AWSServiceName": ["fsx.amazonaws.com", _FSX_ROLE, "events.amazonaws.com"]}
    }
    return [
        Statement("Roles", _of("iam", without=_LINKED | {"iam:PassRole"}), named),
        Statement("PassRoles", ("iam:PassRole",), (roles,), given),
        Statement("LinkedRoles", ("iam:CreateServiceLinkedRole",), (linked,), makers),
        Statement("LinkedRolePolicy", ("iam:AttachRolePolicy", "iam:PutRolePolicy"), (fsx_role,)),
        Statement(
            "Key", _of("kms", without=_KEY_USE), (*_keys(place), place.arn("kms", f"alias/dure/{place.cluster}"))
        ),
        Statement("FileSystem", _of("fsx"), (place.arn("fsx", "file-system/*"), place.arn("fsx", "association/*"))),
        # CloudFormation names a secret by its logical id
        Statement("Secret", _of("secretsmanager"), (place.arn("secretsmanager", "secret:MungeKey*"),)),
        Statement(
            "Ssm",
            _of("ssm"),
            (
                place.parameter("*"),
                *(place.arn("ssm", f"document/Dure-{place.cluster}{end}") for end in ("", "-watch")),
            ),
        ),
        Statement("Logs", _of("logs"), (place.arn("logs", f"log-group:/dure/{place.cluster}/*"),)),
        Statement("Alarms", _of("cloudwatch"), _watching(place)),
        Statement("Mail", _of("sns"), (place.arn("sns", f"dure-{place.cluster}-*"),)),
        Statement("Budget", _of("budgets"), (place.arn("budgets", "budget/*", region=""),)),
    ]


def _stem(place: Place) -> str:
    """What the names that CloudFormation makes up begin with."""
    return f"dure-{place.cluster}-"[:NAME_STEM]


def _of(service: str, *, without: Iterable[str] = ()) -> tuple[str, ...]:
    """What the resource types need of a service and can be bound to resources."""
    left_out = {*without, *_NO_RESOURCE}
    return tuple(sorted(each for each in actions() if each.startswith(f"{service}:") and each not in left_out))


def _sorted(chosen: Iterable[str]) -> tuple[str, ...]:
    """Those of a set that the resource types need."""
    return tuple(sorted(set(chosen) & actions()))


def _keys(place: Place) -> tuple[str, ...]:
    return (place.arn("kms", "key/*"),)


def _watching(place: Place) -> tuple[str, ...]:
    name = f"dure-{place.cluster}"
    return (place.arn("cloudwatch", f"alarm:{name}-*"), place.arn("cloudwatch", f"dashboard/{name}", region=""))
