"""The Condition of a policy statement. Pure; operators and keys that are not known here raise NotModelled."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from infra.local_cloud.aws.errors import NotModelled

Context = Mapping[str, Sequence[str]]

# Where `actions` and `launching` work a key out: for these actions its absence means that the request has none.
# For any other action a condition on the key can't be judged, and says so.
KEYS: Mapping[str, tuple[str, ...]] = {
    "aws:principalaccount": ("*",),
    "aws:principalarn": ("*",),
    "aws:requestedregion": ("*",),
    "aws:securetransport": ("*",),
    "aws:requesttag/*": ("ec2:*",),
    "aws:resourceaccount": ("s3:*",),
    "aws:resourcetag/*": ("ec2:*",),
    "aws:sourceaccount": ("sts:assumerole",),
    "aws:sourcearn": ("sts:assumerole",),
    "aws:tagkeys": ("ec2:*",),
    "cloudwatch:namespace": ("cloudwatch:*",),
    "ec2:createaction": ("ec2:createtags",),
    "ec2:launchtemplate": ("ec2:runinstances",),
    "ec2:resourcetag/*": ("ec2:*",),
    "iam:awsservicename": ("iam:createservicelinkedrole",),
    "iam:passedtoservice": ("iam:passrole",),
    "iam:policyarn": ("iam:attach*", "iam:detach*"),
    "kms:calleraccount": ("kms:*",),
    "kms:encryptioncontext:aws:logs:arn": ("kms:*",),
    "kms:viaservice": ("kms:*",),
    "s3:prefix": ("s3:listbucket", "s3:listbucketversions"),
    "s3:resourceaccount": ("s3:*",),
    "ssm:resourcetag/*": ("ssm:sendcommand",),
    "sts:externalid": ("sts:assumerole",),
}


@functools.lru_cache(maxsize=4096)
def _pattern(text: str, ignore_case: bool) -> re.Pattern[str]:
    wild = {"*": ".*", "?": "."}
    return re.compile(
        "".join(wild.get(c) or re.escape(c) for c in text), re.DOTALL | (re.IGNORECASE if ignore_case else 0)
    )


def like(have: str, wanted: str, *, ignore_case: bool = False) -> bool:
    """Whether a text matches a pattern with IAM's `*` and `?`."""
    return _pattern(wanted, ignore_case).fullmatch(have) is not None


def arn_like(have: str, wanted: str) -> bool:
    """Each of an ARN's six parts by itself, so that a `*` does not reach over a colon before the last one."""
    parts, patterns = have.split(":", 5), wanted.split(":", 5)
    return len(parts) == len(patterns) == 6 and all(like(p, w) for p, w in zip(parts, patterns, strict=True))


_Test = Callable[[str, str], bool]
_TESTS: Mapping[str, tuple[_Test, bool]] = {  # the test, and whether the operator is its negation
    "stringequals": (lambda have, wanted: have == wanted, False),
    "stringnotequals": (lambda have, wanted: have == wanted, True),
    "stringequalsignorecase": (lambda have, wanted: have.lower() == wanted.lower(), False),
    "stringlike": (like, False),
    "stringnotlike": (like, True),
    "arnequals": (arn_like, False),
    "arnlike": (arn_like, False),
    "arnnotequals": (arn_like, True),
    "arnnotlike": (arn_like, True),
    "bool": (lambda have, wanted: have.lower() == wanted.lower(), False),
}


def holds(condition: Mapping[str, Mapping[str, Any]], *, action: str, context: Context) -> bool:
    """Whether every test of a Condition holds. `context`: lower-case keys; `action`: whose request it is.

    Raises NotModelled for an operator, a key or a policy variable that the local cloud does not know.
    """
    tests = [
        _test(operator, key.lower(), _listed(wanted), action=action, context=context)
        for operator, keys in condition.items()
        for key, wanted in keys.items()
    ]
    return all(tests)  # a list first: what is unknown shows, whatever stands before it


def _listed(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [str(each).lower() if isinstance(each, bool) else str(each) for each in values]


def refuse_variables(text: str) -> None:
    """Raise NotModelled for a policy variable such as `${aws:username}`."""
    if "${" in text:
        raise NotModelled(f"policy variables (in {text!r})")


def _test(operator: str, key: str, wanted: list[str], *, action: str, context: Context) -> bool:
    if not any(
        like(key, known) and any(like(action.lower(), each) for each in actions) for known, actions in KEYS.items()
    ):
        raise NotModelled(f"the IAM condition key {key} for {action}")
    for text in wanted:
        refuse_variables(text)
    values = list(context.get(key, ()))
    name = operator.lower()
    if name == "null":
        return (not values) == (wanted == ["true"])
    quantifier, _, rest = name.rpartition(":")
    optional = rest.endswith("ifexists")
    test, negated = _TESTS.get(rest.removesuffix("ifexists"), (None, False))
    if test is None or quantifier not in ("", "foranyvalue", "forallvalues"):
        raise NotModelled(f"the IAM condition operator {operator}")
    if not values and not quantifier:
        return optional or negated
    matches = [any(test(have, each) for each in wanted) != negated for have in values]
    if quantifier == "forallvalues" or (negated and not quantifier):
        return all(matches)
    return any(matches) or (optional and not values)
