"""The front door: a WSGI app that identifies, validates, records and routes every AWS request.

Order: who signed it and for which service; which operation; is that operation in the catalogue (else 501, said
plainly); are its parameters what botocore's model allows; may the caller's role do that; then our plug-in's function,
or moto's own app.
"""

from __future__ import annotations

import threading
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from moto.core.exceptions import ServiceException

from infra.local_cloud.aws import protocol, s3_requests
from infra.local_cloud.aws.cloud import Cloud
from infra.local_cloud.aws.errors import AwsError, NotModelled
from infra.local_cloud.aws.iam import Enforcement
from infra.local_cloud.aws.operations import Call, Operations

StartResponse = Callable[..., Any]
Wsgi = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]
Observer = Callable[[Cloud, Call], None]
Response = tuple[int, list[tuple[str, str]], Iterable[bytes]]

# S3 bodies are data, possibly large: they go to moto as a stream, unparsed, but for those that are XML.
UNPARSED_SERVICES = frozenset({"s3"})


@dataclass
class _Asked:
    """What is known of a request so far; goes into the record whatever becomes of it."""

    service: str = "?"
    operation: str | None = None
    region: str = ""
    access_key: str = ""
    error: str = ""
    status: int = 0
    params: dict[str, Any] = field(default_factory=dict)


class Gateway:
    """WSGI app. `stock` lists the operations that moto answers well enough, by service."""

    def __init__(
        self,
        cloud: Cloud,
        *,
        moto_app: Wsgi,
        stock: Mapping[str, frozenset[str]],
        plugins: Iterable[Operations],
        preparations: Mapping[tuple[str, str], Observer],
        observers: Mapping[tuple[str, str], Observer],
        enforcement: Enforcement,
    ) -> None:
        self._cloud = cloud
        self._moto = moto_app
        self._stock = stock
        self._plugins = {plugin.service: plugin for plugin in plugins}
        self._preparations = preparations  # before moto answers: may refuse
        self._enforcement = enforcement
        self._observers = observers  # after moto has answered well
        # moto's backends are plain dictionaries: one writer a service at a time. S3 has its own locks and long bodies.
        self._locks: dict[str, threading.RLock] = defaultdict(threading.RLock)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        asked = _Asked()
        started = self._cloud.clock()
        try:
            status, headers, body = self._serve(environ, asked)
        except ServiceException as error:
            asked.error = str(error)
            status, headers, body = self._refuse(asked, environ, error)
        except Exception as error:  # a bug of ours or of moto: say so, never hang or retry
            asked.error = "".join(traceback.format_exception(error))
            broken = AwsError(
                "LocalCloudFailure", f"{asked.service}:{asked.operation}: {type(error).__name__}: {error}", status=501
            )
            status, headers, body = self._refuse(asked, environ, broken)
        asked.status = status
        self._record(asked, seconds=self._cloud.clock() - started)
        start_response(f"{status} {'OK' if status < 400 else 'Error'}", headers)
        return body

    def _serve(self, environ: dict[str, Any], asked: _Asked) -> Response:
        signature = protocol.read_signature(environ)
        if signature is None:
            raise AwsError("MissingAuthenticationToken", "The request is not signed.", status=403)
        asked.service, asked.region, asked.access_key = signature.service, signature.region, signature.access_key
        if asked.service not in self._stock and asked.service not in self._plugins:
            raise NotModelled(f"the service {asked.service}")
        if asked.service not in UNPARSED_SERVICES:
            protocol.buffer_body(environ)
        found = protocol.find_operation(asked.service, environ)
        if found is None:
            wanted = environ.get("HTTP_X_AMZ_TARGET") or f"{environ['REQUEST_METHOD']} {environ.get('PATH_INFO')}"
            raise NotModelled(f"{asked.service}'s operation {wanted}")
        operation, path_params = found
        asked.operation = operation
        handler = self._plugins[asked.service].handlers.get(operation) if asked.service in self._plugins else None
        if handler is None and operation not in self._stock.get(asked.service, frozenset()):
            raise NotModelled(f"{asked.service}:{operation}")
        asked.params = path_params  # for the record, should reading the rest fail
        if asked.service in UNPARSED_SERVICES:
            asked.params = s3_requests.read(operation, environ, path_params)
        else:
            asked.params = protocol.parse(asked.service, operation, environ, path_params)
            protocol.validate(asked.service, operation, asked.params)
        call = self._call(asked, environ)
        self._enforcement.check(call, dict(parse_qsl(environ.get("QUERY_STRING", ""))))
        if handler is not None:
            result = handler(self._cloud, call)
            status, headers, data = protocol.answer(asked.service, operation, environ, result or {})
            return status, headers, [data]
        return self._ask_moto(environ, call, asked)

    def _call(self, asked: _Asked, environ: dict[str, Any]) -> Call:
        return Call(
            service=asked.service,
            operation=asked.operation or "",
            region=asked.region,
            account=self._cloud.account,
            access_key=asked.access_key,
            params=asked.params,
            headers={
                key[5:].replace("_", "-").lower(): str(value)
                for key, value in environ.items()
                if key.startswith("HTTP_")
            },
        )

    def _ask_moto(self, environ: dict[str, Any], call: Call, asked: _Asked) -> Response:
        preparation = self._preparations.get((call.service, call.operation))
        if preparation is not None:
            preparation(self._cloud, call)
        seen: list[Any] = []

        def start_response(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None
        ) -> Callable[[bytes], None]:
            seen[:] = [int(status.split()[0]), headers]
            return lambda _: None

        with nullcontext() if call.service in UNPARSED_SERVICES else self._locks[call.service]:
            body = self._moto(environ, start_response)
        status, headers = seen
        if status == 404 and call.service == "s3":
            self._enforcement.check_missing(call)
        if status >= 400:
            chunks = list(body)
            asked.error = b"".join(chunks)[:600].decode(errors="replace")
            return status, headers, chunks
        observer = self._observers.get((call.service, call.operation))
        if observer is not None:
            observer(self._cloud, call)
        return status, headers, body

    def _refuse(self, asked: _Asked, environ: Mapping[str, Any], error: ServiceException) -> Response:
        shown = error if isinstance(error, AwsError) else AwsError(error.code, error.message)
        known = asked.service in self._stock or asked.service in self._plugins
        status, headers, data = protocol.refusal(asked.service if known else None, environ, shown)
        return status, headers, [data]

    def _record(self, asked: _Asked, *, seconds: float) -> None:
        caller = self._enforcement.caller(asked.access_key)
        self._cloud.record(
            "request",
            service=asked.service,
            operation=asked.operation,
            region=asked.region,
            access_key=asked.access_key,
            **({"caller": caller} if caller else {}),
            status=asked.status,
            seconds=round(seconds, 4),
            **({"error": asked.error} if asked.error else {}),
        )
