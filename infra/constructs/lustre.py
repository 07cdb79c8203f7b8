"""The shared file system: FSx for Lustre, with folders that follow prefixes of the bucket."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_fsx as fsx
from constructs import Construct

from infra.config.schema import Association, Storage
from infra.constructs.naming import tags

LUSTRE_VERSION = "2.15"


class Lustre(Construct):
    """An FSx for Lustre file system in one subnet, and its data repository associations."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        cluster: str,
        storage: Storage,
        subnet_id: str,
        security_group_id: str,
        key_arn: str,
        bucket_name: str,
    ) -> None:
        super().__init__(scope, id)
        persistent = storage.deployment != "SCRATCH_2"
        self.file_system = fsx.CfnFileSystem(
            self,
            "FileSystem",
            file_system_type="LUSTRE",
            file_system_type_version=LUSTRE_VERSION,
            storage_capacity=storage.capacity_gib,
            storage_type="SSD",
            subnet_ids=[subnet_id],
            security_group_ids=[security_group_id],
            # A scratch file system is encrypted under a key of the service; it takes no other
            kms_key_id=key_arn if persistent else None,
            lustre_configuration=fsx.CfnFileSystem.LustreConfigurationProperty(
                deployment_type=storage.deployment,
                per_unit_storage_throughput=storage.throughput if persistent else None,
                data_compression_type=storage.compression,
                # FSx makes no backups of a file system that is linked to S3
                automatic_backup_retention_days=0 if persistent else None,
            ),
            tags=tags(cluster, name=f"dure-{cluster}"),
        )
        removal = cdk.RemovalPolicy.RETAIN if storage.on_down == "keep" else cdk.RemovalPolicy.DESTROY
        self.file_system.apply_removal_policy(removal)
        for index, association in enumerate(storage.associations):
            self._associate(index, cluster=cluster, association=association, bucket_name=bucket_name)

    def _associate(self, index: int, *, cluster: str, association: Association, bucket_name: str) -> None:
        events = fsx.CfnDataRepositoryAssociation
        fsx.CfnDataRepositoryAssociation(
            self,
            f"Association{index}",
            file_system_id=self.file_system.ref,
            file_system_path=association.path,
            data_repository_path=f"s3://{bucket_name}/{association.prefix}",
            # What lies in the bucket already shows from the start (the API's default is that it does not)
            batch_import_meta_data_on_create=True,
            s3=events.S3Property(
                auto_import_policy=events.AutoImportPolicyProperty(events=list(association.import_events)),
                auto_export_policy=events.AutoExportPolicyProperty(events=list(association.export_events)),
            ),
            tags=tags(cluster),
        )
