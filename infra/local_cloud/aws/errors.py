"""Errors that the local cloud answers with.

AwsError            an AWS error by code and message, as the service would give it
└── NotModelled     the local cloud does not know this API, type or property: 501, never a guess
"""

from __future__ import annotations

from moto.core.exceptions import ServiceException


class AwsError(ServiceException):
    """An AWS service error. `code` is AWS's error code, `status` the HTTP status (400 unless told)."""

    def __init__(self, code: str, message: str, *, status: int = 400) -> None:
        super().__init__(code, message)
        self.status = status

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class NotModelled(AwsError):
    """Something that AWS may well have but this local cloud has not: it says so instead of pretending."""

    def __init__(self, what: str) -> None:
        super().__init__(
            "NotImplemented",
            f"The local cloud does not model {what}. Nothing was done. On AWS this may work; here it has to be"
            " added to infra/local_cloud/aws first (docs/local-cloud-coverage.md lists what there is).",
            status=501,
        )
