"""The cluster's own KMS key: volumes, logs, bucket, file system and the munge key are encrypted under it."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

# The role through which FSx reads and writes a linked bucket; one a file system, made by FSx itself
_FSX_DATA_ROLE = "role/aws-service-role/s3.data-source.lustre.fsx.amazonaws.com/AWSServiceRoleForFSxS3Access_*"


class Encryption(Construct):
    """A key that turns yearly. Its policy lets the account's IAM decide, and two services that call it."""

    def __init__(self, scope: Construct, id: str, *, cluster: str) -> None:
        super().__init__(scope, id)
        self.key = kms.CfnKey(
            self,
            "Key",
            description=f"Dure cluster {cluster}",
            enable_key_rotation=True,
            key_policy=iam.PolicyDocument(statements=[self._account(), self._logs(cluster), self._file_system_data()]),
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

    def _file_system_data(self) -> iam.PolicyStatement:
        """FSx reaches the bucket through a role that does not exist yet, so it can't be named as a principal."""
        stack = cdk.Stack.of(self)
        role = f"arn:{stack.partition}:iam::{stack.account}:{_FSX_DATA_ROLE}"
        return iam.PolicyStatement(
            sid="FileSystemToBucket",
            principals=[iam.AnyPrincipal()],
            actions=["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"],
            resources=["*"],
            conditions={
                "StringEquals": {"kms:CallerAccount": stack.account},
                "ArnLike": {"aws:PrincipalArn": role},
            },
        )
