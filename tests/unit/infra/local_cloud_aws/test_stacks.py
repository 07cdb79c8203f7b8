"""Stacks: made, changed, rolled back, removed; what depends on what."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.unit.infra.local_cloud_aws.conftest import Api, until

Resources = dict[str, Any]
GROUP: Resources = {"Group": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "/dure/x"}}}


def parameter(name: str, value: Any, **more: Any) -> dict[str, Any]:
    return {"Type": "AWS::SSM::Parameter", "Properties": {"Name": name, "Type": "String", "Value": value}, **more}


def groups(api: Api) -> list[str]:
    return [item["logGroupName"] for item in api.client("logs").describe_log_groups()["logGroups"]]


def test_a_stack_is_made_in_order_and_leaves_nothing(api: Api) -> None:
    stack = api.deploy(
        "one",
        {
            "Second": parameter("/b", {"Fn::Sub": "${First}=${First.Value}"}),
            "First": parameter("/a", "1", DependsOn=["Group"]),
            **GROUP,
        },
        Outputs={"Arn": {"Value": {"Fn::GetAtt": ["Group", "Arn"]}}},
    )
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    made = [name for name, status, _ in api.events("one") if status == "CREATE_COMPLETE"]
    assert made == ["Group", "First", "Second", "one"]
    assert api.client("ssm").get_parameter(Name="/b")["Parameter"]["Value"] == "/a=1"
    assert api.outputs("one") == {"Arn": "arn:aws:logs:us-east-1:123456789012:log-group:/dure/x:*"}
    identity = stack["StackId"]
    assert api.destroy("one") == "DELETE_COMPLETE"
    gone = [name for name, status, _ in api.events(identity) if status == "DELETE_COMPLETE"]
    assert gone == ["Second", "First", "Group", "one"]
    assert groups(api) == []
    with pytest.raises(ClientError, match="Stack with id one does not exist"):
        api.client("cloudformation").describe_stacks(StackName="one")


def test_unknown_types_are_refused_before_anything_is_made(api: Api) -> None:
    with pytest.raises(ClientError, match=r"Unrecognized resource types: \[AWS::Foo::Bar\]"):
        api.deploy("bad", {**GROUP, "X": {"Type": "AWS::Foo::Bar"}})
    with pytest.raises(ClientError, match="does not model the CloudFormation resource type AWS::Lambda::Function"):
        api.deploy("bad", {**GROUP, "X": {"Type": "AWS::Lambda::Function"}})
    assert groups(api) == []
    assert api.client("cloudformation").describe_stacks()["Stacks"] == []


def test_a_bad_property_rolls_the_stack_back(api: Api) -> None:
    stack = api.deploy("bad", {**GROUP, "X": parameter("/x", "v", DependsOn="Group") | {"Properties": {"Valu": 1}}})
    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    reasons = "\n".join(reason for *_, reason in api.events("bad"))
    assert "The following resource(s) failed to create: [X]" in reasons
    assert "extraneous key [Valu] is not permitted" in reasons
    assert groups(api) == []
    with pytest.raises(ClientError, match="is in ROLLBACK_COMPLETE state and can not be updated"):
        api.deploy("bad", GROUP, update=True)
    assert api.destroy("bad") == "DELETE_COMPLETE"


def test_an_api_error_rolls_back_with_its_code(api: Api) -> None:
    api.client("logs").create_log_group(logGroupName="/dure/x")
    stack = api.deploy("bad", {"A": parameter("/a", "1"), **GROUP})
    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    assert any("ResourceAlreadyExistsException" in reason for *_, reason in api.events("bad"))
    assert api.client("ssm").describe_parameters()["Parameters"] == []


def test_updates_in_place_replacements_additions_and_removals(api: Api) -> None:
    api.deploy("one", {**GROUP, "Keep": parameter("/keep", "1"), "Drop": parameter("/drop", "1")})
    moved = {"Group": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "/dure/y"}}}
    stack = api.deploy(
        "one", {**moved, "Keep": parameter("/keep", "2"), "New": parameter("/new", {"Ref": "Group"})}, update=True
    )
    assert stack["StackStatus"] == "UPDATE_COMPLETE"
    assert groups(api) == ["/dure/y"]
    ssm = api.client("ssm")
    values = {
        p["Name"]: ssm.get_parameter(Name=p["Name"])["Parameter"]["Value"]
        for p in ssm.describe_parameters()["Parameters"]
    }
    assert values == {"/keep": "2", "/new": "/dure/y"}
    with pytest.raises(ClientError, match="No updates are to be performed"):
        api.deploy(
            "one", {**moved, "Keep": parameter("/keep", "2"), "New": parameter("/new", {"Ref": "Group"})}, update=True
        )


def test_a_failed_update_goes_back_to_what_was(api: Api) -> None:
    first = {**GROUP, "Keep": parameter("/keep", "1")}
    api.deploy("one", first, Outputs={"V": {"Value": {"Fn::GetAtt": "Keep.Value"}}})
    changed = {
        "Keep": parameter("/keep", "2"),
        "Group": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "/dure/y"}},
        "Bad": {"Type": "AWS::Logs::LogGroup", "DependsOn": ["Keep", "Group"], "Properties": {"RetentionInDays": 2}},
    }
    stack = api.deploy("one", changed, update=True)
    assert stack["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert groups(api) == ["/dure/x"]
    assert api.client("ssm").get_parameter(Name="/keep")["Parameter"]["Value"] == "1"
    assert api.outputs("one") == {"V": "1"}
    assert (
        api.deploy("one", {**first, "Keep": parameter("/keep", "3")}, update=True)["StackStatus"] == "UPDATE_COMPLETE"
    )


def test_exports_are_imported_and_protected(api: Api) -> None:
    out = {"G": {"Value": {"Ref": "Group"}, "Export": {"Name": "the-group"}}}
    api.deploy("one", GROUP, Outputs=out)
    user = {"P": parameter("/p", {"Fn::ImportValue": "the-group"})}
    assert api.deploy("two", user)["StackStatus"] == "CREATE_COMPLETE"
    assert api.client("ssm").get_parameter(Name="/p")["Parameter"]["Value"] == "/dure/x"
    cfn = api.client("cloudformation")
    assert cfn.list_exports()["Exports"][0]["Value"] == "/dure/x"
    assert cfn.list_imports(ExportName="the-group")["Imports"] == ["two"]
    with pytest.raises(ClientError, match="Export the-group cannot be deleted as it is in use by two"):
        cfn.delete_stack(StackName="one")
    moved = {"Group": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "/dure/y"}}}
    assert api.deploy("one", moved, update=True, Outputs=out)["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert api.destroy("two") == "DELETE_COMPLETE"
    assert api.destroy("one") == "DELETE_COMPLETE"


def test_change_sets_say_what_they_would_do(api: Api) -> None:
    cfn = api.client("cloudformation")
    body = json.dumps({"Resources": {**GROUP, "P": parameter("/p", "1")}})
    cfn.create_change_set(StackName="one", ChangeSetName="c", ChangeSetType="CREATE", TemplateBody=body)
    assert cfn.describe_stacks(StackName="one")["Stacks"][0]["StackStatus"] == "REVIEW_IN_PROGRESS"
    found = cfn.describe_change_set(StackName="one", ChangeSetName="c")
    assert [(c["ResourceChange"]["Action"], c["ResourceChange"]["LogicalResourceId"]) for c in found["Changes"]] == [
        ("Add", "Group"),
        ("Add", "P"),
    ]
    cfn.execute_change_set(StackName="one", ChangeSetName="c")
    until(lambda: cfn.describe_stacks(StackName="one")["Stacks"][0]["StackStatus"] == "CREATE_COMPLETE")
    moved = {"Group": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "/dure/y"}}}
    body = json.dumps({"Resources": {**moved, "P": parameter("/p", "2")}})
    cfn.create_change_set(StackName="one", ChangeSetName="c", TemplateBody=body)
    found = cfn.describe_change_set(StackName="one", ChangeSetName="c")
    changes = {c["ResourceChange"]["LogicalResourceId"]: c["ResourceChange"]["Replacement"] for c in found["Changes"]}
    assert changes == {"Group": "True", "P": "False"}
    cfn.delete_change_set(StackName="one", ChangeSetName="c")
    same = cfn.get_template(StackName="one")["TemplateBody"]
    cfn.create_change_set(StackName="one", ChangeSetName="same", TemplateBody=json.dumps(same))
    found = cfn.describe_change_set(StackName="one", ChangeSetName="same")
    assert found["Status"] == "FAILED"
    assert "didn't contain changes" in found["StatusReason"]
    with pytest.raises(ClientError, match="cannot be executed in its current status"):
        cfn.execute_change_set(StackName="one", ChangeSetName="same")


def test_capabilities_and_protection(api: Api) -> None:
    cfn = api.client("cloudformation")
    trust = {"Version": "2012-10-17", "Statement": []}
    role = {"R": {"Type": "AWS::IAM::Role", "Properties": {"RoleName": "r", "AssumeRolePolicyDocument": trust}}}
    with pytest.raises(ClientError, match=r"Requires capabilities : \[CAPABILITY_NAMED_IAM\]"):
        cfn.create_stack(StackName="one", TemplateBody=json.dumps({"Resources": role}), Capabilities=["CAPABILITY_IAM"])
    api.deploy("one", GROUP)
    cfn.update_termination_protection(StackName="one", EnableTerminationProtection=True)
    with pytest.raises(ClientError, match="TerminationProtection is enabled"):
        cfn.delete_stack(StackName="one")


def test_parameters_with_defaults_lists_and_ssm_values(api: Api) -> None:
    api.client("ssm").put_parameter(Name="/image", Value="ami-1", Type="String")
    declared = {
        "Image": {"Type": "AWS::SSM::Parameter::Value<AWS::EC2::Image::Id>", "Default": "/image"},
        "List": {"Type": "CommaDelimitedList", "Default": "a, b"},
    }
    value = {"Fn::Join": ["/", [{"Ref": "Image"}, {"Fn::Select": [1, {"Ref": "List"}]}]]}
    api.deploy("one", {"P": parameter("/p", value)}, Parameters=declared)
    assert api.client("ssm").get_parameter(Name="/p")["Parameter"]["Value"] == "ami-1/b"
    with pytest.raises(ClientError, match=r"Parameters: \[Need\] must have values"):
        api.deploy("two", GROUP, Parameters={"Need": {"Type": "String"}})


def test_a_retained_resource_stays_and_a_full_bucket_stops_the_deletion(api: Api) -> None:
    bucket = {"B": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "full"}}}
    api.deploy("one", {**bucket, "G": {**GROUP["Group"], "DeletionPolicy": "Retain"}})
    api.client("s3").put_object(Bucket="full", Key="k", Body=b"1")
    assert api.destroy("one") == "DELETE_FAILED"
    assert any("BucketNotEmpty" in reason for *_, reason in api.events("one"))
    api.client("s3").delete_object(Bucket="full", Key="k")
    assert api.destroy("one") == "DELETE_COMPLETE"
    assert groups(api) == ["/dure/x"]


def test_a_subnet_with_machines_keeps_its_stack(api: Api) -> None:
    network = {
        "Vpc": {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.0.0.0/16"}},
        "Subnet": {
            "Type": "AWS::EC2::Subnet",
            "Properties": {"VpcId": {"Ref": "Vpc"}, "CidrBlock": "10.0.0.0/24", "AvailabilityZoneId": "use1-az6"},
        },
    }
    api.deploy("net", network, Outputs={"S": {"Value": {"Ref": "Subnet"}}})
    instance = api.instance(SubnetId=api.outputs("net")["S"])
    assert api.destroy("net") == "DELETE_FAILED"
    reasons = [reason for name, _, reason in api.events("net") if name == "Subnet"]
    assert any(
        "has dependencies and cannot be deleted" in reason and "DependencyViolation" in reason for reason in reasons
    )
    assert not any(name == "Vpc" and status.startswith("DELETE") for name, status, _ in api.events("net"))
    api.client("ec2").terminate_instances(InstanceIds=[instance["InstanceId"]])
    until(lambda: instance["InstanceId"] in api.machines.terminated)
    until(lambda: not api.client("ec2").describe_network_interfaces()["NetworkInterfaces"])
    assert api.destroy("net") == "DELETE_COMPLETE"


def test_an_instance_that_does_not_come_up_is_cleaned_away(api: Api) -> None:
    _, subnet = api.subnet()
    properties = {"ImageId": "ami-0000000000000d07e", "InstanceType": "m5.large", "SubnetId": subnet}
    api.machines.boots = False
    cfn = api.client("cloudformation")
    body = json.dumps({"Resources": {"I": {"Type": "AWS::EC2::Instance", "Properties": properties}}})
    cfn.create_stack(StackName="one", TemplateBody=body)
    identity = until(lambda: next(iter(api.machines.specs), None))
    api.machines.states[identity] = "stopped"
    assert api.machines.on_exit is not None
    api.machines.on_exit(identity)
    assert api.settled("one")["StackStatus"] == "ROLLBACK_COMPLETE"
    assert api.client("ec2").describe_network_interfaces()["NetworkInterfaces"] == []
