"""What a cluster keeps: its bucket, the file system whose folders follow it, and the head's state."""

from __future__ import annotations

from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_kms as kms
from constructs import Construct

from infra.config.schema import ClusterFile
from infra.constructs.bucket import DataBucket
from infra.constructs.lustre import Lustre
from infra.constructs.state_volume import StateVolume
from infra.stacks.network import NetworkStack


class StorageStack(cdk.Stack):
    """dure-NAME-storage."""

    def __init__(
        self, scope: Construct, id: str, *, cluster: ClusterFile, network: NetworkStack, **options: Any
    ) -> None:
        super().__init__(scope, id, **options)
        key = kms.Key.from_key_arn(self, "Key", network.key_arn)
        self.bucket = DataBucket(self, "Data", key=key, keep=cluster.storage.on_down == "keep").bucket
        # Exported under a name of ours: policies then read the same in every template
        self.bucket_arn_export = f"{self.stack_name}-bucket-arn"
        cdk.CfnOutput(self, "BucketArn", value=self.bucket.bucket_arn, export_name=self.bucket_arn_export)
        self.lustre = Lustre(
            self,
            "Lustre",
            cluster=cluster.name,
            storage=cluster.storage,
            subnet_id=network.subnets[cluster.home_zone],
            security_group_id=network.groups.file_system.attr_group_id,
            key_arn=network.key_arn,
            bucket_name=self.bucket.bucket_name,
        )
        keep = cluster.storage.on_down == "keep"
        state = StateVolume(
            self,
            "State",
            cluster=cluster.name,
            zone_id=cluster.home_zone,
            size_gib=cluster.head.state_volume_gib,
            key_arn=network.key_arn,
            keep=keep,
        )
        self.state_volume_export = f"{self.stack_name}-state-volume"
        cdk.CfnOutput(self, "StateVolume", value=state.volume_id, export_name=self.state_volume_export)
        # FSx checks that it can reach the bucket, whose policy must stand by then
        if self.bucket.policy is not None:
            self.lustre.node.add_dependency(self.bucket.policy)
