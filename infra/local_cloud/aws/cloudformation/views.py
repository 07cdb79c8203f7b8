"""CloudFormation's data as its API shows it: one pure function a shape."""

from __future__ import annotations

from typing import Any

from infra.local_cloud.aws.cloudformation.model import ChangeSet, Event, Resource, Stack
from infra.local_cloud.aws.cloudformation.planner import Change


def stack(item: Stack) -> dict[str, Any]:
    """Stack and StackSummary."""
    parameters = []
    for name, spec in item.revision.template.get("Parameters", {}).items():
        row = {"ParameterKey": name, "ParameterValue": str(item.revision.parameters.get(name, spec.get("Default", "")))}
        if spec.get("NoEcho"):
            row["ParameterValue"] = "****"
        if name in item.resolved_parameters:
            row["ResolvedValue"] = item.resolved_parameters[name]
        parameters.append(row)
    return {
        "StackId": item.id,
        "StackName": item.name,
        "ChangeSetId": item.change_set_id,
        "Description": item.revision.description or None,
        "Parameters": parameters,
        "CreationTime": item.created,
        "LastUpdatedTime": item.updated,
        "DeletionTime": item.deleted,
        "StackStatus": item.status,
        "StackStatusReason": item.reason or None,
        "DisableRollback": item.disable_rollback,
        "NotificationARNs": item.revision.notification_arns,
        "Capabilities": item.revision.capabilities,
        "Outputs": item.outputs or None,
        "RoleARN": item.revision.role_arn,
        "Tags": [{"Key": key, "Value": value} for key, value in item.revision.tags.items()],
        "EnableTerminationProtection": item.termination_protection,
        "DriftInformation": {"StackDriftStatus": "NOT_CHECKED"},
    }


def event(owner: Stack, item: Event) -> dict[str, Any]:
    """StackEvent."""
    return {
        "StackId": owner.id,
        "StackName": owner.name,
        "EventId": item.event_id,
        "LogicalResourceId": item.logical_id,
        "PhysicalResourceId": item.physical_id,
        "ResourceType": item.type,
        "Timestamp": item.time,
        "ResourceStatus": item.status,
        "ResourceStatusReason": item.reason or None,
        "ClientRequestToken": item.token,
    }


def resource(owner: Stack, item: Resource) -> dict[str, Any]:
    """StackResource, StackResourceDetail and StackResourceSummary."""
    return {
        "StackId": owner.id,
        "StackName": owner.name,
        "LogicalResourceId": item.logical_id,
        "PhysicalResourceId": item.physical_id,
        "ResourceType": item.type,
        "Timestamp": item.updated,
        "LastUpdatedTimestamp": item.updated,
        "ResourceStatus": item.status,
        "ResourceStatusReason": item.reason or None,
        "DriftInformation": {"StackResourceDriftStatus": "NOT_CHECKED"},
    }


def change(item: Change) -> dict[str, Any]:
    """Change."""
    found: dict[str, Any] = {
        "Action": item.action,
        "LogicalResourceId": item.logical_id,
        "PhysicalResourceId": item.physical_id or None,
        "ResourceType": item.type,
        "Scope": ["Properties"] if item.changed else [],
        "Details": [
            {
                "Target": {
                    "Attribute": "Properties",
                    "Name": name,
                    "RequiresRecreation": "Always" if item.replacement else "Never",
                },
                "Evaluation": "Static",
                "ChangeSource": "DirectModification",
            }
            for name in item.changed
        ],
    }
    if item.action == "Modify":
        found["Replacement"] = "True" if item.replacement else "False"
    return {"Type": "Resource", "ResourceChange": found}


def change_set(owner: Stack, item: ChangeSet) -> dict[str, Any]:
    """DescribeChangeSet's answer, and ChangeSetSummary."""
    return {
        "ChangeSetId": item.id,
        "ChangeSetName": item.name,
        "StackId": owner.id,
        "StackName": owner.name,
        "Description": item.description or None,
        "Parameters": [
            {"ParameterKey": key, "ParameterValue": value} for key, value in item.revision.parameters.items()
        ],
        "CreationTime": item.created,
        "ExecutionStatus": item.execution_status,
        "Status": item.status,
        "StatusReason": item.reason or None,
        "Capabilities": item.revision.capabilities,
        "Tags": [{"Key": key, "Value": value} for key, value in item.revision.tags.items()],
        "Changes": item.changes,
        "IncludeNestedStacks": False,
    }


def template_summary(template: dict[str, Any]) -> dict[str, Any]:
    """GetTemplateSummary's and ValidateTemplate's answer."""
    parameters = [
        {
            "ParameterKey": name,
            "DefaultValue": str(spec["Default"]) if "Default" in spec else None,
            "ParameterType": spec["Type"],
            "NoEcho": bool(spec.get("NoEcho")),
            "Description": spec.get("Description"),
        }
        for name, spec in template.get("Parameters", {}).items()
    ]
    types = sorted({item["Type"] for item in template["Resources"].values()})
    return {"Parameters": parameters, "Description": template.get("Description"), "ResourceTypes": types}
