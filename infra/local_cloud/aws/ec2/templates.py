"""Launch templates, as far as moto has them wrong: looking one up, and versions that build on another."""

from __future__ import annotations

from typing import Any

from infra.local_cloud.aws.cloud import Cloud
from infra.local_cloud.aws.ec2.table import OPERATIONS, backend, dry_run
from infra.local_cloud.aws.errors import AwsError
from infra.local_cloud.aws.operations import Answer, Call


def find(ec2: Any, wanted: dict[str, Any]) -> Any:
    """The launch template of an id or a name. Raises as EC2 does."""
    identity, name = wanted.get("LaunchTemplateId"), wanted.get("LaunchTemplateName")
    for item in ec2.launch_templates.values():
        if identity == item.id or (name is not None and name == item.name):
            return item
    if identity:
        raise AwsError(
            "InvalidLaunchTemplateId.NotFound",
            f"The specified launch template, with template ID {identity}, does not exist.",
        )
    raise AwsError(
        "InvalidLaunchTemplateName.NotFoundException",
        f"The specified launch template, with template name {name}, does not exist.",
    )


def find_version(ec2: Any, wanted: dict[str, Any] | None) -> Any:
    """The launch template version that a request names, or None when it names none. Raises as EC2 does."""
    if not wanted:
        return None
    return version_of(find(ec2, wanted), str(wanted.get("Version", "$Default")))


def version_of(template: Any, number: str) -> Any:
    """A version by its number, $Default or $Latest. Raises InvalidLaunchTemplateId.VersionNotFound."""
    if number not in ("$Default", "$Latest") and number not in {str(item.number) for item in template.versions}:
        raise AwsError(
            "InvalidLaunchTemplateId.VersionNotFound",
            f"Could not find launch template version {number} for the template {template.id}.",
        )
    return template.get_version(number)


@OPERATIONS.add("CreateLaunchTemplateVersion")
def create_launch_template_version(cloud: Cloud, call: Call) -> Answer:
    template = find(backend(call.region), call.params)
    source = call.params.get("SourceVersion")
    inherited = dict(version_of(template, str(source)).data) if source else {}
    dry_run(call.params)
    data = {**inherited, **call.params["LaunchTemplateData"]}
    version = template.create_version(data, call.params.get("VersionDescription"))
    return {
        "LaunchTemplateVersion": {
            "LaunchTemplateId": template.id,
            "LaunchTemplateName": template.name,
            "VersionNumber": version.number,
            "VersionDescription": version.description,
            "CreateTime": version.create_time,
            "CreatedBy": f"arn:aws:iam::{cloud.account}:root",
            "DefaultVersion": template.is_default(version),
            "LaunchTemplateData": {
                key: str(value) if key == "UserData" else value for key, value in data.items() if value
            },
        }
    }
