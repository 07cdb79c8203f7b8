"""What CloudFormation needs for each resource type of our templates: the action names of a policy, without scopes.

Decided from the create, read, update and delete handlers of the type's provider schema, which list what AWS's own code
may call; taken away is what only properties need that our templates do not have (tests/unit/infra/config/test_access.py
holds the list with reasons, and compares). Added, with their sources below, is what the schemas leave out.
"""

from __future__ import annotations

from collections.abc import Mapping

# What the schemas name
HANDLERS: Mapping[str, str] = {
    "AWS::CloudWatch::Alarm": (
        "cloudwatch:DeleteAlarms cloudwatch:DescribeAlarms cloudwatch:ListTagsForResource "
        "cloudwatch:PutMetricAlarm cloudwatch:TagResource cloudwatch:UntagResource"
    ),
    "AWS::CloudWatch::Dashboard": (
        "cloudwatch:DeleteDashboards cloudwatch:GetDashboard cloudwatch:ListTagsForResource "
        "cloudwatch:PutDashboard cloudwatch:TagResource cloudwatch:UntagResource"
    ),
    "AWS::EC2::EIP": "ec2:AllocateAddress ec2:CreateTags ec2:DeleteTags ec2:DescribeAddresses ec2:ReleaseAddress",
    "AWS::EC2::FlowLog": (
        "ec2:CreateFlowLogs ec2:CreateTags ec2:DeleteFlowLogs ec2:DeleteTags ec2:DescribeFlowLogs "
        "ec2:DescribeTags iam:CreateServiceLinkedRole iam:PassRole s3:GetBucketPolicy s3:PutBucketPolicy"
    ),
    "AWS::EC2::Instance": (
        "ec2:CreateTags ec2:DeleteTags ec2:DescribeIamInstanceProfileAssociations "
        "ec2:DescribeInstanceAttribute ec2:DescribeInstanceCreditSpecifications ec2:DescribeInstances "
        "ec2:DescribeLaunchTemplateVersions ec2:DescribeLaunchTemplates ec2:DescribeNetworkInterfaces "
        "ec2:DescribeSecurityGroups ec2:DescribeSubnets ec2:DescribeVolumes ec2:DescribeVpcs "
        "ec2:ModifyInstanceAttribute ec2:RunInstances ec2:StartInstances ec2:StopInstances "
        "ec2:TerminateInstances iam:PassRole ssm:DescribeAssociation ssm:ListAssociations"
    ),
    "AWS::EC2::InternetGateway": (
        "ec2:CreateInternetGateway ec2:CreateTags ec2:DeleteInternetGateway ec2:DeleteTags ec2:DescribeInternetGateways"
    ),
    "AWS::EC2::LaunchTemplate": (
        "ec2:CreateLaunchTemplate ec2:CreateLaunchTemplateVersion ec2:CreateTags ec2:DeleteLaunchTemplate "
        "ec2:DeleteTags ec2:DescribeLaunchTemplates"
    ),
    "AWS::EC2::NatGateway": (
        "ec2:CreateNatGateway ec2:CreateTags ec2:DeleteNatGateway ec2:DeleteTags ec2:DescribeNatGateways"
    ),
    "AWS::EC2::NetworkInterface": (
        "ec2:CreateNetworkInterface ec2:CreateTags ec2:DeleteNetworkInterface ec2:DeleteTags "
        "ec2:DescribeNetworkInterfaces ec2:ModifyNetworkInterfaceAttribute"
    ),
    "AWS::EC2::PlacementGroup": (
        "ec2:CreatePlacementGroup ec2:CreateTags ec2:DeletePlacementGroup ec2:DescribePlacementGroups"
    ),
    "AWS::EC2::Route": (
        "ec2:CreateRoute ec2:DeleteRoute ec2:DescribeNetworkInterfaces ec2:DescribeRouteTables ec2:ReplaceRoute"
    ),
    "AWS::EC2::RouteTable": (
        "ec2:CreateRouteTable ec2:CreateTags ec2:DeleteRouteTable ec2:DeleteTags ec2:DescribeRouteTables"
    ),
    "AWS::EC2::SecurityGroup": (
        "ec2:AuthorizeSecurityGroupEgress ec2:AuthorizeSecurityGroupIngress ec2:CreateSecurityGroup "
        "ec2:CreateTags ec2:DeleteSecurityGroup ec2:DeleteTags ec2:DescribeInstances "
        "ec2:DescribeSecurityGroups ec2:RevokeSecurityGroupEgress ec2:RevokeSecurityGroupIngress "
        "ec2:UpdateSecurityGroupRuleDescriptionsEgress ec2:UpdateSecurityGroupRuleDescriptionsIngress"
    ),
    "AWS::EC2::SecurityGroupEgress": (
        "ec2:AuthorizeSecurityGroupEgress ec2:DescribeSecurityGroupRules ec2:RevokeSecurityGroupEgress "
        "ec2:UpdateSecurityGroupRuleDescriptionsEgress"
    ),
    "AWS::EC2::SecurityGroupIngress": (
        "ec2:AuthorizeSecurityGroupIngress ec2:DescribeSecurityGroupRules ec2:DescribeSecurityGroups "
        "ec2:RevokeSecurityGroupIngress ec2:UpdateSecurityGroupRuleDescriptionsIngress"
    ),
    "AWS::EC2::Subnet": (
        "ec2:CreateSubnet ec2:CreateTags ec2:DeleteSubnet ec2:DeleteTags ec2:DescribeNetworkAcls "
        "ec2:DescribeSubnets ec2:ModifySubnetAttribute"
    ),
    "AWS::EC2::SubnetRouteTableAssociation": (
        "ec2:AssociateRouteTable ec2:DescribeRouteTables ec2:DescribeSubnets ec2:DisassociateRouteTable "
        "ec2:ReplaceRouteTableAssociation"
    ),
    "AWS::EC2::VPC": (
        "ec2:CreateTags ec2:CreateVpc ec2:DeleteTags ec2:DeleteVpc ec2:DescribeNetworkAcls "
        "ec2:DescribeSecurityGroups ec2:DescribeVpcAttribute ec2:DescribeVpcs ec2:ModifyVpcAttribute"
    ),
    "AWS::EC2::VPCEndpoint": (
        "ec2:CreateTags ec2:CreateVpcEndpoint ec2:DeleteTags ec2:DeleteVpcEndpoints "
        "ec2:DescribeSecurityGroups ec2:DescribeSubnets ec2:DescribeVpcEndpoints ec2:DescribeVpcs "
        "ec2:ModifyVpcEndpoint"
    ),
    "AWS::EC2::VPCGatewayAttachment": (
        "ec2:AttachInternetGateway ec2:DescribeInternetGateways ec2:DetachInternetGateway"
    ),
    "AWS::EC2::Volume": (
        "ec2:CreateTags ec2:CreateVolume ec2:DeleteTags ec2:DeleteVolume ec2:DescribeTags "
        "ec2:DescribeVolumeAttribute ec2:DescribeVolumes ec2:DescribeVolumesModifications ec2:ModifyVolume "
        "ec2:ModifyVolumeAttribute kms:CreateGrant kms:GenerateDataKeyWithoutPlaintext"
    ),
    "AWS::FSx::DataRepositoryAssociation": (
        "fsx:CreateDataRepositoryAssociation fsx:DeleteDataRepositoryAssociation "
        "fsx:DescribeDataRepositoryAssociations fsx:TagResource fsx:UntagResource "
        "fsx:UpdateDataRepositoryAssociation iam:CreateServiceLinkedRole iam:PutRolePolicy s3:GetBucketPolicy "
        "s3:ListBucket s3:PutBucketPolicy"
    ),
    "AWS::IAM::InstanceProfile": (
        "iam:AddRoleToInstanceProfile iam:CreateInstanceProfile iam:DeleteInstanceProfile "
        "iam:GetInstanceProfile iam:PassRole iam:RemoveRoleFromInstanceProfile"
    ),
    "AWS::IAM::ManagedPolicy": (
        "iam:CreatePolicy iam:CreatePolicyVersion iam:DeletePolicy iam:DeletePolicyVersion iam:GetPolicy "
        "iam:GetPolicyVersion iam:ListEntitiesForPolicy iam:ListPolicyVersions"
    ),
    "AWS::IAM::Role": (
        "iam:CreateRole iam:DeleteRole iam:DeleteRolePolicy iam:GetRole iam:GetRolePolicy "
        "iam:ListAttachedRolePolicies iam:ListRolePolicies iam:PutRolePolicy iam:TagRole iam:UntagRole "
        "iam:UpdateAssumeRolePolicy iam:UpdateRole iam:UpdateRoleDescription"
    ),
    "AWS::KMS::Alias": "kms:CreateAlias kms:DeleteAlias kms:ListAliases kms:UpdateAlias",
    "AWS::KMS::Key": (
        "kms:CreateKey kms:DescribeKey kms:DisableKeyRotation kms:EnableKeyRotation kms:GetKeyPolicy "
        "kms:GetKeyRotationStatus kms:ListResourceTags kms:PutKeyPolicy kms:ScheduleKeyDeletion "
        "kms:TagResource kms:UntagResource kms:UpdateKeyDescription"
    ),
    "AWS::Logs::LogGroup": (
        "logs:AssociateKmsKey logs:CreateLogGroup logs:DeleteLogGroup logs:DeleteRetentionPolicy "
        "logs:DescribeIndexPolicies logs:DescribeLogGroups logs:DisassociateKmsKey "
        "logs:GetDataProtectionPolicy logs:ListTagsForResource logs:PutRetentionPolicy logs:TagResource "
        "logs:UntagResource"
    ),
    "AWS::S3::Bucket": (
        "iam:PassRole s3:CreateBucket s3:DeleteBucket s3:GetAccelerateConfiguration "
        "s3:GetAnalyticsConfiguration s3:GetBucketAbac s3:GetBucketAcl s3:GetBucketCORS s3:GetBucketLogging "
        "s3:GetBucketMetadataTableConfiguration s3:GetBucketNotification s3:GetBucketObjectLockConfiguration "
        "s3:GetBucketOwnershipControls s3:GetBucketPublicAccessBlock s3:GetBucketTagging "
        "s3:GetBucketVersioning s3:GetBucketWebsite s3:GetEncryptionConfiguration "
        "s3:GetIntelligentTieringConfiguration s3:GetInventoryConfiguration s3:GetLifecycleConfiguration "
        "s3:GetMetricsConfiguration s3:GetReplicationConfiguration s3:ListBucket s3:ListTagsForResource "
        "s3:PutBucketOwnershipControls s3:PutBucketPublicAccessBlock s3:PutBucketTagging "
        "s3:PutBucketVersioning s3:PutEncryptionConfiguration s3:PutLifecycleConfiguration s3:TagResource "
        "s3:UntagResource"
    ),
    "AWS::S3::BucketPolicy": "s3:DeleteBucketPolicy s3:GetBucketPolicy s3:PutBucketPolicy",
    "AWS::SNS::Subscription": (
        "iam:GetRole iam:PassRole sns:GetSubscriptionAttributes sns:SetSubscriptionAttributes sns:Subscribe "
        "sns:Unsubscribe"
    ),
    "AWS::SNS::Topic": (
        "iam:GetRole iam:PassRole sns:CreateTopic sns:DeleteTopic sns:GetDataProtectionPolicy "
        "sns:GetTopicAttributes sns:ListSubscriptionsByTopic sns:ListTagsForResource sns:SetTopicAttributes "
        "sns:Subscribe sns:TagResource sns:Unsubscribe sns:UntagResource"
    ),
    "AWS::SNS::TopicPolicy": "sns:SetTopicAttributes",
    "AWS::SSM::Document": (
        "iam:PassRole ssm:AddTagsToResource ssm:CreateDocument ssm:DeleteDocument ssm:DescribeDocument "
        "ssm:GetDocument ssm:ListTagsForResource ssm:RemoveTagsFromResource ssm:UpdateDocument "
        "ssm:UpdateDocumentDefaultVersion"
    ),
    "AWS::SSM::Parameter": (
        "ssm:AddTagsToResource ssm:DeleteParameter ssm:GetParameters ssm:ListTagsForResource ssm:PutParameter "
        "ssm:RemoveTagsFromResource"
    ),
    "AWS::SecretsManager::Secret": (
        "secretsmanager:CreateSecret secretsmanager:DeleteSecret secretsmanager:DescribeSecret "
        "secretsmanager:GetRandomPassword secretsmanager:GetSecretValue secretsmanager:TagResource "
        "secretsmanager:UntagResource secretsmanager:UpdateSecret"
    ),
    "AWS::Budgets::Budget": (
        "billing:GetBillingViewData budgets:ListTagsForResource budgets:ModifyBudget budgets:TagResource "
        "budgets:UntagResource budgets:ViewBudget"
    ),
}

# Not in the schemas. FSx: its guide on permissions, and on service-linked roles. Endpoints with private names: the VPC
# guide. Keys: the guides on encryption of EC2 and Secrets Manager.
BESIDES: Mapping[str, str] = {
    "AWS::FSx::FileSystem": (
        "fsx:CreateFileSystem fsx:DeleteFileSystem fsx:DescribeFileSystems fsx:ListTagsForResource "
        "fsx:TagResource fsx:UntagResource fsx:UpdateFileSystem iam:CreateServiceLinkedRole kms:CreateGrant "
        "kms:DescribeKey"
    ),
    "AWS::FSx::DataRepositoryAssociation": "iam:AttachRolePolicy",
    "AWS::EC2::VPCEndpoint": "route53:AssociateVPCWithHostedZone",
    "AWS::EC2::Instance": "kms:CreateGrant kms:Decrypt kms:DescribeKey kms:GenerateDataKeyWithoutPlaintext",
    "AWS::SecretsManager::Secret": "kms:Decrypt kms:GenerateDataKey",
}


def actions() -> frozenset[str]:
    """All of them."""
    return frozenset(action for table in (HANDLERS, BESIDES) for text in table.values() for action in text.split())
