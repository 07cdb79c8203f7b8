"""What others check: cdk-nag's AwsSolutions, cfn-lint, and parliament for the policies."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.infra.conftest import CLUSTER_FILES, FULL, ROOT, Templates


@pytest.mark.parametrize("path", [ROOT / "clusters/local.yaml", FULL], ids=lambda path: str(path.stem))
def test_cdk_nag_finds_nothing_that_is_not_acknowledged(path: Path, tmp_path: Path) -> None:
    import aws_cdk as cdk
    import cdk_nag

    from infra.config.loader import load_cluster
    from infra.stacks.assemble import assemble

    app = cdk.App(analytics_reporting=False, outdir=str(tmp_path))
    assemble(app, load_cluster(path), root=ROOT, account="123456789012")
    cdk.Validations.of(app).add_plugins(cdk_nag.AwsSolutionsChecks(app))
    app.synth()
    (report,) = json.loads((tmp_path / "validation-report.json").read_text())["pluginReports"]
    assert report["pluginName"] == "AwsSolutions"
    assert report["conclusion"] == "success"
    assert report["violations"] == []
    assert report["suppressedViolations"], "the checks looked at nothing"


def test_cfn_lint_is_content(templates: Callable[[Path], Templates], tmp_path: Path) -> None:
    files = []
    for path in CLUSTER_FILES:
        for stack, template in templates(path).items():
            file = tmp_path / f"{path.stem}-{stack}.json"
            file.write_text(json.dumps(template))
            files.append(str(file))
    linter = Path(sys.executable).with_name("cfn-lint")
    done = subprocess.run([linter, "--format", "parseable", *files], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


# What CloudFormation fills in, by a word of the resource's name; the first that fits
STAND_INS = {
    "bucket-arn": "arn:aws:s3:::bucket",
    "LogGroup": "arn:aws:logs:us-east-1:123456789012:log-group:x:*",
    "MungeKey": "arn:aws:secretsmanager:us-east-1:123456789012:secret:x-123456",
    "Role": "arn:aws:iam::123456789012:role/node",
    "Key": "arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-123456789012",
    "AWS::Partition": "aws",
    "AWS::AccountId": "123456789012",
    "AWS::Region": "us-east-1",
}


def literal(value: Any) -> Any:
    """A policy without what CloudFormation fills in, for a linter that knows plain policies only."""
    if isinstance(value, list):
        return [literal(item) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"Fn::Join"}:
        return "".join(str(literal(part)) for part in value["Fn::Join"][1])
    if set(value) & {"Ref", "Fn::ImportValue", "Fn::GetAtt", "Fn::Sub"}:
        text = json.dumps(value)
        return next((found for word, found in STAND_INS.items() if word in text), "name")
    return {key: literal(item) for key, item in value.items()}


def loaded_parliament() -> Any:
    """parliament asks setuptools, which no longer has that module, where its own two files lie: so we answer."""
    folder = Path(sys.executable).parents[1] / "lib/python3.11/site-packages/parliament"
    finder = types.ModuleType("pkg_resources")
    finder.resource_filename = lambda _, name: str(folder / name)  # type: ignore[attr-defined]
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setitem(sys.modules, "pkg_resources", finder)
        return importlib.import_module("parliament")


# Their resources stand in two statements each: only instances carry request tags, or SSM's resource tags
SPLIT = ({"ec2:RunInstances"}, {"ssm:SendCommand"})


def split(finding: Any) -> bool:
    """Whether it says that a statement lacks a resource of an action that another statement has."""
    return finding.issue == "RESOURCE_MISMATCH" and {each["action"] for each in finding.detail} in SPLIT


def policies(resource: dict[str, Any]) -> list[Any]:
    """The policies that a resource is or holds."""
    if resource["Type"] == "AWS::IAM::ManagedPolicy":
        return [resource["Properties"]["PolicyDocument"]]
    held = resource["Properties"].get("Policies", []) if resource["Type"] == "AWS::IAM::Role" else []
    return [each["PolicyDocument"] for each in held]


def test_policies_name_actions_resources_and_conditions_that_exist(templates: Callable[[Path], Templates]) -> None:
    parliament = loaded_parliament()
    looked = 0
    for template in templates(FULL).values():
        for resource in template["Resources"].values():
            for found_policy in policies(resource):
                document = literal(found_policy)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    found = parliament.analyze_policy_string(json.dumps(document)).findings
                looked += len(document["Statement"])
                assert [str(each) for each in found if not split(each)] == []
    assert looked > 20
