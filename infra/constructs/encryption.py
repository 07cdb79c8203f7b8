"""The cluster's own KMS key: volumes, logs, bucket, file system and the munge key are encrypted under it."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

# The role through which FSx reads and writes a linked bucket; one a file system, made by FSx itself
_FSX_DATA_ROLE = "s3.data-source.lustre.fsx.amazonaws.com/AWSServiceRoleForFSxS3Access_*"
# The role by which EC2 launches spot instances, encrypted volumes included
_SPOT_ROLE = "spot.amazonaws.com/AWSServiceRoleForEC2Spot"


class Encryption(Construct):
    """A key that turns yearly. Its policy lets the account's IAM decide, and the services that call it."""

    def __init__(self, scope: Construct, id: str, *, cluster: str, spot: bool) -> None:
        super().__init__(scope, id)
        statements = [
            self._account(),
            self._logs(cluster),
            self._service_role("FileSystemToBucket", _FSX_DATA_ROLE, volumes=False),
        ]
        if spot:
            statements.append(self._service_role("SpotVolumes", _SPOT_ROLE, volumes=True))
        self.key = kms.CfnKey(
            self,
            "Key",
            description=f"Dure cluster {cluster}",
            enable_key_rotation=True,
            key_policy=iam.PolicyDocument(statements=statements),
        )
        # A key is deleted 30 days after the cluster, so that nothing is lost by mistake
        self.key.apply_removal_policy(cdk.RemovalPolicy.DESTROY)
        kms.CfnAlias(self, "Alias", alias_name=f"alias/dure/{cluster}", target_key_id=self.key.ref)

    @property
    def arn(self) -> str:
        """The key's ARN."""
        return self.key.attr_arn

    def _account(self) -> iam.PolicyStatement:
        return iam.PolicyStatement(
            sid="AccountDecidesByIam",
            principals=[iam.AccountRootPrincipal()],
            actions=["kms:*"],
            resources=["*"],
        )

    def _logs(self, cluster: str) -> iam.PolicyStatement:
        stack = cdk.Stack.of(self)
        groups = f"arn:{stack.partition}:logs:{stack.region}:{stack.account}:log-group:/dure/{cluster}/*"
        return iam.PolicyStatement(
            sid="LogGroupsOfThisCluster",
            principals=[iam.ServicePrincipal(f"logs.{stack.region}.amazonaws.com")],
            actions=["kms:Encrypt*", "kms:Decrypt*", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"],
            resources=["*"],
            conditions={"ArnLike": {"kms:EncryptionContext:aws:logs:arn": groups}},
        )

    def _service_role(self, sid: str, role: str, *, volumes: bool) -> iam.PolicyStatement:
        """Use by a role that a service makes for itself, perhaps later: so it can't be named as a principal."""
        stack = cdk.Stack.of(self)
        actions = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
        return iam.PolicyStatement(
            sid=sid,
            principals=[iam.AnyPrincipal()],
            actions=[*actions, *(["kms:CreateGrant"] if volumes else [])],
            resources=["*"],
            conditions={
                "StringEquals": {"kms:CallerAccount": stack.account},
                "ArnLike": {
                    "aws:PrincipalArn": f"arn:{stack.partition}:iam::{stack.account}:role/aws-service-role/{role}"
                },
            },
        )
