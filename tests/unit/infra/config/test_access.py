"""The policies of people as data: sizes, scopes, and CloudFormation's compared with AWS's own provider schemas."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from infra.config.access.cluster import Place
from infra.config.access.deployer import deployer
from infra.config.access.execution import everything_else, network_and_machines
from infra.config.access.resource_types import BESIDES, HANDLERS, actions
from infra.config.access.statements import Statement, document
from tests.unit.infra.conftest import CLUSTER_FILES, FULL, Templates
from tests.unit.infra.stacks.test_linters import loaded_parliament

# The longest name and region that a cluster may have
PLACE = Place(cluster="a-name-as-long-as-they-go", region="ap-northeast-2", account="123456789012")
POLICIES: dict[str, Callable[[Place], list[Statement]]] = {
    "deployer": deployer,
    "cloudformation-1": network_and_machines,
    "cloudformation-2": everything_else,
}
IAM_LIMIT = 6144  # characters of a managed policy, blanks not counted. Source: IAM's quotas
# What a handler of ours may call and our policy does not give: why -> actions
LEFT_OUT = {
    "no address is moved or associated; a NAT gateway takes its own": (
        "ec2:AcceptAddressTransfer ec2:AssignPrivateNatGatewayAddress ec2:AssociateAddress "
        "ec2:AssociateNatGatewayAddress ec2:DisassociateAddress ec2:DisassociateNatGatewayAddress "
        "ec2:UnassignPrivateNatGatewayAddress"
    ),
    "flow logs go to a log group by a role of their own": (
        "autoscaling:DescribeTags logs:CreateLogDelivery logs:DeleteLogDelivery"
    ),
    "what an instance is stands in its launch template": (
        "ec2:AssociateIamInstanceProfile ec2:AttachVolume ec2:DescribeKeyPairs ec2:DetachVolume "
        "ec2:DisassociateIamInstanceProfile ec2:ModifyInstanceCreditSpecification "
        "ec2:ModifyInstanceMaintenanceOptions ec2:ModifyInstanceMetadataOptions ec2:ModifyInstancePlacement "
        "ec2:ModifyPrivateDnsNameOptions ec2:MonitorInstances ec2:ReplaceIamInstanceProfileAssociation "
        "ec2:UnmonitorInstances ssm:CreateAssociation ssm:DeleteAssociation"
    ),
    "no network has IPv6": (
        "ec2:AssignIpv6Addresses ec2:AssociateSubnetCidrBlock ec2:DisassociateSubnetCidrBlock ec2:UnassignIpv6Addresses"
    ),
    "an interface has one address for life": (
        "ec2:AssignPrivateIpAddresses ec2:ModifyPublicIpDnsNameOptions ec2:UnassignPrivateIpAddresses"
    ),
    "a VPC has neither of them": (
        "ec2:AttachVpnGateway ec2:CreateVpcEncryptionControl ec2:DescribeVpcEncryptionControls "
        "ec2:DescribeVpnGateways ec2:DetachVpnGateway ec2:ModifyVpcTenancy"
    ),
    "endpoints are of AWS's services in this region": (
        "vpc-lattice:CreateServiceNetworkVpcEndpointAssociation "
        "vpc-lattice:DescribeServiceNetworkVpcEndpointAssociation vpce:AllowMultiRegion"
    ),
    "the volume begins empty and leaves no snapshot": (
        "ec2:CopyVolumes ec2:CreateSnapshot ec2:DescribeSnapshots kms:ReEncryptFrom kms:ReEncryptTo"
    ),
    "policies are attached by people, not by the stack": (
        "iam:AttachGroupPolicy iam:AttachRolePolicy iam:AttachUserPolicy iam:DetachGroupPolicy "
        "iam:DetachRolePolicy iam:DetachUserPolicy"
    ),
    "roles have no boundary": "iam:DeleteRolePermissionsBoundary iam:PutRolePermissionsBoundary",
    "keys are never disabled by a stack": "kms:DisableKey kms:EnableKey",
    "log groups have a key and a retention, nothing else": (
        "firehose:TagDeliveryStream logs:DeleteDataProtectionPolicy logs:DeleteIndexPolicy "
        "logs:DeleteResourcePolicy logs:DescribeResourcePolicies logs:PutBearerTokenAuthentication "
        "logs:PutDataProtectionPolicy logs:PutIndexPolicy logs:PutLogGroupDeletionProtection "
        "logs:PutResourcePolicy s3:REST.PUT.OBJECT"
    ),
    "the bucket has none of these properties": (
        "s3:CreateBucketMetadataTableConfiguration s3:DeleteBucketAnalyticsConfiguration s3:DeleteBucketCors "
        "s3:DeleteBucketMetadataTableConfiguration s3:DeleteBucketMetricsConfiguration "
        "s3:DeleteBucketReplication s3:DeleteBucketWebsite s3:DeleteObject s3:PutAccelerateConfiguration "
        "s3:PutAnalyticsConfiguration s3:PutBucketAbac s3:PutBucketAcl s3:PutBucketCORS s3:PutBucketLogging "
        "s3:PutBucketNotification s3:PutBucketObjectLockConfiguration s3:PutBucketReplication "
        "s3:PutBucketWebsite s3:PutIntelligentTieringConfiguration s3:PutInventoryConfiguration "
        "s3:PutMetricsConfiguration s3:PutObjectAcl s3:PutObjectLockConfiguration "
        "s3:PutReplicationConfiguration s3:UpdateBucketMetadataAnnotationTableConfiguration "
        "s3:UpdateBucketMetadataInventoryTableConfiguration s3:UpdateBucketMetadataJournalTableConfiguration "
        "s3tables:CreateNamespace s3tables:CreateTable s3tables:CreateTableBucket s3tables:GetTable "
        "s3tables:GetTableMetadataLocation s3tables:PutTableBucketPolicy s3tables:PutTableEncryption "
        "s3tables:PutTablePolicy s3tables:UpdateTableMetadataLocation"
    ),
    "no delivery roles, no data protection": "sns:PutDataProtectionPolicy",
    "the documents' text stands in the template": "s3:GetObject",
    "a secret stays in its region": (
        "secretsmanager:RemoveRegionsFromReplication secretsmanager:ReplicateSecretToRegions"
    ),
    "IAM has no such action": "s3:DeleteBucketEncryption s3:DeleteBucketLifecycle",
}


def handlers_of(kind: str) -> set[str]:
    """The actions that the provider schema of a resource type lists; cfn-lint ships the schemas."""
    from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

    found = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema.get("handlers", {})
    parts: Sequence[str] = ("create", "read", "update", "delete")
    return {action for part in parts for action in found.get(part, {}).get("permissions", [])}


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_each_fits_into_a_managed_policy(name: str) -> None:
    text = json.dumps(document(POLICIES[name](PLACE)), separators=(",", ":"))
    assert len(text) <= IAM_LIMIT


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_each_names_actions_resources_and_conditions_that_exist(name: str) -> None:
    found = loaded_parliament().analyze_policy_string(json.dumps(document(POLICIES[name](PLACE)))).findings
    # One statement a service: an action needs one of its resources only. EC2's are bound by region: what CloudFormation
    # makes has no name yet. Newer actions parliament does not know; cfn-lint does (the next test but one)
    meant = ("RESOURCE_MISMATCH", "UNKNOWN_ACTION", "RESOURCE_STAR")
    serious = [each for each in found if each.issue not in meant]
    assert [str(each) for each in serious] == []


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_no_action_has_a_wildcard(name: str) -> None:
    assert not [action for each in POLICIES[name](PLACE) for action in each.actions if "*" in action]


def test_cloudformation_may_what_the_handlers_of_our_types_list(templates: Callable[[Path], Templates]) -> None:
    used = {
        resource["Type"]
        for path in (*CLUSTER_FILES, FULL)
        for template in templates(path).values()
        for resource in template["Resources"].values()
    }
    left_out = {action for listed in LEFT_OUT.values() for action in listed.split()}
    assert used - {"AWS::CDK::Metadata"} <= set(HANDLERS) | set(BESIDES) | {"AWS::EC2::VolumeAttachment"}
    for kind in sorted(set(HANDLERS)):
        assert handlers_of(kind) - left_out == set(HANDLERS[kind].split()), kind


def test_every_action_of_the_types_stands_in_one_statement() -> None:
    statements = [*network_and_machines(PLACE), *everything_else(PLACE)]
    given = [action for each in statements if each.sid != "LinkedRolePolicy" for action in each.actions]
    linked = {"iam:AttachRolePolicy"}
    assert set(given) | linked == actions()
    assert len(given) == len(set(given))
