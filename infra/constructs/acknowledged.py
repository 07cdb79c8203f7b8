"""Findings of cdk-nag that are meant to be as they are, each with its reason, beside the resource that it is about."""

from __future__ import annotations

from collections.abc import Mapping

import aws_cdk as cdk
from constructs import Construct


def acknowledge(construct: Construct, findings: Mapping[str, str]) -> None:
    """Acknowledge findings (rule id to reason) on a construct and what it holds."""
    cdk.Validations.of(construct).acknowledge(
        *[
            cdk.Acknowledgment(id=f"AwsSolutions::AwsSolutions-{rule}", reason=reason)
            for rule, reason in sorted(findings.items())
        ]
    )
