"""Policies for the people who use a cluster, to be attached to whom the account's owner likes (docs/access.md)."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.config.access.people import Used, submitter, watcher
from infra.config.access.statements import Statement
from infra.constructs.roles import acknowledge_wildcards

_REASON = (
    "Actions that know no resources, and prefixes of the cluster's own bucket, parameters and logs; commands reach the "
    "head only, by its tags. docs/access.md says what each is for."
)


class PeoplePolicies(Construct):
    """Two managed policies: `dure-NAME-REGION-submit` and `dure-NAME-REGION-watch`.

    Their names are fixed, as a permission set of IAM Identity Center finds a policy by its name; IAM has no regions, so
    the region is part of it.
    """

    def __init__(self, scope: Construct, id: str, *, used: Used) -> None:
        super().__init__(scope, id)
        name = f"dure-{used.place.cluster}-{used.place.region}"
        self._policy("Submit", f"{name}-submit", "submit jobs to", submitter(used), used)
        self._policy("Watch", f"{name}-watch", "watch", watcher(used), used)

    def _policy(self, id: str, name: str, may: str, statements: Sequence[Statement], used: Used) -> None:
        found = [iam.PolicyStatement.from_json(each.as_json()) for each in statements]
        iam.ManagedPolicy(
            self,
            id,
            managed_policy_name=name,
            description=f"May {may} the Dure cluster {used.place.cluster}",
            statements=found,
        )
        acknowledge_wildcards(self, found, reason=_REASON)
