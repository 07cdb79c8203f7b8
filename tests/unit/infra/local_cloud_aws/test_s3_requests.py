"""S3 requests as anybody may send them: raw HTTP with a signature, past every client's own checks."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.serialize import create_serializer
from moto.core.utils import get_service_model
from werkzeug.test import EnvironBuilder

from infra.local_cloud.aws.catalogue import STOCK
from tests.unit.infra.local_cloud_aws.conftest import REGION, Api

NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
HOST = "http://127.0.0.1"  # an address, so that buckets are in paths
MODEL = get_service_model("s3")


def md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body).digest()).decode()


class Wire:
    """Signs a request as botocore does and hands it to the gateway as a server would."""

    def __init__(self, api: Api) -> None:
        self._app = api.gateway
        self._signer = S3SigV4Auth(Credentials("local", "none"), "s3", REGION)

    def send(
        self, method: str, path: str, body: bytes = b"", *, length: bool = True, **headers: str
    ) -> tuple[int, str]:
        """Status and error code ("" without one)."""
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        request = AWSRequest(method=method, url=f"{HOST}{path}", data=body, headers=named)
        self._signer.add_auth(request)
        place, _, query = path.partition("?")
        builder = EnvironBuilder(
            method=method, base_url=HOST, path=place, query_string=query, input_stream=io.BytesIO(body)
        )
        for key, value in request.headers.items():
            builder.headers[key] = value.decode() if isinstance(value, bytes) else value
        environ = builder.get_environ()
        environ["RAW_URI"] = path
        environ["CONTENT_LENGTH"] = str(len(body)) if length else ""
        seen: list[str] = []
        answer = b"".join(self._app(environ, lambda status, headers: seen.append(status)))
        code = re.search(rb"<Code>(\w+)</Code>", answer)
        return int(seen[0].split()[0]), code[1].decode() if code else ""


@pytest.fixture
def wire(api: Api) -> Iterator[Wire]:
    api.client("s3").create_bucket(Bucket="bucket")
    yield Wire(api)


def test_a_right_request_passes(wire: Wire) -> None:
    assert wire.send("PUT", "/bucket/k", b"data", x_amz_storage_class="STANDARD", x_amz_meta_of="me") == (200, "")
    assert wire.send("GET", "/bucket?list-type=2&max-keys=10") == (200, "")
    body = f"<Delete {NAMESPACE}><Object><Key>k</Key></Object><Quiet>true</Quiet></Delete>".encode()
    assert wire.send("POST", "/bucket?delete", body, Content_MD5=md5(body)) == (200, "")


@pytest.mark.parametrize(
    ("method", "path", "headers", "code", "status"),
    [
        ("PUT", "/bucket/k", {"x_amz_storage_class": "WARM"}, "InvalidStorageClass", 400),
        ("PUT", "/bucket/k", {"x_amz_acl": "everybody"}, "InvalidArgument", 400),
        ("PUT", "/bucket/k", {"x_amz_server_side_encryption": "rot13"}, "InvalidArgument", 400),
        ("PUT", "/bucket/k", {"x_amz_server_side_encryption_bucket_key_enabled": "yes"}, "InvalidArgument", 400),
        ("PUT", "/bucket/k", {"x_amz_copy_source": "nowhere"}, "InvalidArgument", 400),
        ("PUT", "/bucket/k", {"x_amz_meta_long": "x" * 2048}, "MetadataTooLarge", 400),
        ("PUT", "/bucket/k", {"Content_MD5": "short"}, "InvalidDigest", 400),
        ("PUT", "/bucket/" + "k" * 1025, {}, "KeyTooLongError", 400),
        ("PUT", "/bucket/k?partNumber=0&uploadId=u", {}, "InvalidArgument", 400),
        ("PUT", "/bucket/k?partNumber=10001&uploadId=u", {}, "InvalidArgument", 400),
        ("PUT", "/bucket/k?partNumber=one&uploadId=u", {}, "InvalidArgument", 400),
        ("GET", "/bucket?list-type=2&max-keys=many", {}, "InvalidArgument", 400),
        ("GET", "/bucket?list-type=2&max-keys=-1", {}, "InvalidArgument", 400),
        ("GET", "/bucket?list-type=2&encoding-type=rot13", {}, "InvalidArgument", 400),
        ("GET", "/bucket?versions&max-keys=99999999999999", {}, "InvalidArgument", 400),
        ("GET", "/Bucket?list-type=2", {}, "InvalidBucketName", 400),
        ("PUT", "/ab", {}, "InvalidBucketName", 400),
        ("PUT", "/a..b", {}, "InvalidBucketName", 400),
        ("PUT", "/10.0.0.1", {}, "InvalidBucketName", 400),
        ("PUT", "/xn--bucket", {}, "InvalidBucketName", 400),
        ("GET", "/bucket/k?attributes", {"x_amz_object_attributes": "Colour"}, "InvalidArgument", 400),
        ("PUT", "/bucket?tagging", {}, "InvalidRequest", 400),
        ("PUT", "/bucket?tagging", {"Content_MD5": md5(b"")}, "MissingRequestBodyError", 400),
    ],
)
def test_what_s3_refuses_in_headers_and_address(
    wire: Wire, method: str, path: str, headers: dict[str, str], code: str, status: int
) -> None:
    assert wire.send(method, path, **headers) == (status, code)


def test_data_needs_its_length(wire: Wire) -> None:
    assert wire.send("PUT", "/bucket/k", b"", length=False) == (411, "MissingContentLength")


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("delete", "<Delete><Object><Key>k</Key></Object>"),  # not well-formed
        ("delete", "<Remove><Object><Key>k</Key></Object></Remove>"),
        ("delete", "<Delete><Object><Name>k</Name></Object></Delete>"),
        ("delete", "<Delete><Object/></Delete>"),
        ("delete", "<Delete></Delete>"),
        ("delete", "<Delete><Object><Key>k</Key></Object><Quiet>perhaps</Quiet></Delete>"),
        ("delete", "<Delete>" + "<Object><Key>k</Key></Object>" * 1001 + "</Delete>"),
        ("versioning", "<VersioningConfiguration><Status>On</Status></VersioningConfiguration>"),
        ("tagging", "<Tagging><TagSet><Tag><Key>k</Key></Tag></TagSet></Tagging>"),
        ("tagging", "<Tagging><TagSet><Mark/></TagSet></Tagging>"),
        ("tagging", "<Tagging><TagSet/><TagSet/></Tagging>"),
        (
            "encryption",
            "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>rot13"
            "</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>",
        ),
        (
            "lifecycle",
            "<LifecycleConfiguration><Rule><Status>Enabled</Status><Expiration><Days>soon</Days></Expiration></Rule>"
            "</LifecycleConfiguration>",
        ),
    ],
)
def test_a_body_that_the_schema_does_not_allow_is_malformed(wire: Wire, query: str, body: str) -> None:
    data = body.encode()
    method = "POST" if query == "delete" else "PUT"
    assert wire.send(method, f"/bucket?{query}", data, Content_MD5=md5(data)) == (400, "MalformedXML")


def test_a_body_comes_with_its_checksum(wire: Wire) -> None:
    body = b"<Delete><Object><Key>k</Key></Object></Delete>"
    assert wire.send("POST", "/bucket?delete", body) == (400, "InvalidRequest")
    assert wire.send("POST", "/bucket?delete", body, Content_MD5=md5(b"other")) == (400, "BadDigest")


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ("", "MalformedXML"),
        ("<Part><ETag>e</ETag></Part>", "MalformedXML"),
        (
            "<Part><PartNumber>2</PartNumber><ETag>e</ETag></Part><Part><PartNumber>1</PartNumber><ETag>e</ETag></Part>",
            "InvalidPartOrder",
        ),
    ],
)
def test_the_list_of_an_uploads_parts_is_checked(wire: Wire, parts: str, code: str) -> None:
    body = f"<CompleteMultipartUpload {NAMESPACE}>{parts}</CompleteMultipartUpload>".encode()
    assert wire.send("POST", "/bucket/k?uploadId=u", body) == (400, code)


# ---- every operation that there is: each enum and number of its request, wrong, is refused with the code of its place


def wrong_values() -> Iterator[tuple[str, str, str]]:
    for operation in sorted(STOCK["s3"]):
        shape = MODEL.operation_model(operation).input_shape
        for name, member in shape.members.items() if shape is not None else ():
            place = member.serialization.get("location")
            if place in ("header", "querystring") and (member.metadata.get("enum") or member.type_name == "integer"):
                yield operation, name, place


def address(operation: str, name: str) -> tuple[str, str, dict[str, str]]:
    """A request of the operation that is right but for one member: method, path, headers."""
    model = MODEL.operation_model(operation)
    # what routing and other rules need, so that nothing but the one value is wrong
    given: dict[str, Any] = {"Bucket": "bucket", "Key": "k", "UploadId": "u", "PartNumber": 1, "CopySource": "b/k"}
    given["ObjectAttributes"] = ["ETag"]
    wanted = {key: value for key, value in given.items() if key in model.input_shape.members}
    wanted[name] = "wrong" if model.input_shape.members[name].type_name == "string" else 10**20
    made = create_serializer("rest-xml", include_validation=False).serialize_to_request(wanted, model)
    query = dict(made["query_string"])
    path = made["url_path"] + ("&" if "?" in made["url_path"] else "?" if query else "")
    path += "&".join(f"{key}={quote(str(value))}" for key, value in query.items())
    return model.http["method"], path, {key.replace("-", "_"): str(value) for key, value in made["headers"].items()}


@pytest.mark.parametrize(("operation", "name", "place"), list(wrong_values()))
def test_each_wrong_word_and_number_is_refused(wire: Wire, operation: str, name: str, place: str) -> None:
    method, path, headers = address(operation, name)
    status, code = wire.send(method, path, **headers)
    if method == "HEAD":  # an answer without a body has no code
        assert status == 400
    else:
        assert (status, code) == (400, "InvalidStorageClass" if name == "StorageClass" else "InvalidArgument")


@pytest.mark.parametrize("text", ["", "a&b<c>", "ä ö", "../x", "k" * 1024])
def test_keys_travel_as_they_are(wire: Wire, api: Api, text: str) -> None:
    key = f"folder/{text}"[:1024]
    assert wire.send("PUT", "/bucket/" + quote(key), b"1") == (200, "")
    assert api.client("s3").get_object(Bucket="bucket", Key=key)["Body"].read() == b"1"
    body = f"<Delete><Object><Key>{escape(key)}</Key></Object></Delete>".encode()
    assert wire.send("POST", "/bucket?delete", body, Content_MD5=md5(body)) == (200, "")
