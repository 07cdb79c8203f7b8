"""Instances: every launch makes a machine, and an instance's state is its machine's."""

from __future__ import annotations

import contextlib
import ipaddress
import threading
import time
from typing import Any

from moto.core.exceptions import ServiceException
from moto.core.types import Base64EncodedString
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.models.instances import Instance, InstanceState, StateReason
from moto.ec2.utils import filter_iam_instance_profiles

from infra.local_cloud.aws.cloud import Cloud
from infra.local_cloud.aws.ec2 import (
    consistency,
    interfaces,
    launch,
    limits,
    metadata,
    placement,
    security,
    templates,
)
from infra.local_cloud.aws.ec2.table import (
    OPERATIONS,
    Ec2State,
    Faults,
    Launched,
    backend,
    decode_user_data,
    dry_run,
    tags_of,
)
from infra.local_cloud.aws.errors import AwsError
from infra.local_cloud.aws.operations import Answer, Call
from infra.local_cloud.machines.api import MachineSpec

STATE_CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
_GONE = frozenset({"shutting-down", "terminated"})


def set_state(instance: Instance, name: str) -> None:
    """Put an instance into a state by AWS's name."""
    instance._state = InstanceState(name, STATE_CODES[name])


# ---- launching


@OPERATIONS.add("RunInstances")
def run_instances(cloud: Cloud, call: Call) -> Answer:
    region, params, ec2 = call.region, call.params, backend(call.region)
    state = cloud.store(Ec2State, region)
    with state.lock:
        token = params.get("ClientToken")
        if token in state.tokens:
            return _reservation(ec2.reservations[state.tokens[token]])
        version = templates.find_version(ec2, params.get("LaunchTemplate"))
        data = launch.effective(params, version.data if version else None)
        _check_type(data)
        decode_user_data(data.get("UserData"))
        profile = _profile(cloud, ec2, data)
        if (group := (data.get("Placement") or {}).get("GroupName")) is not None:
            placement.find(cloud, region, group)
        if not ec2.describe_images(ami_ids=[data["ImageId"]]):
            raise AwsError("InvalidAMIID.NotFound", f"The image id '[{data['ImageId']}]' does not exist")
        specs = launch.interfaces_of(data, default_subnet=_default_subnet(ec2))
        count = _count(cloud, ec2, data, specs)
        dry_run(params)
        reservation = _make(cloud, region, data, version, specs, count)
        security.refresh(cloud)
        for instance in reservation.instances:
            if profile is not None:
                ec2.associate_iam_instance_profile(instance_id=instance.id, iam_instance_profile_arn=profile.arn)
            try:
                _boot(cloud, region, instance)
            except Exception:
                for started in reservation.instances:  # all or none
                    begin_termination(cloud, region, started, reason="Server.InternalError: Internal error on launch")
                raise
        if token:
            state.tokens[token] = reservation.id
    return _reservation(reservation)


def _reservation(reservation: Any) -> dict[str, Any]:
    return {
        "ReservationId": reservation.id,
        "OwnerId": reservation.owner_id,
        "Groups": [],
        "Instances": reservation.instances,
    }


def _check_type(data: dict[str, Any]) -> None:
    kind = data.setdefault("InstanceType", "m1.small")
    known = INSTANCE_TYPES.get(kind)
    if known is None:
        raise AwsError("InvalidParameterValue", f"Invalid value '{kind}' for InstanceType.")
    network = known.get("NetworkInfo", {})
    cards = len(network.get("NetworkCards", [])) or 1
    for spec in data.get("NetworkInterfaces") or []:
        if str(spec.get("InterfaceType", "")).startswith("efa") and not network.get("EfaSupported"):
            raise AwsError("InvalidParameterCombination", f"EFA interfaces are not supported on {kind}")
        if int(spec.get("NetworkCardIndex", 0)) >= cards:
            raise AwsError("InvalidParameterValue", f"{kind} has no network card {spec['NetworkCardIndex']}")


def _profile(cloud: Cloud, ec2: Any, data: dict[str, Any]) -> Any:
    wanted = data.get("IamInstanceProfile") or {}
    if not wanted:
        return None
    found = None
    with contextlib.suppress(ServiceException):  # IAM's own error: EC2 has another one for it
        found = filter_iam_instance_profiles(
            cloud.account,
            partition=ec2.partition,
            iam_instance_profile_arn=wanted.get("Arn"),
            iam_instance_profile_name=wanted.get("Name"),
        )
    return consistency.checked_profile(cloud, wanted, found)


def _default_subnet(ec2: Any) -> str | None:
    found = sorted(subnet.id for subnet in ec2.get_default_subnets().values())
    return found[0] if found else None


def _count(cloud: Cloud, ec2: Any, data: dict[str, Any], specs: list[dict[str, Any]]) -> int:
    """How many of MinCount to MaxCount there is room for. Raises when it is less than MinCount."""
    low, high = int(data.get("MinCount", 1)), int(data.get("MaxCount", 1))
    room = high
    for subnet in {spec["SubnetId"] for spec in specs if spec.get("SubnetId")}:
        each = sum(spec.get("SubnetId") == subnet for spec in specs)
        room = min(room, interfaces.free_addresses(ec2, ec2.get_subnet(subnet)) // each)
    if room < low:
        raise AwsError(
            "InsufficientFreeAddressesInSubnet",
            f"There are not enough free addresses in the subnet to satisfy the requested number of instances ({low}).",
        )
    faults, kind = cloud.store(Faults, ec2.region_name), data["InstanceType"]
    capacity = min(room, faults.capacity.get(kind, room))
    if capacity < low:
        raise AwsError(
            "InsufficientInstanceCapacity",
            f"We currently do not have sufficient {kind} capacity in the Availability Zone you requested.",
            status=500,
        )
    limits.check(cloud, ec2.region_name, data, low)
    if kind in faults.capacity and not data.get("DryRun"):
        faults.capacity[kind] -= capacity
    return capacity


def _make(
    cloud: Cloud, region: str, data: dict[str, Any], version: Any, specs: list[dict[str, Any]], count: int
) -> Any:
    """Make moto's instances, each on interfaces of ours. All or none."""
    ec2 = backend(region)
    made: list[list[Any]] = []
    try:
        for _ in range(count):
            made.append([_interface(region, spec, data) for spec in specs])
    except Exception:
        for interface in (item for group in made for item in group if item.instance is None):
            if interface.delete_on_termination:
                interfaces.release(region, interface)
        raise
    reservation = None
    for index, group in enumerate(made):
        single = _make_one(ec2, data, version, group)
        instance = single.instances[0]
        instance.ami_launch_index = index
        _finish(cloud, region, instance, data, group)
        if reservation is None:
            reservation = single
        else:
            reservation.instances.append(instance)
            del ec2.reservations[single.id]
    return reservation


def _interface(region: str, spec: dict[str, Any], data: dict[str, Any]) -> Any:
    if identity := spec.get("NetworkInterfaceId"):
        found = backend(region).get_network_interface(identity)
        if found.instance is not None:
            raise AwsError("InvalidNetworkInterface.InUse", f"Interface: [{identity}] in use.")
        found.delete_on_termination = bool(spec.get("DeleteOnTermination", False))
        return found
    return interfaces.make(region, spec, tags_of(data, "network-interface"))


def _make_one(ec2: Any, data: dict[str, Any], version: Any, group: list[Any]) -> Any:
    tags = {kind: tags_of(data, kind) for kind in ("instance", "volume")}
    if version is not None:
        tags["instance"] |= {
            "aws:ec2launchtemplate:id": version.template.id,
            "aws:ec2launchtemplate:version": str(version.number),
        }
    volumes = [
        {**mapping, "Ebs": {"VolumeSize": 8, "DeleteOnTermination": True, **mapping["Ebs"]}}
        for mapping in data.get("BlockDeviceMappings") or []
        if "Ebs" in mapping
    ]
    return ec2.run_instances(
        data["ImageId"],
        1,
        Base64EncodedString(str(data["UserData"])) if data.get("UserData") else None,
        [],
        instance_type=data["InstanceType"],
        is_instance_type_default=False,
        region_name=ec2.region_name,
        nics=[{"DeviceIndex": index, "NetworkInterfaceId": item.id} for index, item in enumerate(group)],
        tags=tags,
        metadata_options=data.get("MetadataOptions") or {},
        disable_api_termination=bool(data.get("DisableApiTermination")),
        ebs_optimized=bool(data.get("EbsOptimized")),
        monitoring_state="enabled" if (data.get("Monitoring") or {}).get("Enabled") else "disabled",
        instance_initiated_shutdown_behavior=data.get("InstanceInitiatedShutdownBehavior"),
        client_token=data.get("ClientToken"),
        **({"block_device_mappings": volumes} if volumes else {}),
    )


def _finish(cloud: Cloud, region: str, instance: Instance, data: dict[str, Any], group: list[Any]) -> None:
    """What moto gets wrong of an instance on given interfaces: its zone, its placement, its cards."""
    primary = group[0]
    instance._subnet_id = primary.subnet.id
    instance._placement.zone = primary.subnet.availability_zone
    instance._placement.group_name = (data.get("Placement") or {}).get("GroupName") or ""
    instance.associate_public_ip = False
    cards = launch_places(data, len(group))
    for interface, (card, device) in zip(group, cards, strict=True):
        interface.network_card_index, interface.device_index = card, device
    market = (data.get("InstanceMarketOptions") or {}).get("MarketType", "on-demand")
    if market == "spot":
        instance.lifecycle = "spot"
    state = cloud.store(Ec2State, region)
    state.launched[instance.id] = Launched(
        user_data=decode_user_data(data.get("UserData")),
        market=market,
        shutdown=data.get("InstanceInitiatedShutdownBehavior") or "stop",
    )
    known = consistency.of(cloud)
    known.made(instance.id, now=cloud.clock(), longest=known.instances)


def launch_places(data: dict[str, Any], count: int) -> list[tuple[int, int]]:
    """Card and device index of each interface, in the order of `launch.interfaces_of`."""
    specs = data.get("NetworkInterfaces") or []
    if not specs:
        return [(0, index) for index in range(count)]
    return sorted((int(spec.get("NetworkCardIndex", 0)), int(spec.get("DeviceIndex", 0))) for spec in specs)


def _boot(cloud: Cloud, region: str, instance: Instance) -> None:
    set_state(instance, "pending")
    cloud.machines.launch(spec_of(cloud, region, instance))
    cloud.record("launch", instance=instance.id, type=instance.instance_type, address=instance.private_ip)


def spec_of(cloud: Cloud, region: str, instance: Instance) -> MachineSpec:
    """The machine that an instance is now."""
    subnet = instance.nics[0].subnet
    network = ipaddress.ip_network(subnet.cidr_block)
    options, launched = instance.metadata_options, cloud.store(Ec2State, region).launched[instance.id]
    gpus = INSTANCE_TYPES[instance.instance_type].get("GpuInfo", {}).get("Gpus", [])
    return MachineSpec(
        instance_id=instance.id,
        private_ip=str(instance.private_ip),
        prefix_length=network.prefixlen,
        gateway=str(network.network_address + 1),
        mac=instance.nics[0].mac_address,
        host_name=instance.private_dns_name.split(".", 1)[0],
        instance_type=instance.instance_type,
        gpus=sum(int(gpu.get("Count", 0)) for gpu in gpus if gpu.get("Manufacturer") == "NVIDIA"),
        user_data=launched.user_data,
        metadata=lambda: metadata.tree(cloud, region, instance),
        tokens_required=options.http_tokens == "required",
        hop_limit=options.http_put_response_hop_limit,
        metadata_enabled=options.http_endpoint != "disabled",
    )


# ---- states


def refresh_states(cloud: Cloud, call: Call) -> None:
    """Before anything that is asked about instances: pending ones whose machine runs are running."""
    for instance in backend(call.region).all_instances():
        if instance.state == "pending" and cloud.machines.state(instance.id) == "running":
            set_state(instance, "running")
    consistency.refuse_unknown(cloud, call)


@OPERATIONS.add("DescribeInstances")
def describe_instances(cloud: Cloud, call: Call) -> Answer:
    refresh_states(cloud, call)
    return consistency.listed(cloud, call)


@OPERATIONS.add("TerminateInstances")
def terminate_instances(cloud: Cloud, call: Call) -> Answer:
    consistency.refuse_unknown(cloud, call)
    instances = backend(call.region).get_multi_instances_by_id(call.params["InstanceIds"])
    protected = [instance for instance in instances if instance.disable_api_termination is True]
    # Half done, as on AWS: one that is protected saves those of its zone, and no others
    saved = {instance.placement.zone for instance in protected}
    dry_run(call.params)
    rows = []
    for instance in (each for each in instances if each.placement.zone not in saved):
        before = {"Code": instance.state_code, "Name": instance.state}
        if instance.state not in _GONE:
            begin_termination(
                cloud, call.region, instance, reason="Client.UserInitiatedShutdown: User initiated shutdown"
            )
        after = {"Code": instance.state_code, "Name": instance.state}
        rows.append({"InstanceId": instance.id, "CurrentState": after, "PreviousState": before})
    if protected:
        raise AwsError(
            "OperationNotPermitted",
            f"The instance '{protected[0].id}' may not be terminated. Modify its 'disableApiTermination' instance"
            " attribute.",
        )
    return {"TerminatingInstances": rows}


def begin_termination(cloud: Cloud, region: str, instance: Instance, *, reason: str) -> None:
    """Set an instance to shutting-down and end its machine on a thread of its own."""
    set_state(instance, "shutting-down")
    instance.state_reason = StateReason(reason, reason.split(":", 1)[0])
    threading.Thread(target=_terminate, args=(cloud, region, instance, reason), daemon=True).start()


def _terminate(cloud: Cloud, region: str, instance: Instance, reason: str) -> None:
    try:
        cloud.machines.terminate(instance.id)
    except Exception as error:  # the instance must not stay shutting-down for ever
        cloud.record("terminate failed", instance=instance.id, error=str(error))
    with cloud.store(Ec2State, region).lock:
        kept = [item for item in instance.nics.values() if not item.delete_on_termination]
        doomed = [item for item in instance.nics.values() if item.delete_on_termination]
        for item in kept:  # moto leaves them attached to the dead
            item.instance, item.attachment_id, item.attach_time, item.status = None, None, None, "available"
        for item in doomed:
            item.delete_on_termination = False  # moto's own deletion knows nothing of our addresses
        instance.terminate()
        for item in doomed:
            interfaces.release(region, item)
        set_state(instance, "terminated")
        security.refresh(cloud)
        instance.state_reason = StateReason(reason, reason.split(":", 1)[0])
    cloud.record("terminated", instance=instance.id, reason=reason)


def wait_until_gone(region: str, instance_id: str, *, timeout: float) -> None:
    """Wait until an instance is terminated. Raises after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    instance = backend(region).get_instance(instance_id)
    while instance.state != "terminated":
        if time.monotonic() > deadline:
            raise AwsError("RequestExpired", f"{instance_id} is still {instance.state} after {timeout:.0f} s")
        time.sleep(0.05)


def machine_ended(cloud: Cloud, instance_id: str) -> None:
    """A machine powered off, crashed or failed to boot: terminated or stopped, as its shutdown behaviour says."""
    for region, state in cloud.stores(Ec2State):
        if instance_id not in state.launched:
            continue
        instance = backend(region).get_instance(instance_id)
        if instance.state in _GONE:
            return
        reason = "Client.InstanceInitiatedShutdown: Instance initiated shutdown"
        if state.launched[instance_id].shutdown == "terminate":
            begin_termination(cloud, region, instance, reason=reason)
        else:
            set_state(instance, "stopped")
            security.refresh(cloud)
            instance.state_reason = StateReason(reason, reason.split(":", 1)[0])
        cloud.record("machine ended", instance=instance_id, state=instance.state)
