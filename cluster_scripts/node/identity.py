"""Who this machine is: what EC2's instance metadata service (version 2) says of it.

The tags that say what the machine is for are in there too (the launch template switches that on).
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cluster_scripts.jobs.errors import StepFailed
from cluster_scripts.node.system import System

ADDRESS = "169.254.169.254"
HEAD, COMPUTE = "head", "compute"
#: What the head is called where nodes have their Slurm names.
HEAD_NODE = "head"

FILE = "/etc/dure/identity.json"
TOKEN_SECONDS = 300
# Tags of an instance that CloudFormation makes can come a moment after it
TAG_SECONDS = 60

Request = Callable[[str, str, Mapping[str, str]], str | None]


def request(method: str, path: str, headers: Mapping[str, str]) -> str | None:
    """One request to the metadata service; None for a path that it has not. StepFailed when it does not answer."""
    wanted = urllib.request.Request(f"http://{ADDRESS}/latest/{path}", method=method, headers=dict(headers))
    try:
        # never through a proxy: what answers there would not be this machine's own service
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(wanted, timeout=5) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise StepFailed(f"the metadata service said {error.code} to {method} /latest/{path}") from error
    except OSError as error:
        raise StepFailed(f"the metadata service does not answer {method} /latest/{path}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Identity:
    """One machine. `queue` and `launch` are "" on the head; `node` is "" until a compute machine knows its name."""

    cluster: str
    role: str
    queue: str
    node: str
    instance_id: str
    region: str
    instance_type: str
    private_ip: str
    launch: str

    def to_json(self) -> str:
        """What other programs on the machine read, without secrets and without what changes."""
        keys = ("cluster", "role", "queue", "node", "instance_id", "region", "instance_type")
        return json.dumps({key: getattr(self, key) for key in keys}) + "\n"


class Metadata:
    """A session with the metadata service."""

    def __init__(self, ask: Request = request) -> None:
        self._ask = ask
        self._token: str | None = None

    def get(self, path: str) -> str | None:
        """The value at a path below /latest/meta-data/; None if there is none."""
        if self._token is None:
            self._token = self._ask("PUT", "api/token", {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)})
            if not self._token:
                raise StepFailed("the metadata service gives no session token: is version 2 switched on?")
        return self._ask("GET", f"meta-data/{path}", {"X-aws-ec2-metadata-token": self._token})

    def need(self, path: str) -> str:
        """Like `get`; StepFailed if there is none."""
        value = self.get(path)
        if value is None:
            raise StepFailed(f"the metadata service has no {path}; are tags allowed in the instance metadata?")
        return value


def identify(system: System, metadata: Metadata) -> Identity:
    """Ask the metadata service who we are. Waits for the tags, which may come a moment after the machine."""
    tag = "tags/instance/dure:"
    system.until(
        f"the tag dure:role of this instance ({metadata.get('instance-id')})",
        lambda: metadata.get(f"{tag}role") is not None,
        seconds=TAG_SECONDS,
        pause=0.2,
    )
    role = metadata.need(f"{tag}role")
    if role not in (HEAD, COMPUTE):
        raise StepFailed(f"the tag dure:role is {role!r}, expected {HEAD} or {COMPUTE}")
    head = role == HEAD
    return Identity(
        cluster=metadata.need(f"{tag}cluster"),
        role=role,
        queue="" if head else metadata.need(f"{tag}queue"),
        node=HEAD_NODE if head else "",
        instance_id=metadata.need("instance-id"),
        region=metadata.need("placement/region"),
        instance_type=metadata.need("instance-type"),
        private_ip=metadata.need("local-ipv4"),
        launch="" if head else metadata.need(f"{tag}launch"),
    )
