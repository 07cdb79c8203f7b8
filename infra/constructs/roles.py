"""What head and nodes may do in AWS: exactly what their programs call, on exactly their cluster's resources.

Nodes can change nothing in EC2. The head can launch from the cluster's own templates and end the cluster's own
nodes, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.config.facts import parameter_name
from infra.constructs.acknowledged import acknowledge
from infra.constructs.naming import jobs_log_group, nodes_log_group


@dataclass(frozen=True)
class Launches:
    """What nodes are launched from and into: ids of the cluster's resources."""

    node_role_arn: str
    template_ids: tuple[str, ...]
    subnet_ids: tuple[str, ...]
    security_group_id: str
    placement_groups: tuple[str, ...]
    reservation_ids: tuple[str, ...]


@dataclass(frozen=True)
class Scope:
    """What a cluster's machines may touch: names and ARNs of its resources."""

    cluster: str
    bucket_arn: str
    key_arn: str
    secret_arn: str
    toolkit_bucket: str
    toolkit_key: str
    metrics_namespace: str
    state_volume_id: str


class MachineRole(Construct):
    """A role for EC2 instances with one policy, and its instance profile."""

    def __init__(
        self, scope: Construct, id: str, *, description: str, statements: Sequence[iam.PolicyStatement]
    ) -> None:
        super().__init__(scope, id)
        self.role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"),
            description=description,
            inline_policies={"Machine": iam.PolicyDocument(statements=list(statements))},
        )
        acknowledge_wildcards(self, statements, reason=_REASON)
        self.profile = iam.CfnInstanceProfile(self, "Profile", roles=[self.role.role_name])


def acknowledge_wildcards(scope: Construct, statements: Sequence[iam.PolicyStatement], *, reason: str) -> None:
    """Acknowledge the resources with a wildcard, written as cdk-nag writes them."""
    stack = cdk.Stack.of(scope)
    written = {_flat(stack.resolve(each)) for statement in statements for each in statement.resources}
    acknowledge(scope, {f"IAM5[Resource::{each}]": reason for each in sorted(written) if "*" in each})


def _flat(value: Any) -> str:
    """A resolved CloudFormation value as one text, with what is not known yet in angle brackets."""
    if isinstance(value, str):
        return value
    ((function, argument),) = value.items()
    if function == "Fn::Join":
        return str(argument[0]).join(_flat(part) for part in argument[1])
    if function == "Fn::ImportValue":
        return _flat(argument)
    return f"<{'.'.join(argument) if isinstance(argument, list) else argument}>"


def node_statements(stack: cdk.Stack, scope: Scope) -> list[iam.PolicyStatement]:
    """What a compute node may do: read its orders, write metrics and logs."""
    return [
        *_common(stack, scope),
        _allow("ReadOrders", ["s3:GetObject"], [f"{scope.bucket_arn}/.dure/launches/*"]),
        _list(scope, "ListOrders", [".dure/launches/*"]),
        _allow("WriteLogs", _WRITE_LOGS, _log_streams(stack, [nodes_log_group(scope.cluster)])),
        _by_service(stack, "DecryptOrders", ["kms:Decrypt"], scope.key_arn, "s3"),
    ]


def head_statements(stack: cdk.Stack, scope: Scope, launches: Launches) -> list[iam.PolicyStatement]:
    """What the head may do: take commands, launch and end nodes, write launches, answers, logs and metrics."""
    groups = [jobs_log_group(scope.cluster), nodes_log_group(scope.cluster)]
    notes = f"{scope.bucket_arn}/.dure"
    return [
        *_common(stack, scope),
        *_take_commands(),
        _allow("ReadNotes", ["s3:GetObject"], [f"{notes}/specs/*", f"{notes}/code/*"]),
        _list(scope, "ListNotes", [".dure/specs/*", ".dure/code/*"]),
        _allow("WriteNotes", ["s3:PutObject"], [f"{notes}/launches/*", f"{notes}/answers/*"]),
        _by_service(stack, "NotesKey", ["kms:Decrypt", "kms:GenerateDataKey"], scope.key_arn, "s3"),
        _allow("WriteLogs", _WRITE_LOGS, _log_streams(stack, groups)),
        *_launch(stack, scope, launches),
        _attach_state(stack, scope),
    ]


_REASON = (
    "Actions that know no resources, prefixes of the cluster's own bucket and logs, and ids that EC2 gives at launch; "
    "the conditions beside them bound each. The unit tests of the stacks hold the full list."
)
# What EC2 does with the key, in the launcher's name, for an encrypted volume
_VOLUME_KEY = [
    "kms:CreateGrant",
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
]
_WRITE_LOGS = ["logs:CreateLogStream", "logs:PutLogEvents"]


def _allow(sid: str, actions: Sequence[str], resources: Sequence[str], **conditions: object) -> iam.PolicyStatement:
    return iam.PolicyStatement(
        sid=sid, actions=list(actions), resources=list(resources), conditions=dict(conditions) or None
    )


def _list(scope: Scope, sid: str, keys: Sequence[str]) -> iam.PolicyStatement:
    """List these keys: S3 does not tell who may not that an object isn't there."""
    return _allow(sid, ["s3:ListBucket"], [scope.bucket_arn], StringLike={"s3:prefix": list(keys)})


def _by_service(stack: cdk.Stack, sid: str, actions: Sequence[str], key_arn: str, service: str) -> iam.PolicyStatement:
    """Use of the cluster's key, through one service only."""
    return _allow(sid, actions, [key_arn], StringEquals={"kms:ViaService": f"{service}.{stack.region}.amazonaws.com"})


def _common(stack: cdk.Stack, scope: Scope) -> list[iam.PolicyStatement]:
    """What every machine of the cluster needs to boot and to be seen."""
    parameter = stack.format_arn(service="ssm", resource="parameter", resource_name=parameter_name(scope.cluster)[1:])
    bundle = f"arn:{stack.partition}:s3:::{scope.toolkit_bucket}/{scope.toolkit_key}"
    return [
        _allow("ReadFacts", ["ssm:GetParameter"], [parameter]),
        _allow("ReadToolkit", ["s3:GetObject"], [bundle]),
        _allow("ReadMungeKey", ["secretsmanager:GetSecretValue"], [scope.secret_arn]),
        _by_service(stack, "DecryptMungeKey", ["kms:Decrypt"], scope.key_arn, "secretsmanager"),
        # CloudWatch has no resources for metrics; the namespace is what can be bounded
        _allow(
            "SendMetrics",
            ["cloudwatch:PutMetricData"],
            ["*"],
            StringEquals={"cloudwatch:namespace": scope.metrics_namespace},
        ),
    ]


def _log_streams(stack: cdk.Stack, groups: Sequence[str]) -> list[str]:
    return [
        stack.format_arn(
            service="logs",
            resource="log-group",
            resource_name=f"{group}:*",
            arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
        )
        for group in groups
    ]


def _take_commands() -> list[iam.PolicyStatement]:
    """What the SSM agent itself calls; these actions know no resources."""
    return [
        _allow("AgentReports", ["ssm:UpdateInstanceInformation"], ["*"]),
        _allow(
            "AgentChannel",
            [
                "ssmmessages:CreateControlChannel",
                "ssmmessages:CreateDataChannel",
                "ssmmessages:OpenControlChannel",
                "ssmmessages:OpenDataChannel",
            ],
            ["*"],
        ),
        _allow(
            "AgentMessages",
            [
                "ec2messages:AcknowledgeMessage",
                "ec2messages:DeleteMessage",
                "ec2messages:FailMessage",
                "ec2messages:GetEndpoint",
                "ec2messages:GetMessages",
                "ec2messages:SendReply",
            ],
            ["*"],
        ),
    ]


def _attach_state(stack: cdk.Stack, scope: Scope) -> iam.PolicyStatement:
    """Attach the one volume that keeps the head's state, to heads of this cluster only."""

    def arn(resource: str, name: str) -> str:
        return stack.format_arn(service="ec2", resource=resource, resource_name=name)

    ours = {"aws:ResourceTag/dure:cluster": scope.cluster, "aws:ResourceTag/dure:role": "head"}
    on = [arn("volume", scope.state_volume_id), arn("instance", "*")]
    return _allow("AttachState", ["ec2:AttachVolume"], on, StringEquals=ours)


def _launch(stack: cdk.Stack, scope: Scope, launches: Launches) -> list[iam.PolicyStatement]:
    """Launch from the cluster's templates, tag what is launched, end the cluster's nodes."""

    def arn(resource: str, name: str = "*", account: str | None = None) -> str:
        return stack.format_arn(service="ec2", resource=resource, resource_name=name, account=account)

    templates = [arn("launch-template", template) for template in launches.template_ids]
    used = [
        *templates,
        *[arn("subnet", subnet) for subnet in launches.subnet_ids],
        arn("security-group", launches.security_group_id),
        *[arn("placement-group", group) for group in launches.placement_groups],
        *[arn("capacity-reservation", reservation) for reservation in launches.reservation_ids],
        arn("image", account=""),
        arn("snapshot", account=""),
        arn("network-interface"),
        arn("volume"),
    ]
    made = {"aws:RequestTag/dure:cluster": scope.cluster, "aws:RequestTag/dure:role": "compute"}
    ours = {"aws:ResourceTag/dure:cluster": scope.cluster, "aws:ResourceTag/dure:role": "compute"}
    from_templates = {"ec2:LaunchTemplate": templates}
    tagged = [arn("instance"), arn("volume"), arn("network-interface")]
    return [
        _allow("LaunchNodes", ["ec2:RunInstances"], [arn("instance")], ArnEquals=from_templates, StringEquals=made),
        _allow("LaunchFromTemplates", ["ec2:RunInstances"], used, ArnEquals=from_templates),
        _allow("TagNodes", ["ec2:CreateTags"], tagged, StringEquals={"ec2:CreateAction": "RunInstances"}),
        _allow("EndNodes", ["ec2:TerminateInstances"], [arn("instance")], StringEquals=ours),
        # EC2's describing actions know no resources
        _allow("SeeNodes", ["ec2:DescribeInstances"], ["*"]),
        _allow(
            "GiveNodesTheirRole",
            ["iam:PassRole"],
            [launches.node_role_arn],
            StringEquals={"iam:PassedToService": "ec2.amazonaws.com"},
        ),
        _by_service(stack, "NodeVolumes", _VOLUME_KEY, scope.key_arn, "ec2"),
    ]
