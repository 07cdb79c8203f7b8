"""Refusals that a test or a rehearsal scripts while the local cloud runs: the file `faults.json` in its folder.

    {"capacity": {"p3dn.24xlarge": 0}, "quotas": {"L-417A185B": 96}}

capacity: how many instances of a type may exist at once; one more meets InsufficientInstanceCapacity. quotas: what the
account has of a quota, by its code; a launch over it meets VcpuLimitExceeded. Without the file nothing is refused. A
file that can't be read fails every request that looks at it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from infra.local_cloud.aws.cloud import Cloud

FILE = "faults.json"


@dataclass(frozen=True)
class Script:
    """What is scripted. `capacity`: instances by type; `quotas`: values by code."""

    capacity: Mapping[str, int] = field(default_factory=dict)
    quotas: Mapping[str, float] = field(default_factory=dict)


def read(cloud: Cloud) -> Script:
    """The script as it is now. Raises ValueError for a file that is none."""
    try:
        text = (cloud.state / FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return Script()
    value = json.loads(text)
    if not isinstance(value, dict) or set(value) - {"capacity", "quotas"}:
        raise ValueError(f"{FILE}: an object with the keys capacity and quotas is needed")
    return Script(capacity=dict(value.get("capacity", {})), quotas=dict(value.get("quotas", {})))
