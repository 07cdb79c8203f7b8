"""An answer to one question of `dure check --live`, and how a refusal of the question itself becomes one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from botocore.exceptions import BotoCoreError, ClientError

from cluster_scripts.backends.aws.errors import translated
from cluster_scripts.jobs.errors import Refused

Verdict = Literal["passes", "fails", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What AWS said to one question. `rule` is an id of infra.config.live, `what` says what was asked about.

    "unknown" means that AWS could not be asked (a missing permission, no subnet yet), so nothing is known against it.
    """

    rule: str
    what: str
    verdict: Verdict
    said: str
    fix: str = ""


def passes(rule: str, what: str, said: str) -> Answer:
    return Answer(rule=rule, what=what, verdict="passes", said=said)


def fails(rule: str, what: str, said: str, fix: str = "") -> Answer:
    return Answer(rule=rule, what=what, verdict="fails", said=said, fix=fix)


def unknown(rule: str, what: str, said: str, fix: str = "") -> Answer:
    return Answer(rule=rule, what=what, verdict="unknown", said=said, fix=fix)


def asked(rule: str, what: str, find: Callable[[], Iterable[Answer]], *, permission: str) -> Iterator[Answer]:
    """The answers that `find` gives; if AWS does not let it ask, one "unknown" that names the permission."""
    try:
        yield from list(find())
    except (ClientError, BotoCoreError) as error:
        ours = translated(error, "asking AWS")
        fix = f"allow {permission}, or ask somebody who may" if isinstance(ours, Refused) else "try again"
        yield unknown(rule, what, str(ours), fix)
