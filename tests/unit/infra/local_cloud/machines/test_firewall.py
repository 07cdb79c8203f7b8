"""What passes between interfaces by their security groups: the judge, and the ruleset that says the same."""

from __future__ import annotations

import subprocess

import pytest

from infra.local_cloud.machines.firewall import Group, Interface, Network, Permission, reaches, ruleset

ANYWHERE = "0.0.0.0/0"
HEAD, NODE = Interface("10.0.0.5", "vpc-1", frozenset({"sg-head"})), Interface("10.0.0.9", "vpc-1", frozenset({"sg-n"}))
GROUPS = {
    "sg-head": Group(ingress=(Permission("tcp", "sg-n", 6817, 6817),), egress=(Permission("-1", "sg-n"),)),
    "sg-n": Group(
        ingress=(Permission("6", "10.0.0.0/29", 80, 90), Permission("icmp", "sg-head", 8, -1)),
        egress=(Permission("tcp", ANYWHERE, 6817, 6817), Permission("tcp", "sg-gone", 1, 2)),
    ),
}


@pytest.mark.parametrize(
    ("source", "target", "protocol", "port", "passes"),
    [
        (HEAD, NODE, "tcp", 80, True),
        (HEAD, NODE, "tcp", 90, True),
        (HEAD, NODE, "tcp", 91, False),
        (HEAD, NODE, "udp", 80, False),
        (NODE, HEAD, "tcp", 6817, True),
        (NODE, HEAD, "tcp", 6818, False),
        (NODE, HEAD, "tcp", 80, False),
        (NODE, Interface("198.51.100.1"), "tcp", 6817, True),
        (HEAD, Interface("198.51.100.1"), "tcp", 6817, False),
        (HEAD, Interface(NODE.address, "vpc-2", NODE.groups), "tcp", 80, False),
        (Interface("10.0.0.9", "vpc-1", HEAD.groups), NODE, "tcp", 80, False),
        (Interface("10.0.0.6", "vpc-1", frozenset({"sg-unknown"})), NODE, "tcp", 80, False),
    ],
)
def test_both_sides_must_let_a_flow_through(
    source: Interface, target: Interface, protocol: str, port: int, passes: bool
) -> None:
    assert reaches(GROUPS, source, target, protocol, port) is passes


def test_one_group_of_several_is_enough() -> None:
    both = Interface(HEAD.address, "vpc-1", frozenset({"sg-unknown", "sg-head"}))
    assert reaches(GROUPS, both, NODE, "tcp", 80)


NETWORK = Network(machines=(HEAD, NODE), groups=GROUPS, services=frozenset({(HEAD.address, "169.254.168.2")}))
RULES = """table ip cloud
delete table ip cloud
table ip cloud {
  set sg_head {
    type ipv4_addr
    elements = { 10.0.0.5 }
  }
  set sg_n {
    type ipv4_addr
    elements = { 10.0.0.9 }
  }
  set vpc_1 {
    type ipv4_addr
    elements = { 10.0.0.5, 10.0.0.9 }
  }
  set services {
    type ipv4_addr . ipv4_addr
    elements = { 10.0.0.5 . 169.254.168.2 }
  }
  chain ingress {
    ip daddr @sg_head ip saddr @sg_n tcp dport 6817 accept
    ip daddr @sg_n ip saddr 10.0.0.0/29 tcp dport 80-90 accept
    ip daddr @sg_n ip saddr @sg_head icmp type 8 accept
  }
  chain egress {
    ip saddr @sg_head ip daddr @sg_n goto ingress
    ip saddr @sg_n ip daddr 0.0.0.0/0 tcp dport 6817 goto ingress
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    ip saddr @vpc_1 ip daddr @vpc_1 goto egress
  }
  chain input {
    type filter hook input priority filter; policy drop;
    ip daddr 169.254.169.254 tcp dport 80 accept
    ip saddr . ip daddr @services tcp dport 5055 accept
  }
}
"""


def test_the_ruleset_is_the_groups_and_the_same_for_the_same_state() -> None:
    assert ruleset(NETWORK, api_port=5055) == RULES
    turned = Network(machines=(NODE, HEAD), groups=dict(reversed(GROUPS.items())), services=NETWORK.services)
    assert ruleset(turned, api_port=5055) == RULES


def test_without_machines_nothing_passes_but_to_the_metadata() -> None:
    text = ruleset(Network(groups=GROUPS), api_port=1)
    assert text.count("accept") == 3 and "elements" not in text


@pytest.mark.parametrize(
    "permission",
    [
        Permission("tcp", ANYWHERE),
        Permission("17", ANYWHERE, 53, 53),
        Permission("icmp", "sg-head"),
        Permission("icmp", "255.255.255.255/32", 252, 86),
        Permission("47", "10.0.0.9/16"),
    ],
)
def test_nft_takes_every_kind_of_permission(permission: Permission) -> None:
    """Read by nft itself, which needs a network namespace even to check."""
    group = Group(ingress=(permission,), egress=(permission,))
    text = ruleset(Network((HEAD, NODE), {"sg-head": group, "sg-n": group}), api_port=5055)
    argv = ["unshare", "--map-root-user", "--net", "nft", "--check", "--file", "-"]
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), text
