"""Policies that belong to a resource, a role's trust policy or a key's: they name who may. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from infra.local_cloud.aws.errors import NotModelled
from infra.local_cloud.aws.iam.policy import Question, selects, statements


class Reach(Enum):
    """Whom an Allow names: nobody of ours, the account (whose IAM then decides), or the very principal."""

    NOBODY = 0
    ACCOUNT = 1
    PRINCIPAL = 2


@dataclass(frozen=True)
class Principal:
    """Who asks: a user or role by ARN (and its session's), or a service such as ec2.amazonaws.com."""

    account: str
    arn: str = ""
    session: str = ""
    service: str = ""


@dataclass(frozen=True)
class Verdict:
    """What a resource's policy says; `denied` wins over everything."""

    reach: Reach
    denied: bool = False


def judge(document: str, question: Question, who: Principal) -> Verdict:
    """The widest Allow that reaches the principal, and whether a Deny does. `document` is the policy as JSON.

    Raises NotModelled for what of an applicable statement can't be judged.
    """
    reach, denied = Reach.NOBODY, False
    for statement in statements(document):
        found = _reach(statement, who)
        if found is Reach.NOBODY or not selects(statement, question, of_resource=True):
            continue
        if statement["Effect"] == "Deny":
            denied = True
        elif found.value > reach.value:
            reach = found
    return Verdict(reach, denied)


def _reach(statement: Mapping[str, Any], who: Principal) -> Reach:
    if "NotPrincipal" in statement:
        raise NotModelled("NotPrincipal in a resource's policy")
    named = statement["Principal"]
    if named == "*":
        return Reach.PRINCIPAL
    if who.service:
        return Reach.PRINCIPAL if who.service in _listed(named.get("Service", [])) else Reach.NOBODY
    wanted = _listed(named.get("AWS", []))
    if {"*", who.arn, who.session} & set(wanted) - {""}:
        return Reach.PRINCIPAL
    partition = who.arn.split(":")[1]
    ours = {who.account, f"arn:{partition}:iam::{who.account}:root"}
    return Reach.ACCOUNT if ours & set(wanted) else Reach.NOBODY


def _listed(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else [str(value)]
