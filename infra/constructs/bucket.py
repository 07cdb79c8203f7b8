"""The cluster's bucket: data and models of its users, and what the machines hand to each other."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra.constructs.acknowledged import acknowledge


class DataBucket(Construct):
    """Versioned, encrypted, reachable by TLS only and never public.

    Old versions go after 30 days, unfinished uploads after 7, and our own notes under `.dure/` when nobody
    needs them any more.
    """

    def __init__(self, scope: Construct, id: str, *, key: kms.IKey, keep: bool) -> None:
        super().__init__(scope, id)
        self.bucket = s3.Bucket(
            self,
            "Bucket",
            encryption=s3.BucketEncryption.KMS,
            encryption_key=key,
            bucket_key_enabled=True,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            versioned=True,
            removal_policy=cdk.RemovalPolicy.RETAIN if keep else cdk.RemovalPolicy.DESTROY,
            lifecycle_rules=[
                s3.LifecycleRule(
                    id="old-versions",
                    noncurrent_version_expiration=cdk.Duration.days(30),
                    abort_incomplete_multipart_upload_after=cdk.Duration.days(7),
                    expired_object_delete_marker=True,
                ),
                s3.LifecycleRule(id="answers", prefix=".dure/answers/", expiration=cdk.Duration.days(1)),
                s3.LifecycleRule(id="launches", prefix=".dure/launches/", expiration=cdk.Duration.days(30)),
                s3.LifecycleRule(id="specs", prefix=".dure/specs/", expiration=cdk.Duration.days(90)),
            ],
        )
        acknowledge(
            self, {"S1": "Who read what is for CloudTrail's data events to say; access logs would be a second bucket."}
        )
