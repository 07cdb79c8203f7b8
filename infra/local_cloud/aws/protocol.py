"""AWS's wire protocols, both ways, over moto's parsers and serializers and botocore's service models."""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from botocore.validate import ParamValidator
from moto.core.parse import PROTOCOL_PARSERS
from moto.core.request import Request, determine_request_protocol
from moto.core.routing import get_service_router
from moto.core.serialize import XFormedAttributePicker, get_serializer_class
from moto.core.utils import get_service_model
from moto.ec2.responses import EC2Response
from werkzeug.exceptions import NotFound

from infra.local_cloud.aws.constraints import violations
from infra.local_cloud.aws.errors import AwsError

# The name in a request's credential scope, where it differs from botocore's name of the service.
SIGNING_NAMES = {"monitoring": "cloudwatch", "servicequotas": "service-quotas"}
_SCOPE = re.compile(r"Credential=([^/,]+)/\d{8}/([^/]+)/([^/]+)/aws4_request")
# What services call a request that their model does not allow, where it is not ValidationException.
_VALIDATION_CODES = {"ec2": "InvalidParameterValue", "iam": "ValidationError", "cloudformation": "ValidationError"}
REQUEST_ID = "00000000-0000-4000-8000-000000000000"
_MAX_PARSED_BODY = 16 * 1024 * 1024  # bytes; S3 bodies are never parsed, nothing else comes near it


@dataclass(frozen=True)
class Signature:
    """Who signed a request, for which service and region. The signature itself is not verified."""

    access_key: str
    region: str
    service: str


def read_signature(environ: Mapping[str, Any]) -> Signature | None:
    """The credential scope of a SigV4 request (header or presigned URL), or None when it is unsigned."""
    text = environ.get("HTTP_AUTHORIZATION", "")
    match = _SCOPE.search(text)
    if match is None:
        query = environ.get("QUERY_STRING", "").replace("%2F", "/").replace("%2f", "/")
        match = re.search(r"X-Amz-Credential=([^/&]+)/\d{8}/([^/&]+)/([^/&]+)/aws4_request", query)
    if match is None:
        return None
    key, region, name = match.groups()
    return Signature(key, region, SIGNING_NAMES.get(name.lower(), name.lower()))


def buffer_body(environ: dict[str, Any]) -> bytes:
    """Read the body, unpack gzip (botocore compresses metrics) and leave a fresh stream in `environ`."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length > _MAX_PARSED_BODY:
        raise AwsError("RequestEntityTooLarge", f"The request body has {length} bytes.", status=413)
    body: bytes = environ["wsgi.input"].read(length) if length else b""
    if not length and environ.get("wsgi.input_terminated") and environ.get("HTTP_TRANSFER_ENCODING"):
        body = environ["wsgi.input"].read()
    if environ.get("HTTP_CONTENT_ENCODING") == "gzip":
        body = gzip.decompress(body)
        environ.pop("HTTP_CONTENT_ENCODING")
    environ["CONTENT_LENGTH"] = str(len(body))
    environ["wsgi.input"] = io.BytesIO(body)
    return body


def find_operation(service: str, environ: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """The operation's name and its path parameters, or None when the service has no such operation."""
    try:
        operation, path_params = get_service_router(service).match(Request(dict(environ)))
    except (NotFound, NotImplementedError):
        return None
    finally:
        _rewind(environ)
    return str(operation.name), path_params


def parse(service: str, operation: str, environ: dict[str, Any], path_params: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a request, shaped as botocore's input shape."""
    model = get_service_model(service)
    request = Request(dict(environ))
    parser = PROTOCOL_PARSERS[determine_request_protocol(model, request.content_type)]
    try:
        parsed = parser(model.operation_model(operation)).parse(
            {
                "method": request.method,
                "values": request.values,
                "headers": request.headers,
                "body": request.get_data(),
                "url_path": request.path,
                "url_params": path_params,
            }
        )
    except (ValueError, TypeError) as error:
        raise AwsError("SerializationException", f"{service}:{operation}: {error}") from error
    finally:
        _rewind(environ)
    return dict(parsed or {})


def validate(service: str, operation: str, params: dict[str, Any]) -> None:
    """Refuse what botocore's service model does not allow: missing, unknown and mistyped members, bad values."""
    shape = get_service_model(service).operation_model(operation).input_shape
    if shape is None:
        return
    report = ParamValidator().validate(params, shape)
    problems = [report.generate_report()] if report.has_errors() else []
    problems += violations(params, shape)
    if problems:
        code = _VALIDATION_CODES.get(service, "ValidationException")
        raise AwsError(code, f"{service}:{operation}: " + "; ".join(problems))


Served = tuple[int, list[tuple[str, str]], bytes]


def answer(service: str, operation: str, environ: Mapping[str, Any], result: Any) -> Served:
    """Status, headers and body of a result, in the protocol that the request came in."""
    model = get_service_model(service)
    protocol = determine_request_protocol(model, str(environ.get("CONTENT_TYPE", "")))
    # EC2's answers may hold moto's own objects, whose attributes have Python's names
    picker = XFormedAttributePicker(response_transformers=EC2Response.RESPONSE_KEY_PATH_TO_TRANSFORMER)
    serializer = get_serializer_class(model.service_name, protocol)(
        operation_model=model.operation_model(operation), value_picker=picker if service == "ec2" else None
    )
    out = serializer.serialize(result)
    headers = [(str(k), str(v)) for k, v in out["headers"].items() if str(k).lower() != "content-length"]
    body = out["body"]
    data = body if isinstance(body, bytes) else str(body).encode()
    return int(out["status_code"]), [*headers, ("Content-Length", str(len(data)))], data


def refusal(service: str | None, environ: Mapping[str, Any], error: AwsError) -> Served:
    """Status, headers and body of an error; for an unknown service, in the form that its client likely reads."""
    kind = str(environ.get("CONTENT_TYPE", ""))
    headers = [("x-amzn-ErrorType", error.code), ("x-amzn-RequestId", REQUEST_ID)]
    if service is None:
        protocol = "json" if "json" in kind or "HTTP_X_AMZ_TARGET" in environ else "query"
    else:
        model = get_service_model(service)
        protocol = determine_request_protocol(model, kind)
        if "awsQueryCompatible" in model.metadata:
            headers.append(("x-amzn-query-error", f"{error.code};Sender"))
    code, message = escape(error.code), escape(error.message)
    inner = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
    if protocol in ("json", "rest-json"):
        body, kind = json.dumps({"__type": error.code, "message": error.message}), "application/x-amz-json-1.1"
    elif protocol == "ec2":
        body, kind = f"<Response><Errors>{inner}</Errors><RequestID>{REQUEST_ID}</RequestID></Response>", "text/xml"
    elif protocol == "query":
        body, kind = f"<ErrorResponse>{inner}<RequestId>{REQUEST_ID}</RequestId></ErrorResponse>", "text/xml"
    else:
        body, kind = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>", "application/xml"
    data = b"" if environ.get("REQUEST_METHOD") == "HEAD" else body.encode()
    return error.status, [*headers, ("Content-Type", kind), ("Content-Length", str(len(data)))], data


def _rewind(environ: Mapping[str, Any]) -> None:
    stream = environ["wsgi.input"]
    if isinstance(stream, io.BytesIO):
        stream.seek(0)
