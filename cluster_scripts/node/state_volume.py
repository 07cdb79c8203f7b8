"""The head's volume for what outlives the machine: Slurm's state, and the agent's.

    /var/lib/dure/slurm/    slurmctld's StateSaveLocation: queue, job numbers, nodes; and which jobs have ended
    /var/lib/dure/agent/    how far the agent has sent each log

The volume is the cluster's, not the machine's: a head that takes the place of another finds what that one left. It is
formatted only when there is nothing on it at all.
"""

from __future__ import annotations

from typing import Protocol

from cluster_scripts.jobs.errors import StepFailed
from cluster_scripts.node.system import System

MOUNT_POINT = "/var/lib/dure"
#: The name that EC2 wants; a machine with NVMe disks gives them names of its own.
DEVICE_NAME = "/dev/sdf"
FILE_SYSTEM = "ext4"
LABEL = "dure-state"

#: The head before may still be on its way out, and holds the volume until then: seconds, and between two tries.
ATTACH_SECONDS = 600
ATTACH_PAUSE = 2.0
FORMAT_SECONDS = 300

# blkid's exit code for a disk on which it knows nothing. Source: blkid(8)
_NOTHING = 2


class Services(Protocol):
    """What is asked of AWS; backends.aws.node_services.NodeServices is one."""

    def attach_volume(self, volume_id: str, *, instance_id: str, device: str) -> bool: ...


def device_of(volume_id: str) -> str:
    """Where a machine shows an EBS volume: by the volume's id, which is the serial number of its NVMe disk."""
    return f"/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{volume_id.replace('-', '')}"


def mount(system: System, services: Services, *, volume_id: str, instance_id: str) -> None:
    """Attach, format if empty, mount and grow the volume. A second call changes nothing.

    StepFailed when it can't be attached in time, or holds something that is no file system of ours.
    """
    system.folder(MOUNT_POINT)
    device = device_of(volume_id)
    if system.run(["mountpoint", "--quiet", MOUNT_POINT]).code:
        _attach(system, services, volume_id, instance_id, device)
        _format(system, device)
        system.check(["mount", "-t", FILE_SYSTEM, "-o", "noatime", device, MOUNT_POINT])
    # the volume may have grown since; on one that has not, nothing happens
    system.check(["resize2fs", device], timeout=FORMAT_SECONDS)


def _attach(system: System, services: Services, volume_id: str, instance_id: str, device: str) -> None:
    def there() -> bool:
        if system.path(device).exists():
            return True
        services.attach_volume(volume_id, instance_id=instance_id, device=DEVICE_NAME)
        return system.path(device).exists()

    what = f"{volume_id} is attached and shows as {device} (does another machine hold it? has the head NVMe disks?)"
    system.until(what, there, seconds=ATTACH_SECONDS, pause=ATTACH_PAUSE)


def _format(system: System, device: str) -> None:
    """Make a file system, but only on a disk that is empty: a look that fails is no reason to wipe a queue."""
    looked = system.run(["blkid", "-p", "-o", "value", "-s", "TYPE", device])
    kind = looked.stdout.strip()
    if looked.code == 0 and kind == FILE_SYSTEM:
        return
    if looked.code != _NOTHING or kind:
        said = kind or looked.stderr.strip() or "nothing"
        raise StepFailed(
            f"{device} holds no {FILE_SYSTEM} and is not empty either (blkid ended with {looked.code} and said: "
            f"{said}); nothing was changed. Look at the volume by hand"
        )
    system.check([f"mkfs.{FILE_SYSTEM}", "-q", "-L", LABEL, device], timeout=FORMAT_SECONDS)
