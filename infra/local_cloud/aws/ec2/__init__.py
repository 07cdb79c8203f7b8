"""EC2: what makes an instance a machine, and the few things that moto lacks or gets wrong.

launch.py      pure: a RunInstances request and its launch template become one description
instances.py   RunInstances, TerminateInstances, states that follow the machine
power.py       stop, start, reboot, and what may be changed on a stopped instance
interfaces.py  network interfaces with addresses that are really reserved
templates.py   launch template versions
metadata.py    the instance metadata tree
placement.py   placement groups
reservations.py capacity reservations
limits.py      quotas and scripted capacity
volumes.py     EBS volumes that machines really mount
consistency.py what EC2 does not know yet
network.py     deletions that AWS refuses while something depends on them
security.py    who reaches whom: groups, endpoints and routes, told to the machines' network
"""

from infra.local_cloud.aws.ec2 import instances, interfaces, network, placement, power, reservations, volumes
from infra.local_cloud.aws.ec2.table import OPERATIONS

__all__ = ["OPERATIONS", "instances", "interfaces", "network", "placement", "power", "reservations", "volumes"]
