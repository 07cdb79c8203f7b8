"""EFA, the network between AWS machines, for NCCL through libfabric."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_AMAZON = "0x1d0f"
_WITHOUT_RDMA = ("0xefa0",)
"""PCI device ids of EFA that cannot read remote memory: the first generation, p3dn's. Source: the efa driver of Linux,
drivers/infiniband/hw/efa/efa_main.c and its EFA_DEV_CAP_RDMA_READ."""


def efa_devices(root: Path = Path("/sys/class/infiniband")) -> list[str]:
    """PCI device ids of this machine's EFA devices, such as 0xefa1; none where there is no EFA."""
    found = []
    for device in sorted(root.iterdir()) if root.is_dir() else []:
        try:
            vendor, identity = ((device / "device" / name).read_text().strip() for name in ("vendor", "device"))
        except OSError:
            continue  # a software device has no PCI entry
        if vendor == _AMAZON:
            found.append(identity)
    return found


def variables(devices: Sequence[str], *, interface: str) -> dict[str, str]:
    """What NCCL and libfabric should be told: the interface for its sockets, and EFA with GPUDirect RDMA where every
    device has it."""
    found = {"NCCL_SOCKET_IFNAME": interface}
    if devices:
        found["FI_PROVIDER"] = "efa"
        if not any(device in _WITHOUT_RDMA for device in devices):
            found["FI_EFA_USE_DEVICE_RDMA"] = "1"
    return found
