"""Stopping, starting and rebooting instances, and what may be changed on one that is stopped.

An instance keeps its id, interfaces, volumes and what it wrote; its machine starts anew on them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.models.instances import Instance, StateReason

from infra.local_cloud.aws.cloud import Cloud
from infra.local_cloud.aws.ec2 import instances, limits, security
from infra.local_cloud.aws.ec2.table import OPERATIONS, Ec2State, backend, decode_user_data, dry_run
from infra.local_cloud.aws.errors import AwsError, NotModelled
from infra.local_cloud.aws.operations import Answer, Call

_BY_USER = "Client.UserInitiatedShutdown: User initiated shutdown"
_CHANGED_WHEN_STOPPED = ("InstanceType", "UserData")
_SHUTDOWNS = ("stop", "terminate")


def _asked(cloud: Cloud, call: Call, states: tuple[str, ...], verb: str) -> list[Instance]:
    """The instances of a request, all of them in one of these states. Raises IncorrectInstanceState."""
    instances.refresh_states(cloud, call)
    found: list[Instance] = backend(call.region).get_multi_instances_by_id(call.params["InstanceIds"])
    for instance in found:
        if instance.state not in states:
            raise AwsError(
                "IncorrectInstanceState",
                f"The instance '{instance.id}' is not in a state from which it can be {verb}.",
            )
    return found


def _row(instance: Instance, before: str) -> dict[str, Any]:
    return {
        "InstanceId": instance.id,
        "CurrentState": {"Code": instance.state_code, "Name": instance.state},
        "PreviousState": {"Code": instances.STATE_CODES[before], "Name": before},
    }


@OPERATIONS.add("StopInstances")
def stop_instances(cloud: Cloud, call: Call) -> Answer:
    if call.params.get("Hibernate"):
        raise NotModelled("StopInstances' Hibernate")
    state = cloud.store(Ec2State, call.region)
    with state.lock:
        found = _asked(cloud, call, ("running", "stopping", "stopped"), "stopped")
        for instance in found:
            if instance.id in state.launched and state.launched[instance.id].market == "spot":
                raise AwsError(
                    "UnsupportedOperation",
                    f"You can't stop the Spot Instance '{instance.id}' because it is associated with a one-time Spot"
                    " Instance request. You can only stop Spot Instances associated with persistent Spot Instance"
                    " requests.",
                )
        dry_run(call.params)
        rows = []
        for instance in found:
            before = str(instance.state)
            if before == "running":
                instances.set_state(instance, "stopping")
                instance.state_reason = StateReason(_BY_USER, _BY_USER.split(":", 1)[0])
                _aside(_stop, cloud, instance)
            rows.append(_row(instance, before))
    return {"StoppingInstances": rows}


def _stop(cloud: Cloud, instance: Instance) -> None:
    cloud.machines.power_off(instance.id)
    if instance.state == "stopping":  # else it is being terminated
        instances.set_state(instance, "stopped")
        security.refresh(cloud)
        cloud.record("stopped", instance=instance.id)


@OPERATIONS.add("StartInstances")
def start_instances(cloud: Cloud, call: Call) -> Answer:
    with cloud.store(Ec2State, call.region).lock:
        found = _asked(cloud, call, ("stopped", "pending", "running"), "started")
        for kind in {str(instance.instance_type) for instance in found if instance.state == "stopped"}:
            count = sum(each.instance_type == kind and each.state == "stopped" for each in found)
            limits.check(cloud, call.region, {"InstanceType": kind}, count)
        dry_run(call.params)
        rows = []
        for instance in found:
            before = str(instance.state)
            if before == "stopped":
                instances.set_state(instance, "pending")
                instance.state_reason = StateReason()
                instance.launch_time = datetime.now(UTC)
                security.refresh(cloud)
                cloud.machines.power_on(instances.spec_of(cloud, call.region, instance))
                cloud.record("started", instance=instance.id, type=instance.instance_type)
            rows.append(_row(instance, before))
    return {"StartingInstances": rows}


@OPERATIONS.add("RebootInstances")
def reboot_instances(cloud: Cloud, call: Call) -> Answer:
    """Asked for, not waited for; the state stays `running`."""
    found = _asked(cloud, call, ("running",), "rebooted")
    dry_run(call.params)
    for instance in found:
        _aside(_reboot, cloud, instance)
    return {}


def _reboot(cloud: Cloud, instance: Instance) -> None:
    cloud.machines.reboot(instance.id)
    cloud.record("rebooted", instance=instance.id)


def _aside(work: Callable[[Cloud, Instance], None], cloud: Cloud, instance: Instance) -> None:
    def guarded() -> None:
        try:
            work(cloud, instance)
        except Exception as error:  # nobody waits for it: the record has it
            cloud.record("power change failed", instance=instance.id, error=f"{type(error).__name__}: {error}")

    threading.Thread(target=guarded, daemon=True).start()


@OPERATIONS.add("ModifyInstanceAttribute")
def modify_attribute(cloud: Cloud, call: Call) -> Answer:
    """One attribute, given by its own member: type and user data of a stopped instance, its way to end, protection."""
    params = call.params
    instances.refresh_states(cloud, call)
    (instance,) = backend(call.region).get_multi_instances_by_id([params["InstanceId"]])
    names = set(params) - {"InstanceId", "DryRun"}
    known = {*_CHANGED_WHEN_STOPPED, "InstanceInitiatedShutdownBehavior", "DisableApiTermination"}
    if unknown := sorted(names - known):
        raise NotModelled(f"ModifyInstanceAttribute's {', '.join(unknown)}")
    if len(names) != 1:
        raise AwsError("InvalidParameterCombination", "Fields for multiple attribute types specified")
    (name,) = names
    value = params[name].get("Value")
    if name in _CHANGED_WHEN_STOPPED and instance.state != "stopped":
        raise AwsError("IncorrectInstanceState", f"The instance '{instance.id}' is not in the 'stopped' state.")
    launched = cloud.store(Ec2State, call.region).launched[instance.id]
    if name == "InstanceType" and value not in INSTANCE_TYPES:
        raise AwsError("InvalidInstanceAttributeValue", f"Invalid value '{value}' for InstanceType.")
    if name == "InstanceInitiatedShutdownBehavior" and value not in _SHUTDOWNS:
        raise AwsError("InvalidParameterValue", f"Invalid value '{value}' for instanceInitiatedShutdownBehavior")
    dry_run(params)
    if name == "InstanceType":
        instance.instance_type = value
    elif name == "UserData":
        launched.user_data = value if isinstance(value, bytes) else decode_user_data(value)
    elif name == "InstanceInitiatedShutdownBehavior":
        launched.shutdown = instance.instance_initiated_shutdown_behavior = value
    else:
        instance.disable_api_termination = bool(value)
    return {}
