"""boto3 clients whose requests go straight into our own WSGI app, with no socket.

CloudFormation's resource types and the other plug-ins create things through the same front door as anybody:
each request is identified, validated and recorded like one that came over the network.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.loaders
import botocore.session
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from werkzeug.test import EnvironBuilder, run_wsgi_app

ACCESS_KEY = "LKIADURELOCALCLOUD00"  # the local cloud's own hands; shows in the record of requests
ENDPOINT = (
    "http://127.0.0.1"  # never reached: `before-send` answers first; an address, so that S3 keeps buckets in paths
)
_LOADER = botocore.loaders.create_loader()  # service models are read once, whoever asks
_HIDDEN = {"transfer-encoding", "expect"}


class _Raw(io.BytesIO):
    def stream(self, amt: int = 65536, **_: Any) -> Iterator[bytes]:
        while chunk := self.read(amt):
            yield chunk


class Loopback:
    """Makes and keeps clients for one app. Thread-safe. `checked` clients validate their parameters themselves."""

    def __init__(self, app: Callable[..., Any], *, access_key: str = ACCESS_KEY, checked: bool = True) -> None:
        self._app = app
        self._checked = checked
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, str], Any] = {}
        session = botocore.session.Session()
        session.register_component("data_loader", _LOADER)
        self._session = boto3.session.Session(
            aws_access_key_id=access_key, aws_secret_access_key="none", botocore_session=session
        )

    def client(self, service: str, region: str) -> Any:
        """A boto3 client for a service and region, made once."""
        with self._lock:
            if (service, region) not in self._clients:
                config = Config(
                    retries={"max_attempts": 0},
                    s3={"addressing_style": "path"},
                    inject_host_prefix=False,
                    parameter_validation=self._checked,
                )
                made = self._session.client(service, region_name=region, endpoint_url=ENDPOINT, config=config)
                made.meta.events.register("before-send", self._send)
                self._clients[service, region] = made
            return self._clients[service, region]

    def _send(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        url = urlsplit(request.url)
        headers = [
            (name, value.decode() if isinstance(value, bytes) else str(value))
            for name, value in request.headers.items()
            if name.lower() not in _HIDDEN
        ]
        body = request.body
        data = body.read() if hasattr(body, "read") else body
        builder = EnvironBuilder(
            method=request.method,
            base_url=f"{url.scheme}://{url.netloc}",
            path=url.path,
            query_string=url.query,
            headers=headers,
            input_stream=io.BytesIO(data.encode() if isinstance(data, str) else data or b""),
        )
        environ = builder.get_environ()
        environ["RAW_URI"] = url.path + (f"?{url.query}" if url.query else "")
        environ["CONTENT_LENGTH"] = str(len(data or b""))
        chunks, status, got = run_wsgi_app(self._app, environ, buffered=True)
        return AWSResponse(request.url, int(status.split()[0]), dict(got.items()), _Raw(b"".join(chunks)))
