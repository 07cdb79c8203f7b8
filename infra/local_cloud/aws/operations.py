"""The port between the gateway and our plug-ins: an API operation is a function of a `Call`.

A plug-in module holds a `Operations` table and registers plain functions in it:

    OPERATIONS = Operations("fsx")

    @OPERATIONS.add("CreateFileSystem")
    def create_file_system(cloud: Cloud, call: Call) -> Answer: ...

The gateway has parsed and validated `call.params` (botocore's input shape) before the function runs, and
serializes the mapping that it returns by botocore's output shape. An `AwsError` becomes AWS's error document.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infra.local_cloud.aws.cloud import Cloud

Answer = Mapping[str, Any] | None


@dataclass(frozen=True)
class Call:
    """One API request, parsed. `params` follows the operation's input shape in botocore's service model."""

    service: str
    operation: str
    region: str
    account: str
    access_key: str
    params: dict[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[["Cloud", Call], Answer]


class Operations:
    """The operations of one service that we answer ourselves."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.handlers: dict[str, Handler] = {}

    def add(self, operation: str) -> Callable[[Handler], Handler]:
        """Register the decorated function for an operation by its AWS name, such as `RunInstances`."""

        def register(handler: Handler) -> Handler:
            if operation in self.handlers:
                raise ValueError(f"{self.service}:{operation} is registered twice")
            self.handlers[operation] = handler
            return handler

        return register
