"""The rules: what a cluster file may say beyond its shape.

    findings = rules.check(cluster)

Every rule is listed in `RULES`, in a fixed order; docs/rules.md is made from that list.
"""

from __future__ import annotations

from infra.config.rules.base import Finding, Rule
from infra.config.rules.image import IMAGE
from infra.config.rules.money import MONEY
from infra.config.rules.network import NETWORK
from infra.config.rules.queues import QUEUES
from infra.config.rules.storage import STORAGE
from infra.config.schema import ClusterFile

__all__ = ["RULES", "Finding", "Rule", "check"]

RULES: tuple[Rule, ...] = (*QUEUES, *STORAGE, *NETWORK, *IMAGE, *MONEY)


def check(cluster: ClusterFile) -> list[Finding]:
    """Everything that the rules find in a cluster file, in the rules' order."""
    return [finding for rule in RULES for finding in rule.check(cluster)]
