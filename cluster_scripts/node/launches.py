"""Which instance is which node: one object in the cluster's bucket for each launch, written by the head, read by the
nodes.

.dure/launches/LAUNCH_ID.json    {"launch": ID, "queue": "gpu", "nodes": {"i-0abc": "gpu-1"}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from cluster_scripts.jobs.errors import StepFailed


def key(launch: str) -> str:
    """The object of a launch."""
    return f".dure/launches/{launch}.json"


def content(launch: str, *, queue: str, nodes: Mapping[str, str]) -> bytes:
    """Its content. `nodes`: instance id -> node name."""
    return json.dumps({"launch": launch, "queue": queue, "nodes": dict(nodes)}, sort_keys=True).encode()


def node_name(text: bytes, *, launch: str, instance_id: str) -> str:
    """The node that an instance is. StepFailed if the object is not that of this instance's launch."""
    try:
        entry = json.loads(text)
        name, written = entry["nodes"][instance_id], entry["launch"]
    except (ValueError, KeyError, TypeError) as error:
        raise StepFailed(f"{key(launch)} does not name {instance_id}: {text[:300]!r}") from error
    if written != launch or not isinstance(name, str):
        raise StepFailed(f"{key(launch)} is that of launch {written!r}: {text[:300]!r}")
    return name
