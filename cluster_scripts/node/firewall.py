"""Who may reach the instance metadata service, and with it the machine's role: root, and on the head Slurm's own user.

A job runs as another user, so it has no credentials but those that it brings along.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster_scripts.node.identity import ADDRESS
from cluster_scripts.node.system import System

#: The same service over IPv6.
ADDRESS_6 = "fd00:ec2::254"
TABLE = "dure_metadata"


def rules(allowed: Sequence[int]) -> str:
    """An nft script that replaces our table: it can be loaded again and again, and never leaves the service open."""
    users = ", ".join(str(uid) for uid in sorted({0, *allowed}))
    return f"""table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
    chain output {{
        type filter hook output priority filter; policy accept;
        ip daddr {ADDRESS} meta skuid != {{ {users} }} reject with icmp admin-prohibited
        ip6 daddr {ADDRESS_6} meta skuid != {{ {users} }} reject with icmpv6 admin-prohibited
    }}
}}
"""


def close(system: System, allowed: Sequence[int]) -> None:
    """Load the rules. StepFailed where that fails: a machine without them must not take jobs."""
    system.check(["nft", "-f", "-"], input=rules(allowed))
