"""What the plug-ins share: the machines, the state folder, clients to ourselves, and their own state by region."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from infra.local_cloud.aws.loopback import ACCESS_KEY, Loopback

if TYPE_CHECKING:
    from infra.local_cloud.machines.api import Machines

ACCOUNT = "123456789012"  # moto's default account; credentials of any kind lead to it
PARTITION = "aws"
State = TypeVar("State")


class Cloud:
    """One local cloud. `state` is its folder on disk, `port` the one that its API listens on."""

    def __init__(self, machines: Machines, *, state: Path, port: int, clock: Callable[[], float] = time.time) -> None:
        self.machines = machines
        self.state = state
        self.port = port
        self.clock = clock
        self.account = ACCOUNT
        self._app: Callable[..., Any] | None = None
        self._loopbacks: dict[str, Loopback] = {}
        self._lock = threading.RLock()
        self._stores: dict[tuple[type[Any], str], Any] = {}
        self._log = (state / "aws.jsonl").open("a", buffering=1)

    def connect(self, app: Callable[..., Any]) -> None:
        """Say which WSGI app answers `client`. Called once, by `build_app`."""
        self._app = app

    def client(self, service: str, region: str, *, access_key: str = ACCESS_KEY) -> Any:
        """A boto3 client to this very cloud, with its own hands' credentials or those of an access key."""
        if self._app is None:
            raise RuntimeError("the local cloud's app is not built yet")
        with self._lock:
            if access_key not in self._loopbacks:
                self._loopbacks[access_key] = Loopback(self._app, access_key=access_key)
        return self._loopbacks[access_key].client(service, region)

    def store(self, kind: type[State], region: str) -> State:
        """The one object of a plug-in's state class for a region, made (without arguments) when first asked for."""
        with self._lock:
            if (kind, region) not in self._stores:
                self._stores[kind, region] = kind()
            found: State = self._stores[kind, region]
            return found

    def stores(self, kind: type[State]) -> list[tuple[str, State]]:
        """All regions' objects of a state class."""
        with self._lock:
            return [(region, found) for (known, region), found in self._stores.items() if known is kind]

    def record(self, event: str, **fields: Any) -> None:
        """Append one line to `aws.jsonl`: what was asked, by whom, and what came of it."""
        self._log.write(json.dumps({"time": round(self.clock(), 3), "event": event, **fields}, default=str) + "\n")

    def close(self) -> None:
        """Stop writing the record. The app must not be called after this."""
        self._log.close()

    def arn(self, service: str, region: str, resource: str) -> str:
        """An ARN of this account."""
        return f"arn:{PARTITION}:{service}:{region}:{self.account}:{resource}"
