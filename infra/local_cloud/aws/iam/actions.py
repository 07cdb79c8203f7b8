"""From an API request to the questions that AWS asks before it answers: which action, on which resource, of which key.

An operation's action is SERVICE:OPERATION, but for what the tables say. A resource is worked out for what machines and
the CDK CLI call; for everything else it is "*", which only a statement on all resources allows: too strict, never lax.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from moto.s3.models import s3_backends
from moto.secretsmanager.models import secretsmanager_backends

from infra.local_cloud.aws.cloud import ACCOUNT, PARTITION, Cloud
from infra.local_cloud.aws.iam import launching, managing
from infra.local_cloud.aws.iam.policy import Question
from infra.local_cloud.aws.operations import Call

# Operations that need no permission
FREE = frozenset({("sts", "GetCallerIdentity")})
# S3's actions, where they are not the operation's name. Source: Service Authorization Reference, Amazon S3.
S3_ACTIONS: Mapping[str, str] = {
    "AbortMultipartUpload": "AbortMultipartUpload",
    "CompleteMultipartUpload": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "DeleteBucketTagging": "PutBucketTagging",
    "DeleteObjects": "DeleteObject",
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "HeadBucket": "ListBucket",
    "HeadObject": "GetObject",
    "ListBuckets": "ListAllMyBuckets",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListObjectVersions": "ListBucketVersions",
    "ListObjects": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "ListParts": "ListMultipartUploadParts",
    "PutBucketEncryption": "PutEncryptionConfiguration",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
    "UploadPart": "PutObject",
}
# IAM's word for a service, where it is not the API's
PREFIXES: Mapping[str, str] = {"service-quotas": "servicequotas"}
_BUDGETS = {"TagResource", "UntagResource", "ListTagsForResource"}
_S3_COPIES = {"CopyObject", "UploadPartCopy"}
_OF_VERSIONS = {"GetObject": "GetObjectVersion", "DeleteObject": "DeleteObjectVersion"}
_NO_PARAMETER = frozenset({"DescribeParameters"})
# What S3 needs of a key to read and to write. Source: S3's user guide on SSE-KMS.
_READ_KEY, _WRITE_KEY = ("kms:Decrypt",), ("kms:GenerateDataKey",)
_PARTS_KEY = ("kms:GenerateDataKey", "kms:Decrypt")  # parts are read again when they are put together


def questions(cloud: Cloud, call: Call, query: Mapping[str, str]) -> Iterator[Question]:
    """Every question of a request, in AWS's order. `query`: the address's parameters (S3's versionId)."""
    if (call.service, call.operation) in FREE:
        return
    if call.service == "s3":
        yield from _s3(cloud, call, query)
    elif call.service == "ec2":
        yield from launching.questions(cloud, call)
    elif call.service in _RESOURCES:
        yield from _RESOURCES[call.service](cloud, call)
    else:
        yield Question(action_of(call.service, call.operation))


def action_of(service: str, operation: str) -> str:
    """The action that IAM knows an operation by."""
    name = operation
    if service == "s3":
        name = "PutObject" if operation in _S3_COPIES else S3_ACTIONS.get(operation, operation)
    elif service == "budgets" and operation not in _BUDGETS:
        name = "ViewBudget" if operation.startswith("Describe") else "ModifyBudget"
    return f"{PREFIXES.get(service, service)}:{name}"


def _s3(cloud: Cloud, call: Call, query: Mapping[str, str]) -> Iterator[Question]:
    bucket, key = call.params.get("Bucket"), call.params.get("Key")
    account = {"aws:resourceaccount": (ACCOUNT,), "s3:resourceaccount": (ACCOUNT,)}
    if call.operation in _S3_COPIES:
        source = unquote(call.headers["x-amz-copy-source"]).lstrip("/").partition("?")[0]
        yield Question("s3:GetObject", f"arn:{PARTITION}:s3:::{source}", account)
        yield from _key_of(cloud, call, source.partition("/")[0], _READ_KEY)
    name = action_of("s3", call.operation).removeprefix("s3:")
    if query.get("versionId"):
        name = _OF_VERSIONS.get(name, name)
    if bucket is None:
        yield Question(f"s3:{name}", "*", account)
        return
    if name in ("ListBucket", "ListBucketVersions") and "prefix" in query:
        account = {**account, "s3:prefix": (query["prefix"],)}
    path = f"{bucket}/{key}" if key else bucket
    if call.operation == "DeleteObjects":
        path = f"{bucket}/*"  # the body stays unread: only who may delete every key may delete several at once
    yield Question(f"s3:{name}", f"arn:{PARTITION}:s3:::{path}", account)
    if name.startswith("GetObject") and call.operation != "GetObjectTagging":
        yield from _key_of(cloud, call, bucket, _READ_KEY)
    if name == "PutObject":
        parts = call.operation not in ("PutObject", "CopyObject")
        yield from _key_of(cloud, call, bucket, _PARTS_KEY if parts else _WRITE_KEY)


def _key_of(cloud: Cloud, call: Call, bucket: str, actions: tuple[str, ...]) -> Iterator[Question]:
    """What S3 asks of the key that a bucket encrypts with, if that is a customer's."""
    known = s3_backends[ACCOUNT][PARTITION].buckets.get(bucket)
    rule = (known.encryption or {}).get("Rule", {}) if known is not None else {}
    default = rule.get("ApplyServerSideEncryptionByDefault", {})
    if default.get("SSEAlgorithm", "").startswith("aws:kms") and default.get("KMSMasterKeyID"):
        yield from by_key(cloud, call.region, default["KMSMasterKeyID"], actions, via="s3")


def by_key(cloud: Cloud, region: str, key: str, actions: tuple[str, ...], *, via: str) -> Iterator[Question]:
    """The use of a key by a service in the caller's name; the keys that AWS manages ask nothing of the caller."""
    if "alias/aws/" in key:
        return
    for action in actions:
        context = {"kms:viaservice": (f"{via}.{region}.amazonaws.com",)}
        yield Question(action, launching.key_arn(cloud, region, key), context)


def _ssm(cloud: Cloud, call: Call) -> Iterator[Question]:
    action, params = f"ssm:{call.operation}", call.params
    if call.operation == "SendCommand":
        name = params["DocumentName"]
        owner = "" if name.startswith("AWS-") else ACCOUNT
        document = f"arn:{PARTITION}:ssm:{call.region}:{owner}:document/{name}"
        yield Question(action, name if name.startswith("arn:") else document)
        for instance in params.get("InstanceIds") or ["*"]:
            tags = launching.tags_on(call.region, instance)
            context = {f"ssm:resourcetag/{key.lower()}": (value,) for key, value in tags.items()}
            yield Question(action, cloud.arn("ec2", call.region, f"instance/{instance}"), context)
    elif "Parameter" in call.operation and call.operation not in _NO_PARAMETER:
        for name in params.get("Names") or [params.get("Name") or params.get("Path")]:
            yield Question(action, _parameter(cloud, call.region, name))
    elif call.operation.endswith(("ToResource", "ForResource", "FromResource")):
        named = f"{params['ResourceType'].lower()}/{params['ResourceId'].lstrip('/')}"
        yield Question(action, cloud.arn("ssm", call.region, named))
    elif "Document" in call.operation and params.get("Name"):
        yield Question(action, cloud.arn("ssm", call.region, f"document/{params['Name']}"))
    else:
        yield Question(action)


def _parameter(cloud: Cloud, region: str, name: str) -> str:
    """A parameter's ARN; those that AWS publishes belong to no account."""
    if name.startswith("arn:"):
        return name
    owner = "" if name.startswith("/aws/service/") else ACCOUNT
    return f"arn:{PARTITION}:ssm:{region}:{owner}:parameter/{name.lstrip('/')}"


def _secretsmanager(cloud: Cloud, call: Call) -> Iterator[Question]:
    action, wanted = f"secretsmanager:{call.operation}", call.params.get("SecretId")
    if wanted is None:
        name = call.params.get("Name")
        yield Question(action, cloud.arn("secretsmanager", call.region, f"secret:{name}-??????") if name else "*")
        if call.params.get("KmsKeyId"):
            yield from by_key(cloud, call.region, call.params["KmsKeyId"], _PARTS_KEY, via="secretsmanager")
        return
    secret: Any = secretsmanager_backends[ACCOUNT][call.region].secrets.get(wanted)
    named = wanted if wanted.startswith("arn:") else cloud.arn("secretsmanager", call.region, f"secret:{wanted}")
    yield Question(action, named if secret is None else str(secret.arn))
    if call.operation == "GetSecretValue" and secret is not None and secret.kms_key_id:
        yield from by_key(cloud, call.region, secret.kms_key_id, _READ_KEY, via="secretsmanager")


def _logs(cloud: Cloud, call: Call) -> Iterator[Question]:
    group, stream = call.params.get("logGroupName"), call.params.get("logStreamName", "")
    if group is None:
        yield Question(f"logs:{call.operation}")
    else:
        arn = cloud.arn("logs", call.region, f"log-group:{group}:log-stream:{stream}")
        yield Question(f"logs:{call.operation}", arn)


def _cloudformation(cloud: Cloud, call: Call) -> Iterator[Question]:
    name = call.params.get("StackName")
    arn = name if not name or name.startswith("arn:") else cloud.arn("cloudformation", call.region, f"stack/{name}/*")
    yield Question(f"cloudformation:{call.operation}", arn or "*")
    if call.params.get("RoleARN"):
        yield launching.pass_role(call.params["RoleARN"], to="cloudformation.amazonaws.com")


def _sts(cloud: Cloud, call: Call) -> Iterator[Question]:
    role = call.params.get("RoleArn", "*")
    yield Question(f"sts:{call.operation}", role)
    if call.params.get("Tags"):
        yield Question("sts:TagSession", role)


def _kms(cloud: Cloud, call: Call) -> Iterator[Question]:
    key = call.params.get("KeyId") or call.params.get("TargetKeyId")
    if alias := call.params.get("AliasName"):
        yield Question(f"kms:{call.operation}", cloud.arn("kms", call.region, alias))
        if key is None:
            return
    yield Question(f"kms:{call.operation}", launching.key_arn(cloud, call.region, key) if key else "*")


_RESOURCES: Mapping[str, Callable[[Cloud, Call], Iterator[Question]]] = {
    **managing.QUESTIONS,
    "cloudformation": _cloudformation,
    "kms": _kms,
    "logs": _logs,
    "secretsmanager": _secretsmanager,
    "ssm": _ssm,
    "sts": _sts,
}
