"""CloudFormation's API operations, as the CDK CLI and boto3 use them."""

from __future__ import annotations

import re
import time
import uuid
from typing import Any
from urllib.parse import unquote, urlsplit

from botocore.exceptions import ClientError

from infra.local_cloud.aws.cloud import Cloud
from infra.local_cloud.aws.cloudformation import planner, views
from infra.local_cloud.aws.cloudformation.acting import act_for, actor
from infra.local_cloud.aws.cloudformation.engine import Engine
from infra.local_cloud.aws.cloudformation.model import GONE, UPDATABLE, ChangeSet, Revision, Stack, Stacks
from infra.local_cloud.aws.cloudformation.resources import REGISTRY
from infra.local_cloud.aws.cloudformation.template import invalid, load
from infra.local_cloud.aws.errors import AwsError
from infra.local_cloud.aws.operations import Answer, Call, Operations

OPERATIONS = Operations("cloudformation")
NO_CHANGES = "The submitted information didn't contain changes. Submit different information to create a change set."
PATIENCE_SECONDS = 2.0
_NAMED_IAM = frozenset({"RoleName", "PolicyName", "UserName", "GroupName", "ManagedPolicyName", "InstanceProfileName"})


def _engine(cloud: Cloud, call: Call) -> Engine:
    return Engine(cloud, REGISTRY, cloud.store(Stacks, call.region), call.region)


def _template_text(cloud: Cloud, call: Call, previous: Stack | None) -> str:
    params = call.params
    if "TemplateBody" in params:
        return str(params["TemplateBody"])
    if params.get("UsePreviousTemplate") and previous is not None:
        return previous.revision.template_text
    if "TemplateURL" not in params:
        raise invalid("Either Template URL or Template Body must be specified.")
    url = urlsplit(params["TemplateURL"])
    host, path = url.hostname or "", unquote(url.path).lstrip("/")
    virtual = re.match(r"(.+)\.s3[.-].*amazonaws\.com$", host)
    bucket, key = (virtual[1], path) if virtual else path.split("/", 1)
    reader = cloud.client("s3", call.region, access_key=call.access_key)  # CloudFormation reads it as the caller
    try:
        body = reader.get_object(Bucket=bucket, Key=key)["Body"].read()
    except ClientError as error:
        raise invalid(f"S3 error: {error.response['Error']['Message']}") from error
    return str(body.decode())


def _revision(cloud: Cloud, call: Call, previous: Stack | None) -> Revision:
    params = call.params
    text = _template_text(cloud, call, previous)
    template = load(text)
    planner.check_types(REGISTRY, template)
    values: dict[str, str] = {}
    for item in params.get("Parameters", []):
        name = item["ParameterKey"]
        if not item.get("UsePreviousValue"):
            values[name] = item.get("ParameterValue", "")
        elif previous is not None and name in previous.revision.parameters:
            values[name] = previous.revision.parameters[name]
    tags = params.get("Tags")
    revision = Revision(
        template_text=text,
        template=template,
        parameters=values,
        tags={tag["Key"]: tag["Value"] for tag in tags}
        if tags is not None
        else dict(previous.revision.tags if previous else {}),
        capabilities=list(params.get("Capabilities", [])),
        description=template.get("Description", ""),
        role_arn=params.get("RoleARN"),
        notification_arns=list(params.get("NotificationARNs", [])),
    )
    _check_capabilities(revision)
    planner.resolve_parameters(cloud, call.region, revision)
    return revision


def _check_capabilities(revision: Revision) -> None:
    resources = revision.template["Resources"].values()
    iam = [item for item in resources if item["Type"].startswith("AWS::IAM::")]
    named = any(set(item.get("Properties", {})) & _NAMED_IAM for item in iam if item["Type"] != "AWS::IAM::Policy")
    given = set(revision.capabilities)
    if iam and "CAPABILITY_NAMED_IAM" not in given and (named or "CAPABILITY_IAM" not in given):
        need = "CAPABILITY_NAMED_IAM" if named else "CAPABILITY_IAM"
        raise AwsError("InsufficientCapabilitiesException", f"Requires capabilities : [{need}]")


def _new_stack(cloud: Cloud, call: Call, revision: Revision, status: str) -> Stack:
    name = call.params["StackName"]
    if not re.fullmatch(r"[a-zA-Z][-a-zA-Z0-9]{0,127}", name):
        raise invalid(f"Stack name {name!r} does not match [a-zA-Z][-a-zA-Z0-9]*")
    identity = cloud.arn("cloudformation", call.region, f"stack/{name}/{uuid.uuid4()}")
    stack = Stack(
        identity, name, revision, status, token=call.params.get("ClientToken") or call.params.get("ClientRequestToken")
    )
    cloud.store(Stacks, call.region).all[identity] = stack
    return stack


def _token(stack: Stack, call: Call) -> None:
    stack.token = call.params.get("ClientRequestToken")


def _refuse_busy(stack: Stack) -> None:
    if stack.busy:
        raise invalid(f"Stack:{stack.id} is in {stack.status} state and can not be updated.")


# ---- stacks


@OPERATIONS.add("CreateStack")
def create_stack(cloud: Cloud, call: Call) -> Answer:
    stacks, engine = cloud.store(Stacks, call.region), _engine(cloud, call)
    with stacks.lock:
        if stacks.has(call.params["StackName"]):
            raise AwsError("AlreadyExistsException", f"Stack [{call.params['StackName']}] already exists")
        revision = _revision(cloud, call, None)
        role_arn, access_key = actor(cloud, call, revision.role_arn)
        stack = _new_stack(cloud, call, revision, "CREATE_IN_PROGRESS")
        stack.role_arn, stack.access_key = role_arn, access_key
        _token(stack, call)
        stack.disable_rollback = bool(call.params.get("DisableRollback"))
        stack.termination_protection = bool(call.params.get("EnableTerminationProtection"))
        stack.log(None, "CREATE_IN_PROGRESS", "User Initiated")
    failure = call.params.get("OnFailure", "ROLLBACK")
    engine.start(stack, lambda: engine.create(stack, revision, on_failure=failure))
    return {"StackId": stack.id}


@OPERATIONS.add("UpdateStack")
def update_stack(cloud: Cloud, call: Call) -> Answer:
    stacks, engine = cloud.store(Stacks, call.region), _engine(cloud, call)
    with stacks.lock:
        stack = stacks.find(call.params["StackName"])
        if stack.status not in UPDATABLE:
            raise invalid(f"Stack:{stack.id} is in {stack.status} state and can not be updated.")
        revision = _revision(cloud, call, stack)
        if not _changes(engine, stack, revision):
            raise invalid("No updates are to be performed.")
        act_for(cloud, call, stack, revision.role_arn)
        _token(stack, call)
        stack.log(None, "UPDATE_IN_PROGRESS", "User Initiated")
    engine.start(stack, lambda: engine.update(stack, revision))
    return {"StackId": stack.id}


@OPERATIONS.add("DeleteStack")
def delete_stack(cloud: Cloud, call: Call) -> Answer:
    stacks, engine = cloud.store(Stacks, call.region), _engine(cloud, call)
    with stacks.lock:
        try:
            stack = stacks.find(call.params["StackName"])
        except AwsError:
            return {}  # AWS: deleting a stack that does not exist succeeds
        if stack.status == GONE:
            return {}
        _refuse_busy(stack)
        if stack.termination_protection:
            raise invalid(f"Stack [{stack.name}] cannot be deleted while TerminationProtection is enabled")
        for name in stack.exports:
            users = [user for user in stacks.importers(name) if user != stack.name]
            if users:
                raise invalid(f"Export {name} cannot be deleted as it is in use by {' and '.join(users)}")
        act_for(cloud, call, stack, call.params.get("RoleARN"))
        _token(stack, call)
        stack.log(None, "DELETE_IN_PROGRESS", "User Initiated")
    engine.start(stack, lambda: engine.delete(stack))
    return {}


@OPERATIONS.add("UpdateTerminationProtection")
def update_termination_protection(cloud: Cloud, call: Call) -> Answer:
    stack = cloud.store(Stacks, call.region).find(call.params["StackName"])
    stack.termination_protection = bool(call.params["EnableTerminationProtection"])
    return {"StackId": stack.id}


@OPERATIONS.add("GetTemplate")
def get_template(cloud: Cloud, call: Call) -> Answer:
    stacks = cloud.store(Stacks, call.region)
    if "ChangeSetName" in call.params:
        _, change_set = stacks.change_set(call.params["ChangeSetName"], call.params.get("StackName"))
        text = change_set.revision.template_text
    else:
        text = stacks.find(call.params["StackName"]).revision.template_text
    return {"TemplateBody": text, "StagesAvailable": ["Original", "Processed"]}


@OPERATIONS.add("GetTemplateSummary")
def get_template_summary(cloud: Cloud, call: Call) -> Answer:
    previous = cloud.store(Stacks, call.region).find(call.params["StackName"]) if "StackName" in call.params else None
    template = previous.revision.template if previous else load(_template_text(cloud, call, None))
    return views.template_summary(template)


@OPERATIONS.add("ValidateTemplate")
def validate_template(cloud: Cloud, call: Call) -> Answer:
    template = load(_template_text(cloud, call, None))
    planner.check_types(REGISTRY, template)
    return views.template_summary(template)


# ---- change sets


def _changes(engine: Engine, stack: Stack, revision: Revision) -> list[planner.Change]:
    return planner.plan(REGISTRY, engine.evaluation(stack, revision, planning=True), stack)


def _differs(stack: Stack, revision: Revision, changes: list[planner.Change]) -> bool:
    old, new = stack.revision, revision
    return bool(changes) or old.tags != new.tags or old.template.get("Outputs") != new.template.get("Outputs")


@OPERATIONS.add("CreateChangeSet")
def create_change_set(cloud: Cloud, call: Call) -> Answer:
    stacks, engine, params = cloud.store(Stacks, call.region), _engine(cloud, call), call.params
    kind = params.get("ChangeSetType", "UPDATE")
    if kind == "IMPORT":
        raise AwsError("NotImplemented", "The local cloud does not model change sets of type IMPORT", status=501)
    with stacks.lock:
        existing = stacks.find(params["StackName"]) if kind == "UPDATE" or stacks.has(params["StackName"]) else None
        if existing is not None and kind == "CREATE" and existing.status != "REVIEW_IN_PROGRESS":
            raise AwsError(
                "AlreadyExistsException", f"Stack [{existing.name}] already exists and cannot be created again."
            )
        if existing is not None and kind == "UPDATE" and existing.status not in UPDATABLE:
            raise invalid(f"Stack:{existing.id} is in {existing.status} state and can not be updated.")
        revision = _revision(cloud, call, existing)
        stack = existing or _new_stack(cloud, call, revision, "REVIEW_IN_PROGRESS")
        if existing is None:
            stack.log(None, "REVIEW_IN_PROGRESS", "User Initiated")
        name = params["ChangeSetName"]
        if any(item.name == name for item in stack.change_sets.values()):
            raise AwsError("AlreadyExistsException", f"ChangeSet {name} already exists")
        change_set = _plan_change_set(cloud, call, engine, stack, revision)
        stack.change_sets[change_set.id] = change_set
    return {"Id": change_set.id, "StackId": stack.id}


def _plan_change_set(cloud: Cloud, call: Call, engine: Engine, stack: Stack, revision: Revision) -> ChangeSet:
    params = call.params
    identity = cloud.arn("cloudformation", call.region, f"changeSet/{params['ChangeSetName']}/{uuid.uuid4()}")
    change_set = ChangeSet(
        id=identity,
        name=params["ChangeSetName"],
        kind=params.get("ChangeSetType", "UPDATE"),
        revision=revision,
        changes=[],
        description=params.get("Description", ""),
        on_failure=params.get("OnStackFailure", "ROLLBACK"),
    )
    try:
        changes = _changes(engine, stack, revision)
    except AwsError as error:
        change_set.status, change_set.reason, change_set.execution_status = "FAILED", error.message, "UNAVAILABLE"
        return change_set
    change_set.changes = [views.change(item) for item in changes]
    if change_set.kind == "UPDATE" and not _differs(stack, revision, changes):
        change_set.status, change_set.reason, change_set.execution_status = "FAILED", NO_CHANGES, "UNAVAILABLE"
    return change_set


@OPERATIONS.add("DescribeChangeSet")
def describe_change_set(cloud: Cloud, call: Call) -> Answer:
    stack, found = cloud.store(Stacks, call.region).change_set(
        call.params["ChangeSetName"], call.params.get("StackName")
    )
    return views.change_set(stack, found)


@OPERATIONS.add("ListChangeSets")
def list_change_sets(cloud: Cloud, call: Call) -> Answer:
    stack = cloud.store(Stacks, call.region).find(call.params["StackName"])
    return {"Summaries": [views.change_set(stack, item) for item in stack.change_sets.values()]}


@OPERATIONS.add("DeleteChangeSet")
def delete_change_set(cloud: Cloud, call: Call) -> Answer:
    stacks = cloud.store(Stacks, call.region)
    try:
        stack, found = stacks.change_set(call.params["ChangeSetName"], call.params.get("StackName"))
    except AwsError:
        return {}
    del stack.change_sets[found.id]
    return {}


@OPERATIONS.add("ExecuteChangeSet")
def execute_change_set(cloud: Cloud, call: Call) -> Answer:
    stacks, engine = cloud.store(Stacks, call.region), _engine(cloud, call)
    with stacks.lock:
        stack, found = stacks.change_set(call.params["ChangeSetName"], call.params.get("StackName"))
        if found.execution_status != "AVAILABLE":
            raise AwsError(
                "InvalidChangeSetStatus",
                f"ChangeSet [{found.id}] cannot be executed in its current status of [{found.status}]",
            )
        _refuse_busy(stack)
        act_for(cloud, call, stack, found.revision.role_arn)
        _token(stack, call)
        stack.disable_rollback = bool(call.params.get("DisableRollback"))
        stack.change_set_id, stack.change_sets = found.id, {}
        creating = stack.status == "REVIEW_IN_PROGRESS"
        stack.revision.tags = found.revision.tags
        stack.log(None, "CREATE_IN_PROGRESS" if creating else "UPDATE_IN_PROGRESS", "User Initiated")
    if creating:
        engine.start(stack, lambda: engine.create(stack, found.revision, on_failure=found.on_failure))
    else:
        engine.start(stack, lambda: engine.update(stack, found.revision))
    return {}


# ---- looking


@OPERATIONS.add("DescribeStacks")
def describe_stacks(cloud: Cloud, call: Call) -> Answer:
    stacks = cloud.store(Stacks, call.region)
    found = [stacks.find(call.params["StackName"])] if "StackName" in call.params else stacks.living()
    if "StackName" in call.params:
        # The CDK CLI looks every 5 s; what takes AWS minutes is done here in less. So a look at a stack at work waits.
        deadline = time.monotonic() + PATIENCE_SECONDS
        while found[0].busy and time.monotonic() < deadline:
            time.sleep(0.02)
    return {"Stacks": [views.stack(item) for item in found]}


@OPERATIONS.add("ListStacks")
def list_stacks(cloud: Cloud, call: Call) -> Answer:
    wanted = call.params.get("StackStatusFilter")
    found = [item for item in cloud.store(Stacks, call.region).all.values() if not wanted or item.status in wanted]
    return {"StackSummaries": [views.stack(item) for item in found]}


@OPERATIONS.add("DescribeStackEvents")
def describe_stack_events(cloud: Cloud, call: Call) -> Answer:
    stack = cloud.store(Stacks, call.region).find(call.params["StackName"])
    events = [views.event(stack, item) for item in reversed(stack.events)]
    start = int(call.params.get("NextToken", 0))
    page: dict[str, Any] = {"StackEvents": events[start : start + 100]}
    return page | ({"NextToken": str(start + 100)} if start + 100 < len(events) else {})


@OPERATIONS.add("DescribeStackResources")
def describe_stack_resources(cloud: Cloud, call: Call) -> Answer:
    stacks = cloud.store(Stacks, call.region)
    wanted = call.params.get("LogicalResourceId")
    if "StackName" in call.params:
        owners = [stacks.find(call.params["StackName"])]
    else:
        physical = call.params.get("PhysicalResourceId")
        owners = [s for s in stacks.living() if any(r.physical_id == physical for r in s.resources.values())]
        if not owners:
            raise invalid(f"Stack for {physical} does not exist")
    rows = [views.resource(s, r) for s in owners for r in s.resources.values() if wanted in (None, r.logical_id)]
    return {"StackResources": rows}


@OPERATIONS.add("DescribeStackResource")
def describe_stack_resource(cloud: Cloud, call: Call) -> Answer:
    stack = cloud.store(Stacks, call.region).find(call.params["StackName"])
    name = call.params["LogicalResourceId"]
    if name not in stack.resources:
        raise invalid(f"Resource {name} does not exist for stack {stack.name}")
    return {"StackResourceDetail": views.resource(stack, stack.resources[name])}


@OPERATIONS.add("ListStackResources")
def list_stack_resources(cloud: Cloud, call: Call) -> Answer:
    stack = cloud.store(Stacks, call.region).find(call.params["StackName"])
    return {"StackResourceSummaries": [views.resource(stack, item) for item in stack.resources.values()]}


@OPERATIONS.add("ListExports")
def list_exports(cloud: Cloud, call: Call) -> Answer:
    stacks = cloud.store(Stacks, call.region).living()
    rows = [{"ExportingStackId": s.id, "Name": n, "Value": v} for s in stacks for n, v in s.exports.items()]
    return {"Exports": rows}


@OPERATIONS.add("ListImports")
def list_imports(cloud: Cloud, call: Call) -> Answer:
    users = cloud.store(Stacks, call.region).importers(call.params["ExportName"])
    if not users:
        raise invalid(f"Export '{call.params['ExportName']}' is not imported by any stack.")
    return {"Imports": users}
