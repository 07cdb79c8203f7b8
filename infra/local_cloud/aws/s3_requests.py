"""S3 requests held to botocore's S3 model and to S3's own rules, with S3's own error codes.

What comes in headers, address and XML body becomes parameters as botocore's input shape has them. Bodies that are data
(PutObject, UploadPart) stay unread. Rules that the model does not hold, such as a bucket's name, are the tables here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import itertools
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

from moto.core.utils import get_service_model

from infra.local_cloud.aws import s3_xml
from infra.local_cloud.aws.constraints import violations
from infra.local_cloud.aws.errors import AwsError

# Source: S3's user guide: bucket naming rules, object key names, user-defined metadata; S3's API reference: UploadPart.
_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]")
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
_RESERVED = re.compile(r"xn--.*|sthree-.*|amzn-s3-demo-.*|.*-s3alias|.*--ol-s3|.*\.mrap|.*--x-s3|.*--table-s3")
MAX_KEY_BYTES = 1024
MAX_METADATA_BYTES = 2048
MAX_PARTS = 10_000
MAX_DELETED = 1000
MAX_XML_BYTES = 2 * 1024 * 1024
MAX_OBJECT_BYTES = 5 * 1024**3  # in a single request
# Headers whose bad value S3 has words of its own for. Source: S3's list of error codes.
_HEADER_CODES = {
    "x-amz-storage-class": ("InvalidStorageClass", "The storage class you specified is not valid"),
    "x-amz-object-ownership": ("InvalidArgument", "Invalid x-amz-object-ownership header"),
}
_MALFORMED = "The XML you provided was not well-formed or did not validate against our published schema"


def read(operation: str, environ: dict[str, Any], path_params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a request; a body of XML or JSON is read, checked and put back. Raises S3's errors."""
    model = get_service_model("s3").operation_model(operation)
    shape = model.input_shape
    params: dict[str, Any] = dict(path_params)
    if shape is None:
        return params
    _check_names(operation, params)
    query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    for name, member in shape.members.items():
        place, wire = member.serialization.get("location"), member.serialization.get("name", name)
        if place == "header":
            _take(params, name, member, wire, environ.get(_variable(wire)))
        elif place == "querystring":
            _take(params, name, member, wire, query.get(wire, [None])[0])
        elif place == "headers":
            params[name] = _metadata(environ, wire)
    _check_limits(params)
    _check_digest_header(environ)
    body = shape.serialization.get("payload")
    if body is not None and shape.members[body].type_name == "blob":
        _check_length(environ)
    else:
        _read_body(model, environ, params, body)
    if missing := [name for name in shape.required_members if name not in params and name != body]:
        raise AwsError("InvalidRequest", f"Missing required parameter for this request: {', '.join(missing)}")
    return params


def _variable(header: str) -> str:
    """A header's name in WSGI's environment."""
    plain = header.upper().replace("-", "_")
    return plain if plain in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{plain}"


def _check_names(operation: str, params: Mapping[str, Any]) -> None:
    bucket, key = params.get("Bucket"), params.get("Key")
    if bucket is not None:
        valid = _BUCKET.fullmatch(bucket) and not _ADDRESS.fullmatch(bucket)
        if not valid or (operation == "CreateBucket" and _RESERVED.fullmatch(bucket)):
            raise AwsError("InvalidBucketName", f"The specified bucket is not valid: {bucket!r}")
    if key is not None and len(str(key).encode()) > MAX_KEY_BYTES:
        raise AwsError("KeyTooLongError", f"Your key is too long: at most {MAX_KEY_BYTES} bytes of UTF-8")


def _take(params: dict[str, Any], name: str, member: Any, wire: str, text: str | None) -> None:
    """One value from a header or from the address, checked, into the parameters."""
    if text is None or text == "":
        return
    value: Any = text
    if member.type_name in ("integer", "long"):
        value = _integer(text, wire)
    elif member.type_name == "boolean":
        value = _boolean(text, wire)
    elif member.type_name == "list":
        value = [item.strip() for item in text.split(",")]
    elif member.type_name == "timestamp":
        return  # S3 takes a condition whose date it can't read for none
    if problems := violations(value, member, wire):
        code, said = _HEADER_CODES.get(wire, ("InvalidArgument", f"Invalid argument: {'; '.join(problems)}"))
        raise AwsError(code, said)
    params[name] = value


def _integer(text: str, wire: str) -> int:
    if not re.fullmatch(r"-?\d{1,19}", text.strip()):
        raise AwsError("InvalidArgument", f"Provided {wire} not an integer or within integer range")
    return int(text)


def _boolean(text: str, wire: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise AwsError("InvalidArgument", f"{wire} is {text!r}, allowed: true, false")
    return text.lower() == "true"


def _metadata(environ: Mapping[str, Any], prefix: str) -> dict[str, str]:
    start = _variable(prefix)
    found = {
        key.removeprefix(start).lower().replace("_", "-"): str(value)
        for key, value in environ.items()
        if key.startswith(start)
    }
    if sum(len(key) + len(value.encode("latin-1", "replace")) for key, value in found.items()) > MAX_METADATA_BYTES:
        raise AwsError("MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size")
    return found


def _check_limits(params: Mapping[str, Any]) -> None:
    for name in ("MaxKeys", "MaxUploads", "MaxParts"):
        if not 0 <= int(params.get(name, 0)) < 2**31:
            raise AwsError("InvalidArgument", f"Argument {name} must be an integer between 0 and 2147483647")
    if "PartNumber" in params and not 1 <= params["PartNumber"] <= MAX_PARTS:
        raise AwsError("InvalidArgument", f"Part number must be an integer between 1 and {MAX_PARTS}, inclusive")


def _check_digest_header(environ: Mapping[str, Any]) -> None:
    digest = environ.get("HTTP_CONTENT_MD5")
    if digest is None:
        return
    try:
        valid = len(base64.b64decode(digest, validate=True)) == hashlib.md5().digest_size
    except binascii.Error:
        valid = False
    if not valid:
        raise AwsError("InvalidDigest", "The Content-MD5 you specified is not valid.")


def _check_length(environ: Mapping[str, Any]) -> None:
    """Data needs its length beforehand, and one request takes 5 GB at most."""
    length = environ.get("CONTENT_LENGTH") or ""
    if not length and not environ.get("HTTP_TRANSFER_ENCODING"):
        raise AwsError("MissingContentLength", "You must provide the Content-Length HTTP header.", status=411)
    if length and int(length) > MAX_OBJECT_BYTES:
        raise AwsError("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")


def _read_body(model: Any, environ: dict[str, Any], params: dict[str, Any], name: str | None) -> None:
    """Read a body that is no data, check it, and leave a fresh stream of it."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length > MAX_XML_BYTES:
        raise AwsError("MaxMessageLengthExceeded", "Your request was too large.")
    body: bytes = environ["wsgi.input"].read(length) if length else b""
    environ["wsgi.input"] = io.BytesIO(body)
    if name is None:
        return
    _check_checksum(model, environ, body)
    member = model.input_shape.members[name]
    if not body:
        if name in model.input_shape.required_members:
            raise AwsError("MissingRequestBodyError", "Request Body is empty")
        return
    if member.type_name != "structure":
        params[name] = body.decode(errors="replace")
        return
    try:
        params[name] = s3_xml.read(body, member, root=member.serialization.get("name", name))
    except s3_xml.Malformed as error:
        raise AwsError("MalformedXML", f"{_MALFORMED} ({error})") from error
    if rule := _RULES.get(model.name):
        rule(params[name])


def _check_checksum(model: Any, environ: Mapping[str, Any], body: bytes) -> None:
    """Some bodies must come with a checksum; an MD5 that came must be right."""
    digest = environ.get("HTTP_CONTENT_MD5")
    if digest is not None and base64.b64decode(digest) != hashlib.md5(body).digest():
        raise AwsError("BadDigest", "The Content-MD5 you specified did not match what we received.")
    given = digest is not None or any(key.startswith("HTTP_X_AMZ_CHECKSUM_") for key in environ)
    if model.http_checksum.get("requestChecksumRequired") and not given:
        raise AwsError("InvalidRequest", "Missing required header for this request: Content-MD5 OR x-amz-checksum-*")


def _few_enough(delete: Mapping[str, Any]) -> None:
    if not 0 < len(delete["Objects"]) <= MAX_DELETED:
        raise AwsError("MalformedXML", f"{_MALFORMED} ({len(delete['Objects'])} objects, allowed: 1 to {MAX_DELETED})")


def _parts(upload: Mapping[str, Any]) -> None:
    numbers = [part.get("PartNumber") for part in upload.get("Parts", [])]
    if not numbers or any(number is None for number in numbers):
        raise AwsError("MalformedXML", f"{_MALFORMED} (no parts, or one without a number)")
    if any(one >= two for one, two in itertools.pairwise(numbers)):
        raise AwsError("InvalidPartOrder", "The list of parts was not in ascending order.")


_RULES: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
    "DeleteObjects": _few_enough,
    "CompleteMultipartUpload": _parts,
}
