"""Names and ARNs of one cluster. Every text may be one that CloudFormation fills in later."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """Where a cluster is."""

    cluster: str
    region: str
    account: str
    partition: str = "aws"

    def arn(self, service: str, resource: str, *, region: str | None = None, account: str | None = None) -> str:
        """An ARN here; `region` and `account` may be "" for services that leave them out."""
        place = self.region if region is None else region
        owner = self.account if account is None else account
        return f"arn:{self.partition}:{service}:{place}:{owner}:{resource}"

    def parameter(self, name: str) -> str:
        """The ARN of one of the cluster's SSM parameters, such as `facts`."""
        return self.arn("ssm", f"parameter/dure/{self.cluster}/{name}")

    @property
    def instances(self) -> str:
        return self.arn("ec2", "instance/*")

    def by(self, service: str) -> dict[str, dict[str, str | list[str]]]:
        """The condition that a key is used through one service only."""
        return {"StringEquals": {"kms:ViaService": f"{service}.{self.region}.amazonaws.com"}}
