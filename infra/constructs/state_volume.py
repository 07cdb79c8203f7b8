"""The head's own volume: what must outlive the machine, Slurm's queue first of all."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from infra.constructs.naming import tags


class StateVolume(Construct):
    """An encrypted gp3 volume in the head's zone. The head attaches it when it boots, and loses it when it ends.

    An attachment of CloudFormation's would have to go before the head does, and EBS lets go of no volume that is
    mounted; a machine that has ended holds none.
    """

    def __init__(
        self, scope: Construct, id: str, *, cluster: str, zone_id: str, size_gib: int, key_arn: str, keep: bool
    ) -> None:
        super().__init__(scope, id)
        self.volume = ec2.CfnVolume(
            self,
            "Volume",
            availability_zone_id=zone_id,
            size=size_gib,
            volume_type="gp3",
            encrypted=True,
            kms_key_id=key_arn,
            tags=tags(cluster, role="head", name=f"dure-{cluster}-state"),
        )
        self.volume.apply_removal_policy(cdk.RemovalPolicy.RETAIN if keep else cdk.RemovalPolicy.DESTROY)

    @property
    def volume_id(self) -> str:
        """The volume's id."""
        return self.volume.ref
