"""The questions of what makes and removes things: IAM, FSx, CloudWatch's alarms and dashboards, SNS.

Source: the Service Authorization Reference of each service.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from moto.iam.models import iam_backends

from infra.local_cloud.aws.cloud import ACCOUNT, PARTITION, Cloud
from infra.local_cloud.aws.iam import launching
from infra.local_cloud.aws.iam.policy import Question
from infra.local_cloud.aws.operations import Call

# A parameter, and what it names in IAM
_IAM_KINDS = {"RoleName": "role", "InstanceProfileName": "instance-profile", "UserName": "user", "GroupName": "group"}


def _named(kind: str, name: str) -> str:
    """The ARN of something in IAM by name, with its path if it exists."""
    backend = iam_backends[ACCOUNT][PARTITION]
    known: Mapping[str, Iterable[Any]] = {
        "role": backend.roles.values(),
        "user": backend.users.values(),
        "group": backend.groups.values(),
        "instance-profile": backend.instance_profiles.values(),
    }
    found = next((each for each in known[kind] if each.name == name), None)
    return f"arn:{PARTITION}:iam::{ACCOUNT}:{kind}/{name}" if found is None else str(found.arn)


def iam(cloud: Cloud, call: Call) -> Iterator[Question]:
    """IAM's own operations: on the role, profile, user, group or policy that they name."""
    action, params = f"iam:{call.operation}", call.params
    context = {"iam:policyarn": (params["PolicyArn"],)} if call.operation.startswith(("Attach", "Detach")) else {}
    if call.operation in ("AddRoleToInstanceProfile", "RemoveRoleFromInstanceProfile"):
        yield Question(action, _named("instance-profile", params["InstanceProfileName"]))
        if call.operation.startswith("Add"):
            yield launching.pass_role(_named("role", params["RoleName"]), to="ec2.amazonaws.com")
        return
    if call.operation in ("AddUserToGroup", "RemoveUserFromGroup"):
        yield Question(action, _named("group", params["GroupName"]))
        return
    if call.operation == "CreateServiceLinkedRole":
        service = params["AWSServiceName"]
        role = f"arn:{PARTITION}:iam::{ACCOUNT}:role/aws-service-role/{service}/*"
        yield Question(action, role, {"iam:awsservicename": (service,)})
        return
    for name, kind in _IAM_KINDS.items():
        if name in params:
            yield Question(action, _named(kind, params[name]), context)
            return
    if call.operation == "CreatePolicy":
        path = params.get("Path", "/")
        yield Question(action, f"arn:{PARTITION}:iam::{ACCOUNT}:policy{path}{params['PolicyName']}")
    else:
        yield Question(action, params.get("PolicyArn", "*"))


def fsx(cloud: Cloud, call: Call) -> Iterator[Question]:
    """FSx: a file system to be made is file-system/*; an association is asked for with its file system."""
    action, params = f"fsx:{call.operation}", call.params
    systems = params.get("FileSystemIds") or [params[key] for key in ("FileSystemId",) if key in params] or ["*"]
    if "ResourceARN" in params:
        yield Question(action, params["ResourceARN"])
        return
    if "Describe" in call.operation:  # these know no resources
        yield Question(action)
        return
    if "DataRepositoryAssociation" in call.operation:
        association = params.get("AssociationId", "*")
        yield Question(action, cloud.arn("fsx", call.region, f"association/*/{association}"))
        if "FileSystemId" not in params:
            return
    for system in systems:
        yield Question(action, cloud.arn("fsx", call.region, f"file-system/{system}"))
    if params.get("Tags"):
        yield Question("fsx:TagResource", cloud.arn("fsx", call.region, "file-system/*"))
    if params.get("KmsKeyId") and call.operation == "CreateFileSystem":
        key = launching.key_arn(cloud, call.region, params["KmsKeyId"])
        for use in ("kms:DescribeKey", "kms:CreateGrant"):
            yield Question(use, key, {"kms:viaservice": (f"fsx.{call.region}.amazonaws.com",)})


def cloudwatch(cloud: Cloud, call: Call) -> Iterator[Question]:
    """CloudWatch: alarms and dashboards have names, metrics only a namespace."""
    action, params = f"cloudwatch:{call.operation}", call.params
    alarms = params.get("AlarmNames") or [params[key] for key in ("AlarmName",) if key in params]
    boards = params.get("DashboardNames") or [params[key] for key in ("DashboardName",) if key in params]
    namespace = params.get("Namespace")
    if "Alarm" in call.operation and alarms:
        for name in alarms:
            yield Question(action, cloud.arn("cloudwatch", call.region, f"alarm:{name}"))
    elif "Dashboard" in call.operation and boards:
        for name in boards:
            yield Question(action, f"arn:{PARTITION}:cloudwatch::{ACCOUNT}:dashboard/{name}")
    elif "ResourceARN" in params:
        yield Question(action, params["ResourceARN"])
    else:
        yield Question(action, "*", {"cloudwatch:namespace": (namespace,)} if namespace is not None else {})


def sns(cloud: Cloud, call: Call) -> Iterator[Question]:
    """SNS: on the topic; of a subscription only its own ARN is known, whose topic is asked for."""
    params = call.params
    named = params.get("TopicArn") or params.get("SubscriptionArn", "").rpartition(":")[0]
    if not named and "Name" in params:
        named = cloud.arn("sns", call.region, params["Name"])
    yield Question(f"sns:{call.operation}", named or "*")


QUESTIONS: Mapping[str, Callable[[Cloud, Call], Iterator[Question]]] = {
    "cloudwatch": cloudwatch,
    "fsx": fsx,
    "iam": iam,
    "sns": sns,
}
