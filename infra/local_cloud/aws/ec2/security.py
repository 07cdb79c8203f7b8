"""From EC2's state to what passes in the machines' network: groups and interfaces, endpoints, routes, file systems.

`refresh` after whatever may change it. A machine reaches a service of AWS as on AWS: by an interface endpoint with
private DNS, whose group and the machine's own let port 443 through; S3 by a gateway endpoint in the route table of the
machine's subnet; either by a NAT gateway. Endpoint policies and network ACLs are not looked at.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any

from infra.local_cloud.aws.cloud import Cloud
from infra.local_cloud.aws.ec2.table import Ec2State, backend
from infra.local_cloud.aws.operations import Call
from infra.local_cloud.machines.firewall import Group, Interface, Network, Permission, reaches
from infra.local_cloud.machines.services import OTHER_ADDRESS, SERVICES, Service

HTTPS = 443
# The ports of Lustre's network. Source: FSx for Lustre user guide, "File system access control with Amazon VPC"
LUSTRE = (988, *range(1018, 1024))
GATEWAY_SERVICES = ("s3",)
# An address out in the world for every service; S3's lies in the range of its prefix list
_WORLD = "198.51.100.1"
_PUBLIC = {"s3": "52.216.0.1"}
_ON_THE_NETWORK = frozenset({"pending", "running", "shutting-down"})
_EVERYWHERE = "0.0.0.0/0"


class Applied:
    """What the machines' network was last told; the lock keeps an older state from overtaking a newer one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.network = Network()


def refresh(cloud: Cloud, call: Call | None = None) -> None:
    """Tell the machines' network how things are now. Raises `MachineError`."""
    applied = cloud.store(Applied, "")
    with applied.lock:
        applied.network = network(cloud)
        cloud.machines.set_network(applied.network)


def answers(cloud: Cloud, address: str, service: str) -> bool:
    """Whether the machine at an address reaches a service of AWS, as last told to its network."""
    return (address, SERVICES[service].address) in cloud.store(Applied, "").network.services


def lustre_among(region: str, group_ids: Iterable[str]) -> bool:
    """Whether these groups let servers that are in them reach each other by Lustre's first port."""
    ec2 = backend(region)
    found = {identity: _group(ec2, ec2.get_security_group_from_id(identity)) for identity in group_ids}
    server = Interface(_WORLD, "one", frozenset(found))
    return reaches(found, server, server, "tcp", LUSTRE[0])


def network(cloud: Cloud) -> Network:
    """What all regions' EC2 states say of who reaches whom."""
    groups: dict[str, Group] = {}
    machines: list[Interface] = []
    services: set[tuple[str, str]] = set()
    mounts: set[tuple[str, str]] = set()
    for region, _ in cloud.stores(Ec2State):
        ec2 = backend(region)
        groups |= {group.id: _group(ec2, group) for each in list(ec2.groups.values()) for group in list(each.values())}
        for instance in list(ec2.all_instances()):
            if instance.state in _ON_THE_NETWORK:
                machine = _interface(instance.nics[0])
                machines.append(machine)
                subnet = instance.nics[0].subnet
                services |= {(machine.address, found) for found in _services(ec2, groups, machine, subnet)}
                mounts |= {(machine.address, found) for found in _file_systems(ec2, groups, machine)}
    return Network(tuple(machines), groups, frozenset(services), frozenset(mounts))


def _interface(interface: Any) -> Interface:
    groups = frozenset(group.id for group in interface.group_set)
    return Interface(interface.private_ip_address, interface.subnet.vpc_id, groups)


def _group(ec2: Any, group: Any) -> Group:
    return Group(
        tuple(each for rule in list(group.ingress_rules) for each in _permissions(ec2, rule)),
        tuple(each for rule in list(group.egress_rules) for each in _permissions(ec2, rule)),
    )


def _permissions(ec2: Any, rule: Any) -> Iterator[Permission]:
    """moto's rule, once for each peer that it names; addresses of IPv6 there are none here."""
    peers = [rule.ip_range.get("CidrIp"), rule.source_group.get("GroupId")]
    if rule.prefix_list_id:
        known = ec2.managed_prefix_lists.get(rule.prefix_list_id)
        peers += [entry["Cidr"] for entry in (known.entries.get(known.version or 1, []) if known else [])]
    for peer in filter(None, peers):
        yield Permission(
            str(rule.ip_protocol),
            peer,
            -1 if rule.from_port is None else int(rule.from_port),
            -1 if rule.to_port is None else int(rule.to_port),
        )


# ---- to AWS


def _services(ec2: Any, groups: dict[str, Group], machine: Interface, subnet: Any) -> Iterator[str]:
    """The addresses, here, of the services that answer a machine."""
    out = _leads_out(ec2, subnet)
    for service in SERVICES.values():
        world = Interface(_PUBLIC.get(service.name, _WORLD))
        if (
            (out and reaches(groups, machine, world, "tcp", HTTPS))
            or any(reaches(groups, machine, door, "tcp", HTTPS) for door in _doors(ec2, service, machine.vpc))
            or (_by_gateway(ec2, service, subnet) and reaches(groups, machine, world, "tcp", HTTPS))
        ):
            yield service.address
    if out and reaches(groups, machine, Interface(_WORLD), "tcp", HTTPS):
        yield OTHER_ADDRESS


def _endpoints(ec2: Any, service: Service, kind: str) -> Iterator[Any]:
    wanted = f"com.amazonaws.{ec2.region_name}.{service.suffix}"
    for endpoint in list(ec2.vpc_end_points.values()):
        right = endpoint.service_name == wanted and (endpoint.vpc_endpoint_type or "Gateway") == kind
        if right and endpoint.state == "available":
            yield endpoint


def _doors(ec2: Any, service: Service, vpc: str) -> Iterator[Interface]:
    """The interfaces of a service's endpoints in a network to which the service's own name leads."""
    for endpoint in _endpoints(ec2, service, "Interface"):
        if endpoint.vpc_id == vpc and str(endpoint.private_dns_enabled).lower() == "true":
            for identity in endpoint.network_interface_ids:
                if identity in ec2.enis:
                    yield Interface(ec2.enis[identity].private_ip_address, vpc, frozenset(endpoint.security_group_ids))


def _by_gateway(ec2: Any, service: Service, subnet: Any) -> bool:
    table = _route_table(ec2, subnet)
    return service.name in GATEWAY_SERVICES and any(
        table is not None and table.id in (endpoint.route_table_ids or [])
        for endpoint in _endpoints(ec2, service, "Gateway")
    )


def _route_table(ec2: Any, subnet: Any) -> Any:
    """The route table of a subnet: its own, or the main one of its network."""
    tables = [table for table in list(ec2.route_tables.values()) if table.vpc_id == subnet.vpc_id]
    own = [table for table in tables if subnet.id in table._associations.values()]
    return next(iter(own or [table for table in tables if table.main_association_id is not None]), None)


def _leads_out(ec2: Any, subnet: Any) -> bool:
    """Whether a subnet's default route is a NAT gateway that has one to the internet itself.

    Machines here have no public address, so an internet gateway alone leads nowhere.
    """
    for route in _default_routes(ec2, subnet):
        if route.nat_gateway is not None:
            outer = ec2.get_subnet(route.nat_gateway.subnet_id)
            return any(str(each.gateway_id).startswith("igw-") for each in _default_routes(ec2, outer))
    return False


def _default_routes(ec2: Any, subnet: Any) -> list[Any]:
    table = _route_table(ec2, subnet)
    return [route for route in table.routes if route.destination_cidr_block == _EVERYWHERE] if table else []


# ---- to file systems


def _file_systems(ec2: Any, groups: dict[str, Group], machine: Interface) -> Iterator[str]:
    """The file systems to and from which Lustre's ports are open, and whose servers reach each other by them."""
    for interface in list(ec2.enis.values()):
        if identity := getattr(interface, "file_system_id", ""):
            servers = _interface(interface)
            ways = ((machine, servers), (servers, machine), (servers, servers))
            if all(reaches(groups, a, b, "tcp", port) for a, b in ways for port in LUSTRE):
                yield identity
