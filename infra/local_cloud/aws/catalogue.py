"""Every AWS API operation that the local cloud answers with moto's own code, by service and with who needs it.

What is in neither this table nor a plug-in's is refused with 501: a service that half works is worse than none.
docs/local-cloud-coverage.md is made from this table and the plug-ins' (python -m infra.local_cloud.aws.coverage).
"""

from __future__ import annotations

STOCK: dict[str, frozenset[str]] = {
    service: frozenset(operations.split())
    for service, operations in {
        "cloudwatch": "PutMetricData GetMetricData GetMetricStatistics ListMetrics PutMetricAlarm DescribeAlarms"
        " DeleteAlarms SetAlarmState PutDashboard GetDashboard ListDashboards DeleteDashboards TagResource"
        " ListTagsForResource",
        "ec2": "CreateVpc DescribeVpcs DeleteVpc ModifyVpcAttribute DescribeVpcAttribute CreateSubnet"
        " DescribeSubnets DeleteSubnet ModifySubnetAttribute CreateRouteTable DescribeRouteTables"
        " DeleteRouteTable AssociateRouteTable DisassociateRouteTable CreateRoute DeleteRoute"
        " CreateInternetGateway DescribeInternetGateways DeleteInternetGateway AttachInternetGateway"
        " DetachInternetGateway CreateNatGateway DescribeNatGateways DeleteNatGateway AllocateAddress"
        " DescribeAddresses ReleaseAddress CreateVpcEndpoint DescribeVpcEndpoints DeleteVpcEndpoints"
        " ModifyVpcEndpoint CreateSecurityGroup DescribeSecurityGroups DeleteSecurityGroup"
        " DescribeSecurityGroupRules AuthorizeSecurityGroupIngress AuthorizeSecurityGroupEgress"
        " RevokeSecurityGroupIngress RevokeSecurityGroupEgress DescribeNetworkAcls DescribeNetworkInterfaces"
        " CreateFlowLogs DescribeFlowLogs DeleteFlowLogs CreateLaunchTemplate"
        " DescribeLaunchTemplates DescribeLaunchTemplateVersions DeleteLaunchTemplate ModifyLaunchTemplate"
        " DescribeInstanceStatus DescribeInstanceAttribute DescribeInstanceTypes"
        " DescribeInstanceTypeOfferings DescribeIamInstanceProfileAssociations DescribeImages"
        " DescribeAvailabilityZones DescribeRegions CreateTags DeleteTags DescribeTags"
        " DescribeVolumes ModifyVolume DescribePrefixLists"
        " DescribeManagedPrefixLists",
        "ecr": "CreateRepository DescribeRepositories DeleteRepository PutLifecyclePolicy GetLifecyclePolicy"
        " SetRepositoryPolicy GetRepositoryPolicy ListImages DescribeImages",
        "iam": "CreateRole GetRole ListRoles UpdateRole DeleteRole UpdateAssumeRolePolicy TagRole UntagRole"
        " ListRoleTags PutRolePolicy GetRolePolicy ListRolePolicies DeleteRolePolicy AttachRolePolicy"
        " DetachRolePolicy ListAttachedRolePolicies CreatePolicy GetPolicy GetPolicyVersion ListPolicies"
        " DeletePolicy CreatePolicyVersion DeletePolicyVersion ListPolicyVersions"
        " CreateInstanceProfile GetInstanceProfile ListInstanceProfiles"
        " ListInstanceProfilesForRole DeleteInstanceProfile AddRoleToInstanceProfile"
        " CreateServiceLinkedRole RemoveRoleFromInstanceProfile CreateUser GetUser ListUsers DeleteUser PutUserPolicy"
        " GetUserPolicy"
        " ListUserPolicies DeleteUserPolicy AttachUserPolicy DetachUserPolicy ListAttachedUserPolicies"
        " CreateAccessKey ListAccessKeys UpdateAccessKey DeleteAccessKey CreateGroup GetGroup ListGroups"
        " ListGroupsForUser DeleteGroup AddUserToGroup RemoveUserFromGroup PutGroupPolicy GetGroupPolicy"
        " ListGroupPolicies DeleteGroupPolicy AttachGroupPolicy DetachGroupPolicy ListAttachedGroupPolicies",
        "kms": "CreateKey DescribeKey ListKeys ScheduleKeyDeletion EnableKeyRotation DisableKeyRotation"
        " GetKeyRotationStatus PutKeyPolicy GetKeyPolicy UpdateKeyDescription CreateAlias UpdateAlias"
        " DeleteAlias ListAliases",
        "logs": "CreateLogGroup DescribeLogGroups DeleteLogGroup PutRetentionPolicy DeleteRetentionPolicy"
        " CreateLogStream DescribeLogStreams DeleteLogStream GetLogEvents FilterLogEvents"
        " TagResource ListTagsForResource",
        "s3": "CreateBucket HeadBucket ListBuckets DeleteBucket GetBucketLocation GetBucketEncryption"
        " PutBucketEncryption GetPublicAccessBlock PutPublicAccessBlock GetBucketVersioning"
        " PutBucketVersioning GetBucketPolicy PutBucketPolicy DeleteBucketPolicy GetBucketTagging"
        " PutBucketTagging DeleteBucketTagging GetBucketLifecycleConfiguration PutBucketLifecycleConfiguration"
        " GetBucketOwnershipControls PutBucketOwnershipControls GetBucketLogging PutBucketLogging PutObject"
        " GetObject HeadObject CopyObject DeleteObject DeleteObjects ListObjects ListObjectsV2"
        " ListObjectVersions CreateMultipartUpload UploadPart UploadPartCopy CompleteMultipartUpload"
        " AbortMultipartUpload ListMultipartUploads ListParts GetObjectAttributes GetObjectTagging",
        "secretsmanager": "CreateSecret DescribeSecret GetSecretValue PutSecretValue UpdateSecret"
        " DeleteSecret ListSecrets"
        " GetRandomPassword PutResourcePolicy GetResourcePolicy DeleteResourcePolicy",
        "sns": "CreateTopic ListTopics DeleteTopic GetTopicAttributes SetTopicAttributes Subscribe Unsubscribe"
        " ListSubscriptionsByTopic",
        "ssm": "PutParameter GetParameter GetParameters GetParametersByPath DescribeParameters DeleteParameter"
        " DeleteParameters CreateDocument UpdateDocument UpdateDocumentDefaultVersion GetDocument"
        " DescribeDocument ListDocuments DeleteDocument AddTagsToResource ListTagsForResource",
        "sts": "GetCallerIdentity AssumeRole",
    }.items()
}

# What a service does here that it does not do, or does otherwise, on AWS. Shown in the coverage page.
LIMITS: dict[str, str] = {
    "budgets": "budgets are records: nothing is counted against them, and nobody is told",
    "cloudformation": "resources are made one after the other; no nested stacks, macros, imports, custom resources"
    " or drift",
    "cloudwatch": "alarms are stored, not evaluated; metrics live in memory; no expressions beyond moto's",
    "ec2": "no hibernation; what a machine wrote is kept while it is stopped, but for /tmp and /var/tmp; no fleets;"
    " endpoint policies and network ACLs are stored, not enforced; a volume that CreateVolume made is a folder that"
    " machines format and mount, of no size or speed; root volumes are records",
    "ecr": "repositories are records, there is no registry behind them",
    "fsx": "contents are imported at once, not at first read; no HSM states, backups or quotas; a file that one file"
    " system exports does not reach another on the same prefix",
    "iam": "policies of roles, users, groups, keys and trust are enforced (docs/local-cloud.md); those of secrets and"
    " topics are stored; boundaries, session policies and policy variables are refused",
    "kms": "keys encrypt nothing; their policies are enforced where S3, EC2, FSx, Secrets Manager and Logs use them",
    "logs": "groups live in memory; retention is stored, not applied",
    "s3": "plain HTTP counts as TLS; policy conditions on other keys than aws:SecureTransport never hold",
    "secretsmanager": "no rotation",
    "service-quotas": "the quotas that `dure check --live` asks for; `faults.json` changes them, requests for more"
    " are not modelled",
    "sns": "nothing is sent",
    "ssm": "documents of schema 2.2 with aws:runShellScript steps; no sessions, no S3 or CloudWatch output",
    "sts": "signatures are not verified",
}

# Asked for by the project's plans, and not there yet: requests get 501.
MISSING: dict[str, str] = {
    "ec2:CreateFleet": "flexible queues without EFA",
    "imagebuilder": "the image pipeline",
    "pricing": "prices come from the catalog in infra/config",
    "sagemaker, application-autoscaling": "serving",
    "ssm:StartSession": "`dure exec`, `dure port-forward`",
    "cloudwatch alarm evaluation": "alarms stay in the state that SetAlarmState gives them",
}
