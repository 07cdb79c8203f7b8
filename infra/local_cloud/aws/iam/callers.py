"""Who signed a request: an assumed role's session, a user, or somebody who may do everything.

Access keys that begin with ASIA are temporary (a machine's, or of sts:AssumeRole), AKIA ones belong to users. All
others, such as those of `dure cloud env`, are the account's administrator, whom only key and trust policies bind.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from moto.core.utils import utcnow
from moto.iam.models import iam_backends
from moto.sts.models import sts_backends

from infra.local_cloud.aws.cloud import ACCOUNT, PARTITION
from infra.local_cloud.aws.errors import AwsError, NotModelled
from infra.local_cloud.aws.loopback import ACCESS_KEY as OWN_HANDS

TEMPORARY, LASTING = "ASIA", "AKIA"
ADMINISTRATOR = f"arn:{PARTITION}:iam::{ACCOUNT}:user/administrator"


@dataclass(frozen=True)
class Caller:
    """`arn`: as refusals name it, for a role its session's; `principal`: the ARN of the user or the role itself."""

    arn: str
    principal: str
    administrator: bool = False


class Callers:
    """Finds callers, and the policies that they have at that moment."""

    def __init__(self) -> None:
        self._sessions: dict[str, Any] = {}

    def find(self, access_key: str) -> Caller | None:
        """Whose key it is; None for the local cloud's own hands. Raises AWS's error for a key that nobody has."""
        if access_key == OWN_HANDS:
            return None
        if access_key.startswith(TEMPORARY):
            session = self._session(access_key)
            return Caller(arn=str(session.arn), principal=str(session.role_arn))
        if access_key.startswith(LASTING):
            user = _user(access_key)
            return Caller(arn=str(user.arn), principal=str(user.arn))
        return Caller(arn=ADMINISTRATOR, principal=ADMINISTRATOR, administrator=True)

    def _session(self, access_key: str) -> Any:
        if access_key not in self._sessions:
            found = sts_backends[ACCOUNT][PARTITION].get_assumed_role_from_access_key(access_key)
            if found is None:
                raise AwsError(
                    "InvalidClientTokenId", "The security token included in the request is invalid.", status=403
                )
            if found.policy:
                raise NotModelled("session policies of sts:AssumeRole")
            self._sessions[access_key] = found
        session = self._sessions[access_key]
        if session.expiration < utcnow():
            raise AwsError("ExpiredToken", "The security token included in the request is expired", status=403)
        return session


def _user(access_key: str) -> Any:
    user = iam_backends[ACCOUNT][PARTITION].get_user_from_access_key_id(access_key)
    key = next((each for each in user.access_keys if each.access_key_id == access_key), None) if user else None
    if key is None or key.status != "Active":
        raise AwsError("InvalidClientTokenId", "The security token included in the request is invalid.", status=403)
    return user


def role_of(arn: str) -> Any:
    """moto's role of an ARN, or None."""
    roles: Iterable[Any] = iam_backends[ACCOUNT][PARTITION].roles.values()
    return next((each for each in roles if each.arn == arn), None)


def documents(principal: str) -> list[str]:
    """The policies of a role or user (its own, its groups', attached ones) as they are now; none when it is gone."""
    backend = iam_backends[ACCOUNT][PARTITION]
    role = role_of(principal)
    if role is not None:
        if role.permissions_boundary_arn:
            raise NotModelled(f"permissions boundaries (of {role.arn})")
        return _held_by(role)
    user = next((each for each in backend.users.values() if each.arn == principal), None)
    if user is None:
        return []
    groups: Iterable[Any] = backend.get_groups_for_user(user.name)
    return [*_held_by(user), *(document for group in groups for document in _held_by(group))]


def _held_by(holder: Any) -> list[str]:
    attached = [
        str(version.document)
        for policy in holder.managed_policies.values()
        for version in policy.versions
        if version.is_default
    ]
    return [*map(str, holder.policies.values()), *attached]
