"""Network interfaces: addresses that nobody else gets, cards, EFA, and deletion that AWS would refuse."""

from __future__ import annotations

import ipaddress
from typing import Any

from moto.ec2.models.elastic_network_interfaces import Attachment, NetworkInterface

from infra.local_cloud.aws.cloud import Cloud
from infra.local_cloud.aws.ec2 import security
from infra.local_cloud.aws.ec2.table import OPERATIONS, Ec2State, backend, dry_run, tags_of
from infra.local_cloud.aws.errors import AwsError
from infra.local_cloud.aws.operations import Answer, Call

KINDS = frozenset({"interface", "efa", "efa-only"})
_RESERVED = 4  # the subnet's address, its router, its name server, one kept by AWS; the broadcast address too


class CardInterface(NetworkInterface):
    """moto's interface, with the network card that it sits on."""

    network_card_index = 0
    file_system_id = ""  # of the file system whose servers it stands for

    @property
    def attachment(self) -> Attachment | None:
        """How it is attached, if it is."""
        found = super().attachment
        if found is not None:
            found.network_card_index = self.network_card_index
        return found


def find_address(ec2: Any, subnet: Any, wanted: str | None) -> str:
    """A free address of a subnet: the wanted one, or the lowest. Raises as EC2 does.

    It is taken once an interface with it is in `ec2.enis`: hold the region's lock until then.
    """
    used = {item["PrivateIpAddress"] for eni in ec2.enis.values() for item in eni.private_ip_addresses}
    network = ipaddress.ip_network(subnet.cidr_block)
    if wanted is not None:
        address = ipaddress.ip_address(wanted)
        if address not in network or int(address) - int(network.network_address) < _RESERVED:
            raise AwsError("InvalidParameterValue", f"Address {wanted} does not fall within the subnet's address range")
        if wanted in used:
            raise AwsError("InvalidIPAddress.InUse", f"Address {wanted} is in use.")
        return wanted
    for number in range(_RESERVED, network.num_addresses - 1):
        candidate = str(network.network_address + number)
        if candidate not in used:
            return candidate
    raise AwsError(
        "InsufficientFreeAddressesInSubnet",
        f"There are not enough free addresses in subnet '{subnet.id}' to satisfy the requested number of instances.",
    )


def free_addresses(ec2: Any, subnet: Any) -> int:
    """How many more interfaces a subnet has addresses for."""
    network = ipaddress.ip_network(subnet.cidr_block)
    used = {eni.private_ip_address for eni in ec2.enis.values() if eni.subnet.id == subnet.id}
    return network.num_addresses - _RESERVED - 1 - len(used)


def make(region: str, spec: dict[str, Any], tags: dict[str, str]) -> CardInterface:
    """Make an interface from a RunInstances or CreateNetworkInterface specification."""
    ec2 = backend(region)
    kind = spec.get("InterfaceType") or "interface"
    if kind not in KINDS:
        raise AwsError(
            "InvalidParameterValue", f"Invalid value '{kind}' for InterfaceType, allowed: {', '.join(sorted(KINDS))}"
        )
    subnet = ec2.get_subnet(spec["SubnetId"])
    groups = list(spec.get("Groups") or [])
    for group in groups:
        found = ec2.get_security_group_from_id(group)
        if found is None:
            raise AwsError("InvalidGroup.NotFound", f"The security group '{group}' does not exist")
        if found.vpc_id != subnet.vpc_id:
            raise AwsError(
                "InvalidParameterValue", f"Security group {group} and subnet {subnet.id} belong to different networks."
            )
    made = CardInterface(  # type: ignore[abstract]  # moto never implements them for interfaces either
        ec2,
        subnet,
        find_address(ec2, subnet, spec.get("PrivateIpAddress")),
        group_ids=groups,
        description=spec.get("Description"),
        tags=tags,
        delete_on_termination=bool(spec.get("DeleteOnTermination", True)),
    )
    made.interface_type = kind
    made.network_card_index = int(spec.get("NetworkCardIndex", 0))
    ec2.enis[made.id] = made
    return made


def release(region: str, interface: Any) -> None:
    """Delete an interface; its addresses are free again."""
    backend(region).enis.pop(interface.id, None)


def own_endpoint_interfaces(cloud: Cloud, call: Call) -> None:
    """After CreateVpcEndpoint: moto's interfaces have addresses outside their subnets; make them ours."""
    ec2 = backend(call.region)
    with cloud.store(Ec2State, call.region).lock:
        for endpoint in ec2.vpc_end_points.values():
            for identity in endpoint.network_interface_ids or []:
                foreign = ec2.enis.get(identity)
                if foreign is None or isinstance(foreign, CardInterface):
                    continue
                del ec2.enis[identity]
                spec = {
                    "SubnetId": foreign.subnet.id,
                    "Groups": endpoint.security_group_ids,
                    "DeleteOnTermination": False,
                }
                made = make(call.region, {**spec, "Description": f"VPC Endpoint Interface {endpoint.id}"}, {})
                del ec2.enis[made.id]
                made.id, made.requester_managed, made.interface_type = identity, True, "vpc_endpoint"
                ec2.enis[identity] = made
    security.refresh(cloud)


def forget_deleted_endpoints(cloud: Cloud, call: Call) -> None:
    """After DeleteVpcEndpoints: moto lists the deleted for ever."""
    points = backend(call.region).vpc_end_points
    for identity in [name for name, item in points.items() if item.state == "deleted"]:
        del points[identity]
    security.refresh(cloud)


@OPERATIONS.add("CreateNetworkInterface")
def create_network_interface(cloud: Cloud, call: Call) -> Answer:
    dry_run(call.params)
    with cloud.store(Ec2State, call.region).lock:
        spec = {**call.params, "DeleteOnTermination": False}
        made = make(call.region, spec, tags_of(call.params, "network-interface"))
    return {"NetworkInterface": describe(made)}


def describe(interface: NetworkInterface) -> dict[str, Any]:
    """The NetworkInterface shape of a new interface."""
    return {
        "NetworkInterfaceId": interface.id,
        "SubnetId": interface.subnet_id,
        "VpcId": interface.vpc_id,
        "AvailabilityZone": interface.availability_zone,
        "PrivateIpAddress": interface.private_ip_address,
        "MacAddress": interface.mac_address,
        "InterfaceType": interface.interface_type,
        "Status": interface.status,
        "Description": interface.description,
        "Groups": [{"GroupId": group.id, "GroupName": group.name} for group in interface.group_set],
        "OwnerId": interface.owner_id,
        "TagSet": [{"Key": tag["key"], "Value": tag["value"]} for tag in interface.get_tags()],
    }


@OPERATIONS.add("DeleteNetworkInterface")
def delete_network_interface(cloud: Cloud, call: Call) -> Answer:
    dry_run(call.params)
    with cloud.store(Ec2State, call.region).lock:
        interface = backend(call.region).get_network_interface(call.params["NetworkInterfaceId"])
        if interface.instance is not None:
            raise AwsError("InvalidParameterValue", f"Network interface '{interface.id}' is currently in use.")
        release(call.region, interface)
    return {}
