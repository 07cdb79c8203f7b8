"""What cdk-nag and cfn-lint do not look at, asserted over the templates of every cluster file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from infra.config.catalog import instance_types
from infra.config.interfaces import Interface, refusals
from tests.unit.infra.conftest import Templates

# The only actions that may have "*" as their resource: they know no resources, or the key policy's own key is meant
STAR_ALLOWED = {
    "cloudwatch:GetMetricData",
    "cloudwatch:PutMetricData",
    "ec2:DescribeInstances",
    "ec2messages:AcknowledgeMessage",
    "ec2messages:DeleteMessage",
    "ec2messages:FailMessage",
    "ec2messages:GetEndpoint",
    "ec2messages:GetMessages",
    "ec2messages:SendReply",
    "ssm:GetCommandInvocation",
    "ssm:UpdateInstanceInformation",
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
}


def resources(templates: Templates, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for template in templates.values():
        for name, resource in template["Resources"].items():
            if resource["Type"] == kind:
                yield name, resource["Properties"]


def role_statements(templates: Templates) -> Iterator[dict[str, Any]]:
    for _, role in resources(templates, "AWS::IAM::Role"):
        for policy in role["Policies"]:
            yield from policy["PolicyDocument"]["Statement"]
    for _, policy in resources(templates, "AWS::IAM::ManagedPolicy"):
        yield from policy["PolicyDocument"]["Statement"]


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_no_rule_has_an_address_range_as_its_source(every: Templates) -> None:
    rules = [rule for _, rule in resources(every, "AWS::EC2::SecurityGroupIngress")]
    for _, group in resources(every, "AWS::EC2::SecurityGroup"):
        assert "SecurityGroupIngress" not in group
    assert rules
    for rule in rules:
        assert "SourceSecurityGroupId" in rule
        assert not {"CidrIp", "CidrIpv6", "SourcePrefixListId"} & set(rule)


def test_nobody_comes_in_by_ssh(every: Templates) -> None:
    for _, rule in resources(every, "AWS::EC2::SecurityGroupIngress"):
        if rule["IpProtocol"] != "-1":
            assert not rule["FromPort"] <= 22 <= rule["ToPort"]
    assert '"KeyName"' not in json.dumps(every)
    assert not list(resources(every, "AWS::EC2::KeyPair"))


def test_machines_have_no_public_address(every: Templates) -> None:
    assert '"AssociatePublicIpAddress": true' not in json.dumps(every)
    assert all(subnet["MapPublicIpOnLaunch"] is False for _, subnet in resources(every, "AWS::EC2::Subnet"))


def test_nodes_reach_each_other_by_everything_both_ways(every: Templates) -> None:
    groups = [name for name, _ in resources(every, "AWS::EC2::SecurityGroup") if "Nodes" in name]
    assert len(groups) == 1
    group = {"Fn::GetAtt": [groups[0], "GroupId"]}
    into: list[dict[str, Any]] = [
        rule
        for _, rule in resources(every, "AWS::EC2::SecurityGroupIngress")
        if rule["GroupId"] == group == rule["SourceSecurityGroupId"]
    ]
    out = [
        rule
        for _, rule in resources(every, "AWS::EC2::SecurityGroupEgress")
        if rule["GroupId"] == group == rule["DestinationSecurityGroupId"]
    ]
    assert [rule["IpProtocol"] for rule in (*into, *out)] == ["-1", "-1"]


def test_only_s3_is_reached_outside_the_groups(every: Templates) -> None:
    """Without NAT there is no route but to the endpoint of S3; the default rule to everywhere is replaced."""
    for name, group in resources(every, "AWS::EC2::SecurityGroup"):
        (rule,) = group["SecurityGroupEgress"]
        if rule["CidrIp"] == "0.0.0.0/0":
            assert ("Head" in name or "Nodes" in name) and (rule["FromPort"], rule["ToPort"]) == (443, 443)
        else:
            assert rule["CidrIp"] == "255.255.255.255/32"


def test_lustre_and_slurm_ports_are_open_between_the_groups_that_need_them(every: Templates) -> None:
    opened = {
        (rule["FromPort"], rule["ToPort"])
        for _, rule in resources(every, "AWS::EC2::SecurityGroupIngress")
        if rule["IpProtocol"] == "tcp"
    }
    assert opened == {(988, 988), (1018, 1023), (6817, 6817), (6818, 6818), (60001, 60999), (443, 443)}


def test_each_rule_in_has_its_rule_out(every: Templates) -> None:
    def key(rule: dict[str, Any], source: str, target: str) -> str:
        return json.dumps([rule[source], rule[target], rule["IpProtocol"], rule.get("FromPort"), rule.get("ToPort")])

    # 443 is let out to everywhere by the groups themselves
    into = {
        key(rule, "SourceSecurityGroupId", "GroupId")
        for _, rule in resources(every, "AWS::EC2::SecurityGroupIngress")
        if rule.get("FromPort") != 443
    }
    out = {
        key(rule, "GroupId", "DestinationSecurityGroupId")
        for _, rule in resources(every, "AWS::EC2::SecurityGroupEgress")
    }
    assert into == out


def test_metadata_needs_a_session_and_stays_on_the_machine(every: Templates) -> None:
    found = list(resources(every, "AWS::EC2::LaunchTemplate"))
    assert found
    for _, template in found:
        assert template["LaunchTemplateData"]["MetadataOptions"] == {
            "HttpEndpoint": "enabled",
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,
            "InstanceMetadataTags": "enabled",
        }


def test_volumes_are_encrypted_under_the_clusters_key(every: Templates) -> None:
    for _, template in resources(every, "AWS::EC2::LaunchTemplate"):
        for mapping in template["LaunchTemplateData"]["BlockDeviceMappings"]:
            assert mapping["Ebs"]["Encrypted"] is True
            assert mapping["Ebs"]["VolumeType"] == "gp3"
            assert "Fn::ImportValue" in mapping["Ebs"]["KmsKeyId"]
    ((_, state),) = resources(every, "AWS::EC2::Volume")
    assert (state["Encrypted"], state["VolumeType"]) == (True, "gp3")
    assert "Fn::ImportValue" in state["KmsKeyId"]
    for _, group in resources(every, "AWS::Logs::LogGroup"):
        assert group["KmsKeyId"] and group["RetentionInDays"]
    for _, secret in resources(every, "AWS::SecretsManager::Secret"):
        assert secret["KmsKeyId"]
        assert secret["GenerateSecretString"]["PasswordLength"] >= 64
        assert secret["GenerateSecretString"]["ExcludePunctuation"] is True


def test_interfaces_are_what_ec2_takes_and_carry_the_group(every: Templates) -> None:
    for _, template in resources(every, "AWS::EC2::LaunchTemplate"):
        data = template["LaunchTemplateData"]
        assert "SecurityGroupIds" not in data
        if "NetworkInterfaces" not in data:
            continue
        found = [
            Interface(card=each["NetworkCardIndex"], device=each["DeviceIndex"], kind=each["InterfaceType"])
            for each in data["NetworkInterfaces"]
        ]
        assert refusals(instance_types()[data["InstanceType"]], found) == ()
        assert len({json.dumps(each["SubnetId"]) for each in data["NetworkInterfaces"]}) == 1
        assert all(each["Groups"] and each["DeleteOnTermination"] for each in data["NetworkInterfaces"])


def test_a_capacity_block_has_no_placement_group(every: Templates) -> None:
    for _, template in resources(every, "AWS::EC2::LaunchTemplate"):
        data = template["LaunchTemplateData"]
        if data.get("InstanceMarketOptions", {}).get("MarketType") == "capacity-block":
            assert "Placement" not in data
            assert data["CapacityReservationSpecification"]["CapacityReservationTarget"]["CapacityReservationId"]


def test_no_action_has_a_wildcard(every: Templates) -> None:
    for statement in role_statements(every):
        assert not [action for action in listed(statement["Action"]) if "*" in action]


def test_only_named_actions_have_every_resource(every: Templates) -> None:
    used: set[Any] = set()
    for statement in role_statements(every):
        if "*" in listed(statement["Resource"]):
            used |= set(listed(statement["Action"]))
    assert used == STAR_ALLOWED


def test_nodes_change_nothing_in_ec2(every: Templates) -> None:
    (role,) = [role for name, role in resources(every, "AWS::IAM::Role") if name.startswith("NodeRole")]
    actions = {
        action
        for policy in role["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
        for action in listed(statement["Action"])
    }
    assert actions == {
        "cloudwatch:PutMetricData",
        "kms:Decrypt",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "s3:GetObject",
        "s3:ListBucket",
        "secretsmanager:GetSecretValue",
        "ssm:GetParameter",
    }


def test_people_ask_the_head_only_and_watchers_change_nothing(every: Templates) -> None:
    found = {policy["ManagedPolicyName"]: policy for _, policy in resources(every, "AWS::IAM::ManagedPolicy")}
    (submit,) = [policy for name, policy in found.items() if name.endswith("-submit")]
    (watch,) = [policy for name, policy in found.items() if name.endswith("-watch")]
    for policy in (submit, watch):
        statements = {statement["Sid"]: statement for statement in policy["PolicyDocument"]["Statement"]}
        tags = statements["AskTheHead"]["Condition"]["StringEquals"]
        assert set(tags) == {"ssm:resourceTag/dure:cluster", "ssm:resourceTag/dure:role"}
        assert tags["ssm:resourceTag/dure:role"] == "head"
    asked = json.dumps([s for s in watch["PolicyDocument"]["Statement"] if s["Sid"] == "Ask"])
    assert "-watch" in asked and asked.count("document/") == 1
    actions = {action for s in watch["PolicyDocument"]["Statement"] for action in listed(s["Action"])}
    assert not [action for action in actions if "Put" in action or "Create" in action or "Delete" in action]


def test_the_head_launches_from_our_templates_and_ends_our_nodes_only(every: Templates) -> None:
    statements = {statement["Sid"]: statement for statement in role_statements(every) if "Sid" in statement}
    launch = statements["LaunchNodes"]
    assert launch["Condition"]["StringEquals"]["aws:RequestTag/dure:role"] == "compute"
    assert "launch-template/" in json.dumps(launch["Condition"]["ArnEquals"]["ec2:LaunchTemplate"])
    assert statements["LaunchFromTemplates"]["Condition"]["ArnEquals"] == launch["Condition"]["ArnEquals"]
    assert set(statements["EndNodes"]["Condition"]["StringEquals"]) == {
        "aws:ResourceTag/dure:cluster",
        "aws:ResourceTag/dure:role",
    }
    assert statements["GiveNodesTheirRole"]["Condition"]["StringEquals"] == {"iam:PassedToService": "ec2.amazonaws.com"}
    assert "*" not in json.dumps(statements["GiveNodesTheirRole"]["Resource"])
    assert statements["TagNodes"]["Condition"]["StringEquals"] == {"ec2:CreateAction": "RunInstances"}


def test_the_head_attaches_its_own_volume_to_a_head_and_nothing_else(every: Templates) -> None:
    statements = {statement["Sid"]: statement for statement in role_statements(every) if "Sid" in statement}
    attach = statements["AttachState"]
    assert attach["Action"] == "ec2:AttachVolume"
    (cluster,) = {statements["LaunchNodes"]["Condition"]["StringEquals"]["aws:RequestTag/dure:cluster"]}
    tagged = {"aws:ResourceTag/dure:cluster": cluster, "aws:ResourceTag/dure:role": "head"}
    assert attach["Condition"] == {"StringEquals": tagged}
    volume, instances = attach["Resource"]
    assert f"dure-{cluster}-storage-state-volume" in json.dumps(volume) and "volume/*" not in json.dumps(volume)
    assert json.dumps(instances).endswith(':instance/*"]]}')
    ((_, made),) = resources(every, "AWS::EC2::Volume")
    tags = {tag["Key"]: tag["Value"] for tag in made["Tags"]}
    assert (tags["dure:cluster"], tags["dure:role"]) == (cluster, "head")


def test_the_key_is_used_by_the_two_services_and_the_account(every: Templates) -> None:
    ((_, key),) = resources(every, "AWS::KMS::Key")
    assert key["EnableKeyRotation"] is True
    statements = {statement["Sid"]: statement for statement in key["KeyPolicy"]["Statement"]}
    spot = '"MarketType": "spot"' in json.dumps(every)
    needed = {"AccountDecidesByIam", "LogGroupsOfThisCluster", "FileSystemToBucket"}
    assert set(statements) == needed | ({"SpotVolumes"} if spot else set())
    assert statements["LogGroupsOfThisCluster"]["Principal"]["Service"].startswith("logs.")
    assert "ArnLike" in statements["LogGroupsOfThisCluster"]["Condition"]
    # Everybody as principal, so both conditions must be there
    for sid in {"FileSystemToBucket", "SpotVolumes"} & set(statements):
        assert set(statements[sid]["Condition"]) == {"StringEquals", "ArnLike"}
        assert "aws-service-role/" in json.dumps(statements[sid]["Condition"]["ArnLike"])


def test_the_bucket_is_private_versioned_encrypted_and_tls_only(every: Templates) -> None:
    ((_, bucket),) = resources(every, "AWS::S3::Bucket")
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    ((_, policy),) = resources(every, "AWS::S3::BucketPolicy")
    denied = [statement["Condition"] for statement in policy["PolicyDocument"]["Statement"]]
    assert {"Bool": {"aws:SecureTransport": "false"}} in denied


def test_the_file_system_has_steps_that_fsx_takes(every: Templates) -> None:
    steps: dict[str, set[int | None]] = {
        "SCRATCH_2": {None},
        "PERSISTENT_1": {50, 100, 200},
        "PERSISTENT_2": {125, 250, 500, 1000},
    }
    ((_, system),) = resources(every, "AWS::FSx::FileSystem")
    lustre = system["LustreConfiguration"]
    assert lustre.get("PerUnitStorageThroughput") in steps[lustre["DeploymentType"]]
    assert system["StorageCapacity"] == 1200 or system["StorageCapacity"] % 2400 == 0
    assert ("KmsKeyId" in system) == (lustre["DeploymentType"] != "SCRATCH_2")
    assert not {"ImportPath", "ExportPath"} & set(lustre)
    for _, association in resources(every, "AWS::FSx::DataRepositoryAssociation"):
        assert association["BatchImportMetaDataOnCreate"] is True


def test_nothing_runs_in_lambda(every: Templates) -> None:
    kinds = {resource["Type"] for template in every.values() for resource in template["Resources"].values()}
    assert not [kind for kind in kinds if kind.startswith(("AWS::Lambda", "Custom::", "AWS::CloudFormation"))]
