"""Run Command: documents and their checks, and commands that run."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local_cloud.aws.errors import AwsError
from infra.local_cloud.aws.ssm import documents
from tests.unit.infra.local_cloud_aws.conftest import Api, until

DOCUMENT: dict[str, Any] = {
    "schemaVersion": "2.2",
    "parameters": {
        "Verb": {"type": "String", "allowedValues": ["jobs", "show"], "interpolationType": "ENV_VAR"},
        "Argument": {
            "type": "String",
            "default": "",
            "allowedPattern": "^[a-z0-9./]*$",
            "interpolationType": "ENV_VAR",
        },
        "Plain": {"type": "String", "default": "x"},
    },
    "mainSteps": [
        {
            "action": "aws:runShellScript",
            "name": "serve",
            "inputs": {"runCommand": ['echo "$SSM_Verb:$SSM_Argument:{{ Plain }}"']},
        }
    ],
}


def test_values_pass_through_the_environment_and_not_through_the_script() -> None:
    bound = documents.bind(DOCUMENT, {"Verb": ["show"], "Argument": ["12"]})
    (step,) = documents.steps(DOCUMENT, bound)
    assert step.env == {"SSM_Verb": "show", "SSM_Argument": "12"}
    assert step.argv == ("/bin/sh", "-c", 'echo "$SSM_Verb:$SSM_Argument:x"')


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "Verb is required"),
        ({"Verb": ["rm"]}, "Verb is 'rm', allowed: jobs, show"),
        ({"Verb": ["jobs"], "Argument": ["$(id)"]}, "which does not match ^[a-z0-9./]*$"),
        ({"Verb": ["jobs", "show"]}, "Verb takes one value, not 2"),
        ({"Verb": ["jobs"], "Other": ["1"]}, "Other is not a parameter of this document"),
    ],
)
def test_bad_parameters(given: dict[str, list[str]], message: str) -> None:
    with pytest.raises(AwsError) as error:
        documents.bind(DOCUMENT, given)
    assert error.value.code == "InvalidParameters"
    assert message in error.value.message


def test_scripts_of_several_lines_and_interpreters() -> None:
    bound = documents.bind(
        documents.RUN_SHELL_SCRIPT, {"commands": ["#!/bin/bash", "set -e", "true"], "executionTimeout": ["7"]}
    )
    (step,) = documents.steps(documents.RUN_SHELL_SCRIPT, bound)
    assert step.argv == ("/bin/bash", "-c", "#!/bin/bash\nset -e\ntrue")
    assert step.timeout == 7.0


def test_other_steps_are_refused() -> None:
    with pytest.raises(AwsError, match="does not run aws:downloadContent steps"):
        documents.steps({"mainSteps": [{"action": "aws:downloadContent"}]}, {})


def send(api: Api, identity: str, document: str = "AWS-RunShellScript", **parameters: list[str]) -> str:
    sent = api.client("ssm").send_command(InstanceIds=[identity], DocumentName=document, Parameters=parameters)
    return str(sent["Command"]["CommandId"])


def ended(api: Api, command: str, identity: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        try:
            found = api.client("ssm").get_command_invocation(CommandId=command, InstanceId=identity)
        except ClientError as error:
            assert error.response["Error"]["Code"] == "InvocationDoesNotExist"
            return None
        return None if found["Status"] in ("Pending", "InProgress", "Cancelling") else dict(found)

    return dict(until(look))


def test_an_own_document_runs_with_typed_parameters(api: Api) -> None:
    identity = api.instance(managed=True)["InstanceId"]
    api.client("ssm").create_document(Name="Dure-x", Content=json.dumps(DOCUMENT), DocumentType="Command")
    found = ended(api, send(api, identity, "Dure-x", Verb=["show"], Argument=["a/b.json"]), identity)
    assert (found["Status"], found["ResponseCode"], found["StandardOutputContent"]) == (
        "Success",
        0,
        "show:a/b.json:x\n",
    )
    with pytest.raises(ClientError, match="InvalidParameters"):
        send(api, identity, "Dure-x", Verb=["show; id"])
    with pytest.raises(ClientError, match="InvalidDocument"):
        send(api, identity, "Dure-y", Verb=["show"])


def test_outputs_codes_and_the_limit_of_characters(api: Api) -> None:
    identity = api.instance(managed=True)["InstanceId"]
    failed = ended(api, send(api, identity, commands=["echo out", "echo err >&2", "exit 3"]), identity)
    assert (failed["Status"], failed["ResponseCode"]) == ("Failed", 3)
    assert (failed["StandardOutputContent"], failed["StandardErrorContent"]) == ("out\n", "err\n")
    long = ended(api, send(api, identity, commands=["head -c 100000 /dev/zero | tr '\\0' 'x'"]), identity)
    assert len(long["StandardOutputContent"]) == 24_000
    assert long["StandardOutputContent"].endswith("---Output truncated---")
    slow = ended(api, send(api, identity, commands=["sleep 5"], executionTimeout=["1"]), identity)
    assert (slow["Status"], slow["StatusDetails"]) == ("TimedOut", "ExecutionTimedOut")


def test_nothing_is_shown_while_it_runs_and_it_can_be_cancelled(api: Api) -> None:
    identity = api.instance(managed=True)["InstanceId"]
    command = send(api, identity, commands=["echo early", "sleep 30"])
    with pytest.raises(ClientError, match="InvocationDoesNotExist"):
        api.client("ssm").get_command_invocation(CommandId=command, InstanceId=identity)
    pid = api.machines.root / f"var/lib/amazon/ssm/{identity}/document/orchestration/{command}/pid"
    until(pid.exists)
    running = until(lambda: _running(api, command, identity))
    assert running["StandardOutputContent"] == ""
    api.client("ssm").cancel_command(CommandId=command)
    found = ended(api, command, identity)
    assert (found["Status"], found["StandardOutputContent"]) == ("Cancelled", "early\n")


def _running(api: Api, command: str, identity: str) -> dict[str, Any] | None:
    try:
        found = api.client("ssm").get_command_invocation(CommandId=command, InstanceId=identity)
    except ClientError:
        return None
    return dict(found) if found["Status"] == "InProgress" else None


def test_targets_by_tag_and_who_can_be_told(api: Api) -> None:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "dure:role", "Value": "head"}]}]
    head = api.instance(managed=True, TagSpecifications=tags)
    other = api.instance(SubnetId=head["SubnetId"], IamInstanceProfile={"Name": "node"})["InstanceId"]
    mute = api.instance(SubnetId=head["SubnetId"], IamInstanceProfile={})["InstanceId"]
    ssm = api.client("ssm")
    known = {item["InstanceId"] for item in ssm.describe_instance_information()["InstanceInformationList"]}
    assert known == {head["InstanceId"], other}
    sent = ssm.send_command(
        Targets=[{"Key": "tag:dure:role", "Values": ["head"]}],
        DocumentName="AWS-RunShellScript",
        Parameters={"commands": ["true"]},
    )["Command"]["CommandId"]
    until(lambda: ssm.list_commands(CommandId=sent)["Commands"][0]["Status"] == "Success")
    (row,) = until(lambda: ssm.list_command_invocations(CommandId=sent, Details=True)["CommandInvocations"])
    assert row["InstanceId"] == head["InstanceId"]
    with pytest.raises(ClientError, match="InvalidInstanceId"):
        send(api, mute, commands=["true"])
    with pytest.raises(ClientError, match="InvalidInstanceId"):
        send(api, "i-00000000000000000", commands=["true"])
