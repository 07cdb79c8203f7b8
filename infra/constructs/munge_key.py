"""The secret that the cluster's machines know each other by."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from infra.constructs.acknowledged import acknowledge
from infra.constructs.naming import tags

# munge takes 32 to 1024 bytes; letters and digits survive every file and shell on their way
LENGTH = 128


class MungeKey(Construct):
    """A key made by Secrets Manager itself, so that it is in no template and on nobody's disk."""

    def __init__(self, scope: Construct, id: str, *, cluster: str, key_arn: str) -> None:
        super().__init__(scope, id)
        self.secret = secretsmanager.CfnSecret(
            self,
            "Secret",
            description=f"munge key of the Dure cluster {cluster}",
            generate_secret_string=secretsmanager.CfnSecret.GenerateSecretStringProperty(
                password_length=LENGTH, exclude_punctuation=True, include_space=False
            ),
            kms_key_id=key_arn,
            tags=tags(cluster),
        )
        acknowledge(
            self,
            {
                "SMG4": "munge has one key for all machines: to turn it while jobs run cuts every node off. "
                "Deleting the secret and deploying again makes a new one."
            },
        )
        self.secret.apply_removal_policy(cdk.RemovalPolicy.DESTROY)

    @property
    def arn(self) -> str:
        """The secret's ARN."""
        return self.secret.ref
