"""Run Command: the API, and each invocation's life on its machine.

As on AWS: the output of a running command is empty until it ends, is cut at 24,000 characters, and an invocation
cannot be seen for a moment after SendCommand.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from moto.ssm.models import ssm_backends

from infra.local_cloud.aws.cloud import ACCOUNT, Cloud
from infra.local_cloud.aws.errors import AwsError
from infra.local_cloud.aws.operations import Answer, Call, Operations
from infra.local_cloud.aws.ssm import documents, targets
from infra.local_cloud.machines.api import MachineError

OPERATIONS = Operations("ssm")

STDOUT_CHARACTERS = 24_000
STDERR_CHARACTERS = 8_000
LISTED_CHARACTERS = 2_500
HIDDEN_SECONDS = 0.15  # how long GetCommandInvocation does not know a new invocation
DELIVERY_SECONDS = 3600
_HONOURED = frozenset(
    [
        "InstanceIds",
        "Targets",
        "DocumentName",
        "DocumentVersion",
        "DocumentHash",
        "DocumentHashType",
        "TimeoutSeconds",
        "Comment",
        "Parameters",
        "MaxConcurrency",
        "MaxErrors",
    ]
)
_RUNNING = frozenset({"Pending", "InProgress", "Delayed", "Cancelling"})
# Runs as the agent's child: leaves its process id where a cancellation finds it, then becomes the script.
_WRAPPER = 'mkdir -p "$1" && echo $$ >"$1/pid" && { [ -z "$2" ] || cd "$2"; } && shift 2 && exec "$@"'
_KILL = (
    'end() { for child in $(cat /proc/"$1"/task/*/children 2>/dev/null); do end "$child"; done; kill -TERM "$1"; };'
    ' [ -f "$1/pid" ] && end "$(cat "$1/pid")"'
)


@dataclass
class Invocation:
    """One command on one instance."""

    instance_id: str
    visible_from: float
    status: str = "Pending"
    details: str = "Pending"
    code: int = -1
    stdout: str = ""
    stderr: str = ""
    started: datetime | None = None
    ended: datetime | None = None
    cancelled: bool = False


@dataclass
class Command:
    """One SendCommand."""

    id: str
    request: dict[str, Any]
    steps: list[documents.Step]
    invocations: dict[str, Invocation]
    requested: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def status(self) -> str:
        """The command's status, from its invocations'."""
        found = {item.status for item in self.invocations.values()}
        for name in ("Cancelling", "InProgress", "Pending", "Failed", "TimedOut", "Cancelled"):
            if name in found:
                return name
        return "Success"


class SsmState:
    """Run Command's state of one region."""

    def __init__(self) -> None:
        self.commands: dict[str, Command] = {}

    def command(self, identity: str) -> Command:
        """A command by id. Raises InvalidCommandId."""
        if identity not in self.commands:
            raise AwsError("InvalidCommandId", f"Command {identity} does not exist")
        return self.commands[identity]


def _document(region: str, name: str, version: str | None) -> dict[str, Any]:
    if name.rsplit("/", 1)[-1] == "AWS-RunShellScript":
        return documents.RUN_SHELL_SCRIPT
    ssm = ssm_backends[ACCOUNT][region]
    if name not in ssm._documents:
        raise AwsError("InvalidDocument", f"Document with name {name} does not exist.")
    found = ssm._documents[name]
    wanted = (
        found.default_version
        if version in (None, "$DEFAULT")
        else found.latest_version
        if version == "$LATEST"
        else version
    )
    if wanted not in found.versions:
        raise AwsError("InvalidDocumentVersion", f"Document {name} has no version {version}")
    content = found.versions[wanted].content
    return documents.load(content)


# ---- the API


@OPERATIONS.add("SendCommand")
def send_command(cloud: Cloud, call: Call) -> Answer:
    params = dict(call.params)
    if (params.pop("CloudWatchOutputConfig", None) or {}).get("CloudWatchOutputEnabled"):
        raise AwsError("NotImplemented", "the local cloud does not model CloudWatchOutputConfig", status=501)
    if unknown := sorted(set(params) - _HONOURED):
        raise AwsError(
            "NotImplemented", f"SendCommand: the local cloud does not model {', '.join(unknown)}", status=501
        )
    document = _document(call.region, params["DocumentName"], params.get("DocumentVersion"))
    steps = documents.steps(document, documents.bind(document, params.get("Parameters", {})))
    chosen = targets.chosen(cloud, call)
    visible = cloud.clock() + HIDDEN_SECONDS
    command = Command(str(uuid.uuid4()), params, steps, {item: Invocation(item, visible) for item in chosen})
    cloud.store(SsmState, call.region).commands[command.id] = command
    for invocation in command.invocations.values():
        threading.Thread(target=_run, args=(cloud, call.region, command, invocation), daemon=True).start()
    return {"Command": _view(command)}


@OPERATIONS.add("GetCommandInvocation")
def get_command_invocation(cloud: Cloud, call: Call) -> Answer:
    commands = cloud.store(SsmState, call.region).commands
    command = commands.get(call.params["CommandId"])
    found = command.invocations.get(call.params["InstanceId"]) if command else None
    if command is None or found is None or found.visible_from > cloud.clock():
        raise AwsError("InvocationDoesNotExist", "The command invocation does not exist.")
    ended = found.status not in _RUNNING
    return {
        "CommandId": command.id,
        "InstanceId": found.instance_id,
        "Comment": command.request.get("Comment", ""),
        "DocumentName": command.request["DocumentName"],
        "DocumentVersion": command.request.get("DocumentVersion", "$DEFAULT"),
        "PluginName": command.steps[-1].name,
        "ResponseCode": found.code,
        "ExecutionStartDateTime": _stamp(found.started),
        "ExecutionEndDateTime": _stamp(found.ended),
        "Status": found.status,
        "StatusDetails": found.details,
        "StandardOutputContent": _cut(found.stdout, STDOUT_CHARACTERS) if ended else "",
        "StandardErrorContent": _cut(found.stderr, STDERR_CHARACTERS) if ended else "",
        "StandardOutputUrl": "",
        "StandardErrorUrl": "",
    }


@OPERATIONS.add("ListCommands")
def list_commands(cloud: Cloud, call: Call) -> Answer:
    wanted, instance = call.params.get("CommandId"), call.params.get("InstanceId")
    rows = [
        _view(command)
        for command in reversed(cloud.store(SsmState, call.region).commands.values())
        if wanted in (None, command.id) and (instance is None or instance in command.invocations)
    ]
    return {"Commands": rows[: call.params.get("MaxResults", len(rows))]}


@OPERATIONS.add("ListCommandInvocations")
def list_command_invocations(cloud: Cloud, call: Call) -> Answer:
    now, detailed = cloud.clock(), bool(call.params.get("Details"))
    wanted, instance = call.params.get("CommandId"), call.params.get("InstanceId")
    rows = [
        _listed(command, item, detailed=detailed)
        for command, item in _all(cloud.store(SsmState, call.region))
        if wanted in (None, command.id) and instance in (None, item.instance_id) and item.visible_from <= now
    ]
    return {"CommandInvocations": rows}


def _all(state: SsmState) -> Iterator[tuple[Command, Invocation]]:
    for command in reversed(state.commands.values()):
        for invocation in command.invocations.values():
            yield command, invocation


@OPERATIONS.add("CancelCommand")
def cancel_command(cloud: Cloud, call: Call) -> Answer:
    command = cloud.store(SsmState, call.region).command(call.params["CommandId"])
    only = call.params.get("InstanceIds") or list(command.invocations)
    for identity in only:
        invocation = command.invocations.get(identity)
        if invocation is None or invocation.status not in _RUNNING:
            continue  # cancelling is a request: what has ended stays as it is
        invocation.cancelled = True
        invocation.status = invocation.details = "Cancelling"
        threading.Thread(target=_kill, args=(cloud, command, invocation), daemon=True).start()
    return {}


@OPERATIONS.add("DescribeInstanceInformation")
def describe_instance_information(cloud: Cloud, call: Call) -> Answer:
    rows = []
    for identity, instance in targets.managed(cloud, call.region).items():
        tags = {f"tag:{tag['key']}": tag["value"] for tag in instance.get_tags()}
        facts = {
            **tags,
            "InstanceIds": identity,
            "PingStatus": "Online",
            "PlatformTypes": "Linux",
            "ResourceType": "EC2Instance",
        }
        filters = [(f["Key"], f["Values"]) for f in call.params.get("Filters", [])]
        filters += [(f["key"], f["valueSet"]) for f in call.params.get("InstanceInformationFilterList", [])]
        if all(facts.get(key) in values for key, values in filters):
            rows.append(
                {
                    "InstanceId": identity,
                    "PingStatus": "Online",
                    "LastPingDateTime": datetime.now(UTC),
                    "AgentVersion": "3.3.2746.0",
                    "PlatformType": "Linux",
                    "PlatformName": "Debian GNU/Linux",
                    "ResourceType": "EC2Instance",
                    "IPAddress": instance.private_ip,
                    "ComputerName": instance.private_dns_name,
                }
            )
    return {"InstanceInformationList": rows}


# ---- views


def _view(command: Command) -> dict[str, Any]:
    items = list(command.invocations.values())
    return {
        "CommandId": command.id,
        "DocumentName": command.request["DocumentName"],
        "DocumentVersion": command.request.get("DocumentVersion", "$DEFAULT"),
        "Comment": command.request.get("Comment", ""),
        "ExpiresAfter": command.requested + timedelta(seconds=command.request.get("TimeoutSeconds", DELIVERY_SECONDS)),
        "Parameters": command.request.get("Parameters", {}),
        "InstanceIds": command.request.get("InstanceIds", []),
        "Targets": command.request.get("Targets", []),
        "RequestedDateTime": command.requested,
        "Status": command.status,
        "StatusDetails": command.status,
        "MaxConcurrency": command.request.get("MaxConcurrency", "50"),
        "MaxErrors": command.request.get("MaxErrors", "0"),
        "TargetCount": len(items),
        "CompletedCount": sum(item.status not in _RUNNING for item in items),
        "ErrorCount": sum(item.status in ("Failed", "TimedOut") for item in items),
        "TimeoutSeconds": command.request.get("TimeoutSeconds", DELIVERY_SECONDS),
    }


def _listed(command: Command, item: Invocation, *, detailed: bool) -> dict[str, Any]:
    plugin = {
        "Name": command.steps[-1].name,
        "Status": item.status,
        "StatusDetails": item.details,
        "ResponseCode": item.code,
        "Output": _cut(item.stdout, LISTED_CHARACTERS) if item.status not in _RUNNING else "",
    }
    return {
        "CommandId": command.id,
        "InstanceId": item.instance_id,
        "Comment": command.request.get("Comment", ""),
        "DocumentName": command.request["DocumentName"],
        "RequestedDateTime": command.requested,
        "Status": item.status,
        "StatusDetails": item.details,
        "CommandPlugins": [plugin] if detailed else [],
    }


def _cut(text: str, limit: int) -> str:
    mark = "\n---Output truncated---"
    return text if len(text) <= limit else text[: limit - len(mark)] + mark


def _stamp(time: datetime | None) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if time else ""


# ---- running


def _folder(command: Command, invocation: Invocation) -> str:
    return f"/var/lib/amazon/ssm/{invocation.instance_id}/document/orchestration/{command.id}"


def _run(cloud: Cloud, region: str, command: Command, invocation: Invocation) -> None:
    folder = cloud.state / "commands" / command.id / invocation.instance_id
    folder.mkdir(parents=True)
    if not invocation.cancelled:
        invocation.status = invocation.details = "InProgress"
    invocation.started = datetime.now(UTC)
    code, status, details, note = 0, "Success", "Success", ""
    for number, step in enumerate(command.steps):
        try:
            code = _run_step(cloud, region, command, invocation, step, folder / str(number))
        except TimeoutError:
            code, status, details = -1, "TimedOut", "ExecutionTimedOut"
        except MachineError as error:
            code, status, details, note = -1, "Failed", "Undeliverable", str(error)
        except Exception as error:
            code, status, details, note = -1, "Failed", "Failed", f"{type(error).__name__}: {error}"
            cloud.record("command broken", command=command.id, instance=invocation.instance_id, error=note)
        if code != 0:
            status, details = (status, details) if status != "Success" else ("Failed", "Failed")
            break
    invocation.stdout = _joined(folder, "stdout")
    invocation.stderr = _joined(folder, "stderr") + note
    invocation.code, invocation.ended = code, datetime.now(UTC)
    if invocation.cancelled and status != "Success":
        status = details = "Cancelled"
    invocation.status, invocation.details = status, details
    cloud.record("command", command=command.id, instance=invocation.instance_id, status=details, code=code)


def _run_step(
    cloud: Cloud, region: str, command: Command, invocation: Invocation, step: documents.Step, output: Path
) -> int:
    env = {"AWS_SSM_INSTANCE_ID": invocation.instance_id, "AWS_SSM_REGION_NAME": region, "HOME": "/root", **step.env}
    argv = ["/bin/sh", "-c", _WRAPPER, "ssm-agent", _folder(command, invocation), step.directory, *step.argv]
    return cloud.machines.run(
        invocation.instance_id,
        argv=argv,
        env=env,
        stdout=output.with_suffix(".stdout"),
        stderr=output.with_suffix(".stderr"),
        timeout=step.timeout,
    )


def _joined(folder: Path, kind: str) -> str:
    files = sorted(folder.glob(f"*.{kind}"), key=lambda path: int(path.stem))
    limit = STDOUT_CHARACTERS * 4  # bytes: no more than can become characters that are shown
    found = []
    for path in files:
        with path.open("rb") as file:
            found.append(file.read(limit + 4).decode(errors="replace"))
    return "".join(found)


def _kill(cloud: Cloud, command: Command, invocation: Invocation) -> None:
    folder = cloud.state / "commands" / command.id / f"{invocation.instance_id}-cancel"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        cloud.machines.run(
            invocation.instance_id,
            argv=["/bin/sh", "-c", _KILL, "ssm-agent", _folder(command, invocation)],
            env={},
            stdout=folder / "stdout",
            stderr=folder / "stderr",
            timeout=10.0,
        )
    except (MachineError, TimeoutError) as error:
        cloud.record("cancel failed", command=command.id, instance=invocation.instance_id, error=str(error))
