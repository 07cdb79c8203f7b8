"""CloudFormation's policies: stacks are made, changed and removed by a role with exactly these.

Each action that the local cloud's handlers ask for is then taken away in turn: the stack fails and names it. What only
AWS's own handlers call can't be shown here; tests/unit/infra/config/test_access.py compares that with their schemas.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from infra.config.access.cluster import Place
from infra.config.access.execution import everything_else, network_and_machines
from infra.config.access.statements import document
from infra.local_cloud.aws.iam import enforcement
from tests.unit.infra.local_cloud_aws.conftest import IMAGE, REGION, Api, until

ACCOUNT = "123456789012"
PLACE = Place(cluster="local", region=REGION, account=ACCOUNT)
ROLE = f"arn:aws:iam::{ACCOUNT}:role/exec"
TAGS = [{"Key": "dure:cluster", "Value": "local"}]
Resources = dict[str, dict[str, Any]]


def made(kind: str, **properties: Any) -> dict[str, Any]:
    return {"Type": f"AWS::{kind}", "Properties": properties}


def att(name: str, attribute: str) -> dict[str, Any]:
    return {"Fn::GetAtt": [name, attribute]}


def ref(name: str) -> dict[str, str]:
    return {"Ref": name}


@dataclass(frozen=True)
class Scene:
    """Resources that are made, perhaps changed into others, and removed."""

    before: Resources
    after: Resources = field(default_factory=dict)


def trusting(service: str) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return {"Version": "2012-10-17", "Statement": [statement]}


def policy_document(action: str) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": "*"}]}


def role(service: str, action: str = "s3:ListAllMyBuckets") -> dict[str, Any]:
    inline = [{"PolicyName": "p", "PolicyDocument": policy_document(action)}]
    return made("IAM::Role", AssumeRolePolicyDocument=trusting(service), Policies=inline, Tags=TAGS)


KEY = made(
    "KMS::Key",
    EnableKeyRotation=True,
    Description="a key",
    KeyPolicy={
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root", "Service": f"logs.{REGION}.amazonaws.com"},
                "Action": "kms:*",
                "Resource": "*",
            }
        ],
    },
)
VPC = {
    "Vpc": made("EC2::VPC", CidrBlock="10.0.0.0/16", EnableDnsSupport=True, EnableDnsHostnames=True, Tags=TAGS),
    "Subnet": made("EC2::Subnet", VpcId=ref("Vpc"), CidrBlock="10.0.0.0/24", AvailabilityZoneId="use1-az6", Tags=TAGS),
}
GROUP = {
    "Group": made("EC2::SecurityGroup", GroupDescription="g", VpcId=ref("Vpc"), Tags=TAGS),
    "In": made(
        "EC2::SecurityGroupIngress", GroupId=att("Group", "GroupId"), IpProtocol="-1",
        SourceSecurityGroupId=att("Group", "GroupId"),
    ),
    "Out": made(
        "EC2::SecurityGroupEgress", GroupId=att("Group", "GroupId"), IpProtocol="-1",
        DestinationSecurityGroupId=att("Group", "GroupId"),
    ),
}  # fmt: skip
# Each action of a scene is taken away in turn, which takes up to half a minute; the others with `make test LONG=1`
IN_EVERY_RUN = ("alarms", "ssm")
SCENES: dict[str, Scene] = {
    "network": Scene(
        {
            **VPC,
            "Table": made("EC2::RouteTable", VpcId=ref("Vpc"), Tags=TAGS),
            "Tie": made("EC2::SubnetRouteTableAssociation", SubnetId=ref("Subnet"), RouteTableId=ref("Table")),
            "Gateway": made("EC2::InternetGateway", Tags=TAGS),
            "Attached": made("EC2::VPCGatewayAttachment", VpcId=ref("Vpc"), InternetGatewayId=ref("Gateway")),
            "Out": {
                **made(
                    "EC2::Route", RouteTableId=ref("Table"), DestinationCidrBlock="0.0.0.0/0", GatewayId=ref("Gateway")
                ),
                "DependsOn": "Attached",
            },
        }
    ),
    "groups": Scene({**VPC, **GROUP}),
    "endpoint": Scene(
        {
            "Vpc": VPC["Vpc"],
            "End": made(
                "EC2::VPCEndpoint", VpcId=ref("Vpc"), ServiceName=f"com.amazonaws.{REGION}.s3",
                VpcEndpointType="Gateway",
            ),
        }
    ),
    "flow log": Scene(
        {
            "Vpc": VPC["Vpc"],
            "Key": KEY,
            "Log": made(
                "Logs::LogGroup", LogGroupName="/dure/local/flow", RetentionInDays=7, KmsKeyId=att("Key", "Arn"),
                Tags=TAGS,
            ),
            "Role": role("vpc-flow-logs.amazonaws.com", "logs:PutLogEvents"),
            "Flow": made(
                "EC2::FlowLog", ResourceId=ref("Vpc"), ResourceType="VPC", TrafficType="ALL",
                LogDestinationType="cloud-watch-logs", LogGroupName=ref("Log"),
                DeliverLogsPermissionArn=att("Role", "Arn"), Tags=TAGS,
            ),
        }
    ),
    "head": Scene(
        {
            **VPC,
            "Key": KEY,
            "Role": role("ec2.amazonaws.com"),
            "Profile": made("IAM::InstanceProfile", Roles=[ref("Role")]),
            "Card": made("EC2::NetworkInterface", SubnetId=ref("Subnet"), Tags=TAGS),
            "Template": made(
                "EC2::LaunchTemplate",
                LaunchTemplateData={
                    "ImageId": IMAGE,
                    "IamInstanceProfile": {"Arn": att("Profile", "Arn")},
                    "BlockDeviceMappings": [
                        {"DeviceName": "/dev/sda1", "Ebs": {"Encrypted": True, "KmsKeyId": att("Key", "Arn")}}
                    ],
                },
            ),
            "Head": made(
                "EC2::Instance", InstanceType="m5.large",
                LaunchTemplate={"LaunchTemplateId": ref("Template"), "Version": att("Template", "LatestVersionNumber")},
                NetworkInterfaces=[{"DeviceIndex": "0", "NetworkInterfaceId": ref("Card")}], Tags=TAGS,
            ),
        }
    ),
    "volume": Scene(
        {
            "Key": KEY,
            "State": made(
                "EC2::Volume", AvailabilityZone="us-east-1a", Size=10, VolumeType="gp3", Encrypted=True,
                KmsKeyId=att("Key", "Arn"), Tags=TAGS,
            ),
            "Near": made("EC2::PlacementGroup", Strategy="cluster"),
        }
    ),
    "template": Scene(
        {"Template": made("EC2::LaunchTemplate", LaunchTemplateData={"ImageId": IMAGE})},
        {"Template": made("EC2::LaunchTemplate", LaunchTemplateData={"ImageId": IMAGE, "InstanceType": "m5.large"})},
    ),
    "key": Scene(
        {"Key": KEY, "Alias": made("KMS::Alias", AliasName="alias/dure/local", TargetKeyId=ref("Key"))},
        {
            "Key": made(
                "KMS::Key", EnableKeyRotation=False, Description="changed",
                KeyPolicy={**KEY["Properties"]["KeyPolicy"], "Id": "changed"},
            ),
            "Alias": made("KMS::Alias", AliasName="alias/dure/local", TargetKeyId=ref("Key")),
        },
    ),
    "secret": Scene(
        {
            "Key": KEY,
            "MungeKeySecret": made(
                "SecretsManager::Secret", KmsKeyId=att("Key", "Arn"), GenerateSecretString={"PasswordLength": 64},
                Tags=TAGS,
            ),
        }
    ),
    "ssm": Scene(
        {
            "Facts": made("SSM::Parameter", Name="/dure/local/facts", Type="String", Value="{}", Tags={"a": "b"}),
            "Document": made(
                "SSM::Document", Name="Dure-local", DocumentType="Command", UpdateMethod="NewVersion",
                Content={"schemaVersion": "2.2", "mainSteps": [
                    {"action": "aws:runShellScript", "name": "a", "inputs": {"runCommand": ["true"]}}]},
                Tags=TAGS,
            ),
        },
        {
            "Facts": made("SSM::Parameter", Name="/dure/local/facts", Type="String", Value="[]", Tags={"a": "b"}),
            "Document": made(
                "SSM::Document", Name="Dure-local", DocumentType="Command", UpdateMethod="NewVersion",
                Content={"schemaVersion": "2.2", "mainSteps": [
                    {"action": "aws:runShellScript", "name": "a", "inputs": {"runCommand": ["false"]}}]},
                Tags=TAGS,
            ),
        },
    ),
    "policies": Scene(
        {
            "Role": role("ec2.amazonaws.com"),
            "Policy": made(
                "IAM::ManagedPolicy", ManagedPolicyName="dure-local-x", PolicyDocument=policy_document("s3:GetObject")
            ),
        },
        {
            "Role": role("ec2.amazonaws.com", "s3:PutObject"),
            "Policy": made(
                "IAM::ManagedPolicy", ManagedPolicyName="dure-local-x", PolicyDocument=policy_document("s3:PutObject")
            ),
        },
    ),
    "bucket": Scene(
        {
            "Bucket": made(
                "S3::Bucket",
                VersioningConfiguration={"Status": "Enabled"},
                PublicAccessBlockConfiguration={"BlockPublicAcls": True},
                OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
                LifecycleConfiguration={"Rules": [{"Id": "a", "Status": "Enabled", "ExpirationInDays": 3}]},
                BucketEncryption={
                    "ServerSideEncryptionConfiguration": [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
                },
                Tags=TAGS,
            ),
            "Policy": made(
                "S3::BucketPolicy", Bucket=ref("Bucket"),
                PolicyDocument={"Version": "2012-10-17", "Statement": [
                    {"Effect": "Deny", "Principal": "*", "Action": "s3:*",
                     "Resource": {"Fn::Sub": "arn:aws:s3:::${Bucket}/*"},
                     "Condition": {"Bool": {"aws:SecureTransport": "false"}}}]},
            ),
        }
    ),
    "file system": Scene(
        {
            **VPC,
            "Files": made(
                "FSx::FileSystem", FileSystemType="LUSTRE", FileSystemTypeVersion="2.15", StorageCapacity=1200,
                SubnetIds=[ref("Subnet")], LustreConfiguration={"DeploymentType": "SCRATCH_2"}, Tags=TAGS,
            ),
        }
    ),
    "alarms": Scene(
        {
            "Alarm": made(
                "CloudWatch::Alarm", AlarmName="dure-local-a", MetricName="m", Namespace="n", Period=60, Threshold=1,
                Statistic="Maximum", EvaluationPeriods=1, ComparisonOperator="GreaterThanThreshold",
            ),
            "Board": made("CloudWatch::Dashboard", DashboardName="dure-local", DashboardBody='{"widgets": []}'),
            "Topic": made("SNS::Topic", TopicName="dure-local-alarms"),
            "Mail": made("SNS::Subscription", TopicArn=ref("Topic"), Protocol="email", Endpoint="a@example.org"),
            "Open": made(
                "SNS::TopicPolicy", Topics=[ref("Topic")],
                PolicyDocument={"Version": "2012-10-17", "Statement": []},
            ),
        }
    ),
}  # fmt: skip


class Room:
    """The account with the execution role, and stacks made in its name."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.whole = [document(network_and_machines(PLACE)), document(everything_else(PLACE))]
        self.api.client("iam").create_role(
            RoleName="exec", AssumeRolePolicyDocument=json.dumps(trusting("cloudformation.amazonaws.com"))
        )
        self.give(self.whole)

    def give(self, policies: list[dict[str, Any]]) -> None:
        for number, policy in enumerate(policies):
            self.api.client("iam").put_role_policy(
                RoleName="exec", PolicyName=f"part-{number}", PolicyDocument=json.dumps(policy)
            )

    @contextmanager
    def without(self, action: str) -> Iterator[None]:
        less = copy.deepcopy(self.whole)
        for statement in (each for policy in less for each in policy["Statement"]):
            statement["Action"] = [each for each in statement["Action"] if each != action] or ["none:Nothing"]
        self.give(less)
        try:
            yield
        finally:
            self.give(self.whole)

    def settled(self, stack: str) -> str:
        """A stack's status, once nothing is under way any more."""
        cfn = self.api.client("cloudformation")

        def look() -> str:
            status = str(cfn.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"])
            return "" if status.endswith("_IN_PROGRESS") else status

        return str(until(look, seconds=60.0))

    def play(self, scene: Scene) -> str:
        """Make, change and remove; every event's reason. What is left over is then removed with the whole policy."""
        cfn, name = self.api.client("cloudformation"), "dure-local-x"
        common = {"StackName": name, "Capabilities": ["CAPABILITY_NAMED_IAM"], "RoleARN": ROLE}
        identity = cfn.create_stack(TemplateBody=json.dumps({"Resources": scene.before}), **common)["StackId"]
        state = self.settled(name)
        if state == "CREATE_COMPLETE" and scene.after:
            cfn.update_stack(TemplateBody=json.dumps({"Resources": scene.after}), **common)
            state = self.settled(name)
        cfn.delete_stack(StackName=name)
        state = self.settled(identity)
        said = " ".join(reason for _, _, reason in self.api.events(identity))
        if state != "DELETE_COMPLETE":
            self.give(self.whole)
            cfn.delete_stack(StackName=identity)
            assert self.settled(identity) == "DELETE_COMPLETE", said
        return said


@pytest.fixture
def room(api: Api) -> Room:
    return Room(api)


@contextmanager
def asked() -> Iterator[set[str]]:
    """The actions that the execution role asks for while the block runs."""
    found: set[str] = set()
    inner = enforcement.decide

    def noting(held: Any, question: Any) -> Any:
        if ":role/exec" in str(question.context.get("aws:principalarn")):
            found.add(question.action)
        return inner(held, question)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(enforcement, "decide", noting)
        yield found


# What an earlier scene has shown already
shown: set[str] = set()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in IN_EVERY_RUN else pytest.mark.long) for name in sorted(SCENES)]
)
def test_the_policies_are_enough_and_each_action_that_is_asked_for_is_needed(room: Room, name: str) -> None:
    scene = SCENES[name]
    with asked() as actions:
        assert "not authorized" not in (said := room.play(scene)), said
    assert actions
    for action in sorted(actions - shown):
        with room.without(action):
            said = room.play(scene)
        assert f"perform: {action} on" in said, action
        shown.add(action)
