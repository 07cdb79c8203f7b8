"""The seam between the AWS API (`infra.local_cloud.aws`) and the machines: what EC2, FSx and SSM ask of them.

Errors: everything raised on purpose is a `MachineError`; `run` also raises `TimeoutError`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from .firewall import Network

MachineState = Literal["pending", "running", "stopped"]
MetadataTree = Mapping[str, str | bytes]
WsgiApp = Callable[..., Any]

API_ADDRESS = "169.254.169.252"
"""Where machines look for AWS's services that have no address of their own (`services`); same port as on the host's
127.0.0.1."""
METADATA_ADDRESS = "169.254.169.254"
"""Where machines reach their instance metadata, port 80."""


class MachineError(Exception):
    """Something that was asked of a machine could not be done; says what, why, and what to do."""


@dataclass(frozen=True)
class MachineSpec:
    """One EC2 instance as a machine needs to know it.

    `metadata` gives the whole IMDS tree, keyed without the leading `/latest/` (`meta-data/instance-id`, `user-data`,
    `dynamic/instance-identity/document`); it is called at each request, from any thread. `mac` is the primary
    interface's. `hop_limit` is HttpPutResponseHopLimit: the IP time to live of the answer that carries a token.
    `metadata_enabled` false is HttpEndpoint=disabled: every request is refused with 403.
    """

    instance_id: str
    private_ip: str
    prefix_length: int
    gateway: str
    mac: str
    host_name: str
    instance_type: str
    gpus: int
    user_data: bytes
    metadata: Callable[[], MetadataTree]
    tokens_required: bool
    hop_limit: int = 1
    metadata_enabled: bool = True


class Machines(Protocol):
    """The machines of one local cloud. Every method may be called from any thread."""

    on_exit: Callable[[str], None] | None
    """Called with the instance id, on a thread of ours, when a machine ended by itself (power-off, crash, failed boot);
    never for one that reboots, or that `terminate`, `power_off`, `crash` or `stop` ended."""

    def launch(self, spec: MachineSpec) -> None:
        """Start a machine and return at once; `state` says "pending" until its pid 1 runs."""

    def terminate(self, instance_id: str) -> None:
        """Shut a machine down (a few seconds of grace, then the plug) and wait until it is dead. Idempotent."""

    def power_off(self, instance_id: str) -> None:
        """Shut a machine down as `terminate` does, and keep what it wrote and its volumes. Raises `MachineError`."""

    def power_on(self, spec: MachineSpec) -> None:
        """Start a machine that is "stopped" again, on what it wrote, and return at once. Raises `MachineError`."""

    def reboot(self, instance_id: str) -> None:
        """`power_off`, then `power_on`. Raises `MachineError`."""

    def crash(self, instance_id: str) -> None:
        """Pull the plug: every process dies at once, nothing is stopped cleanly. Idempotent; `on_exit` is not
        called.
        """

    def state(self, instance_id: str) -> MachineState | None:
        """How the machine is; "stopped" when it ended by itself or was powered off; None for an unknown one."""

    def run(
        self,
        instance_id: str,
        *,
        argv: Sequence[str],
        env: Mapping[str, str],
        stdout: Path,
        stderr: Path,
        timeout: float,
    ) -> int:
        """Run a command as root on the machine, as its SSM agent would, and return its exit code (128+N by signal N).

        Waits up to 30 s for the machine to be up (else `MachineError`) and for the process, not its orphans. `env` is
        added to a plain PATH and LANG. Raises `TimeoutError` after `timeout` seconds, when its process group is dead.
        """

    def add_file_system(self, file_system_id: str, *, dns_name: str, mount_name: str) -> Path:
        """Make a Lustre file system known (not available yet) and return the folder of this host that holds it."""

    def set_file_system_available(self, file_system_id: str, available: bool) -> None:
        """Let `mount` succeed, or fail as it does for a file system that is not AVAILABLE."""

    def remove_file_system(self, file_system_id: str) -> None:
        """Forget a file system and delete its folder. Machines that have it mounted keep what they hold open."""

    def add_volume(self, volume_id: str) -> None:
        """Make an EBS volume with nothing on it, a folder of this host."""

    def remove_volume(self, volume_id: str) -> None:
        """Forget a volume and delete its folder; unknown ones are fine."""

    def attach_volume(self, instance_id: str, volume_id: str) -> None:
        """Show a volume to a machine as a disk; waits until the machine is up and has it. Raises `MachineError`."""

    def detach_volume(self, instance_id: str, volume_id: str) -> bool:
        """Take a volume from a running machine; False, and nothing is done, while it is mounted there.

        A machine that is terminated gives its volumes back by itself.
        """

    def serve_api(self, app: WsgiApp) -> None:
        """Serve the AWS API in the machines' network too, at the services' addresses and the local cloud's port."""

    def set_network(self, network: Network) -> None:
        """Say who reaches whom from now on, all at once; before the first call nobody reaches anything.

        Raises `MachineError` when this host's kernel does not take the rules.
        """

    def start(self) -> None:
        """Make the network and the image; after it machines can be launched."""

    def stop(self) -> None:
        """End every machine and take the network down. Idempotent."""
