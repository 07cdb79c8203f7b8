"""AWS's services as machines find them: each at an address of its own, so that the network decides who reaches which.

On AWS a name leads to the private address of an endpoint, or out to the service; here it is an entry of the machine's
`~/.aws/config`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .api import API_ADDRESS, WsgiApp

_NETWORK = "169.254.168"
_SIGNED = re.compile(r"Credential=[^/,&]+/\d+/[^/]+/([a-z0-9-]+)/aws4_request")


@dataclass(frozen=True)
class Service:
    """A service: the name that its requests are signed for, its endpoint's (com.amazonaws.REGION.SUFFIX), the SDKs'
    (empty: no SDK calls it), and its address here.
    """

    name: str
    suffix: str
    sdk: str
    address: str


_NAMES = (
    "cloudformation",
    "ec2",
    "ec2messages",
    "ecr",
    "fsx",
    "iam",
    "kms",
    "logs",
    "monitoring",
    "s3",
    "secretsmanager",
    "sns",
    "ssm",
    "ssmmessages",
    "sts",
)
# Where the other names differ from the one that requests are signed for
_SUFFIXES = {"ecr": "ecr.api"}
_SDK = {
    "ec2messages": "",
    "logs": "cloudwatch_logs",
    "monitoring": "cloudwatch",
    "secretsmanager": "secrets_manager",
    "ssmmessages": "",
}
SERVICES: dict[str, Service] = {
    name: Service(name, _SUFFIXES.get(name, name), _SDK.get(name, name), f"{_NETWORK}.{number}")
    for number, name in enumerate(_NAMES, start=1)
}
OTHER_ADDRESS = API_ADDRESS
"""The address of every other service: no endpoint leads to it, only the way out to the world."""


def sdk_config(port: int) -> str:
    """A machine's `~/.aws/config`: where the SDKs find each service."""
    lines = ["[default]", "services = cloud", f"endpoint_url = http://{OTHER_ADDRESS}:{port}", "", "[services cloud]"]
    for service in SERVICES.values():
        if service.sdk:
            lines += [f"{service.sdk} =", f"  endpoint_url = http://{service.address}:{port}"]
    return "\n".join(lines) + "\n"


def only_its_own(app: WsgiApp) -> WsgiApp:
    """The API, at each service's address answering what is signed for that service, and refusing the rest."""
    names = {service.address: service.name for service in SERVICES.values()}

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        local = environ["werkzeug.socket"].getsockname()[0]
        asked = signed_for(environ)
        if asked and names.get(local) != (asked if asked in SERVICES else None):
            text = f"{asked} does not answer at {local}, the address of {names.get(local, 'the other services')}\n"
            start_response("421 Misdirected Request", [("Content-Type", "text/plain")])
            return [text.encode()]
        return app(environ, start_response)

    return answer


def signed_for(environ: dict[str, Any]) -> str:
    """The service in a request's signature, empty without one."""
    query = environ.get("QUERY_STRING", "").replace("%2F", "/").replace("%2f", "/")
    found = _SIGNED.search(environ.get("HTTP_AUTHORIZATION", "")) or _SIGNED.search(query)
    return found[1] if found else ""
