"""The local cloud's API in this process, with fake machines and no socket."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

if importlib.util.find_spec("moto") is None:  # these run in the local cloud's environment (see the Makefile)
    collect_ignore_glob = ["test_*.py"]


REGION = "us-east-1"


class Api:
    """What a test holds: clients, the cloud behind them, and its machines."""

    def __init__(self, cloud: Any, gateway: Any, machines: Any) -> None:
        from infra.local_cloud.aws.loopback import Loopback

        self.cloud, self.gateway, self.machines = cloud, gateway, machines
        self._users = Loopback(gateway, access_key="AKIAUSEROFTHECLOUD00")

    def client(self, service: str, region: str = REGION) -> Any:
        return self._users.client(service, region)

    def deploy(self, name: str, template: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Create a stack and wait until it has settled."""
        cfn = self.client("cloudformation")
        cfn.create_stack(
            StackName=name, TemplateBody=json.dumps(template), Capabilities=["CAPABILITY_NAMED_IAM"], **kwargs
        )
        return self.settled(name)

    def settled(self, name: str) -> dict[str, Any]:
        cfn = self.client("cloudformation")
        stack = until(
            lambda: next(
                (
                    s
                    for s in cfn.describe_stacks(StackName=name)["Stacks"]
                    if not s["StackStatus"].endswith("_IN_PROGRESS")
                ),
                None,
            )
        )
        return dict(stack)

    def destroy(self, name: str) -> str:
        """Delete a stack and wait; returns its last status."""
        cfn = self.client("cloudformation")
        identity = cfn.describe_stacks(StackName=name)["Stacks"][0]["StackId"]
        cfn.delete_stack(StackName=name)
        return str(self.settled(identity)["StackStatus"])

    def reasons(self, name: str) -> str:
        """All reasons in a stack's events, in one text."""
        events = self.client("cloudformation").describe_stack_events(StackName=name)["StackEvents"]
        return "\n".join(event.get("ResourceStatusReason", "") for event in events)


def until(look: Callable[[], Any], *, seconds: float = 10.0) -> Any:
    """Wait until `look` gives something true, and return that."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"nothing after {seconds} s: {look}")
        time.sleep(0.02)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    from fakes import FakeMachines

    from infra.local_cloud.aws.app import build_cloud

    machines = FakeMachines(tmp_path)
    reset_moto()
    cloud, gateway = build_cloud(machines, state=tmp_path / "state", port=0)
    yield Api(cloud, gateway, machines)
    cloud.close()


def reset_moto() -> None:
    """Forget everything that moto's backends hold."""
    import moto.backends as backends

    for name in ("ec2", "iam", "s3", "ssm", "sts", "logs", "cloudwatch", "kms", "secretsmanager", "ecr", "sns"):
        for account in backends.get_backend(name).values():  # type: ignore[call-overload]
            for backend in account.values():
                backend.reset()
