"""EC2 is eventually consistent: what was made a moment ago is not known everywhere yet.

For a short while after RunInstances an instance is not listed, and its id is InvalidInstanceID.NotFound; an instance
profile that IAM has just made is no valid one to RunInstances. How long is drawn by a seed, so that a run can be
repeated; AWS takes up to minutes for the same.
Source: EC2's developer guide, "Ensuring consistency"; IAM's user guide, "Changes that I make are not always
immediately visible".
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from infra.local_cloud.aws.cloud import Cloud
from infra.local_cloud.aws.ec2.table import backend
from infra.local_cloud.aws.errors import AwsError
from infra.local_cloud.aws.operations import Answer, Call

_LEAST = 0.3  # of the longest time: nothing is known at once
_PAGE = 100


@dataclass
class Consistency:
    """The longest times, in seconds, after which what was made is known; 0 for at once. One for all regions."""

    seed: int = 0
    instances: float = 0.3
    profiles: float = 1.0
    _made: int = 0
    _known_from: dict[str, float] = field(default_factory=dict)

    def made(self, name: str, *, now: float, longest: float) -> None:
        """Note that an instance (by id) or a profile (by name) was made."""
        self._made += 1
        drawn = random.Random(f"{self.seed}/{self._made}").uniform(_LEAST, 1.0)
        self._known_from[name] = now + drawn * longest

    def unknown(self, names: Iterable[str], *, now: float) -> list[str]:
        """Those that are not known yet, sorted."""
        return sorted({name for name in names if self._known_from.get(name, 0.0) > now})

    def wait(self, name: str, *, now: float) -> float:
        """Seconds until it is known."""
        return max(0.0, self._known_from.get(name, 0.0) - now)


def of(cloud: Cloud) -> Consistency:
    """The one of a cloud."""
    return cloud.store(Consistency, "")


def not_found(identity: str) -> AwsError:
    """EC2's answer to the id of an instance that it does not know."""
    return AwsError("InvalidInstanceID.NotFound", f"The instance ID '{identity}' does not exist")


def refuse_unknown(cloud: Cloud, call: Call) -> None:
    """Before an operation on instances by id: one that is not known yet is not found."""
    params = call.params
    asked = [*params.get("InstanceIds", []), *params.get("Resources", [])]
    asked += [params["InstanceId"]] if "InstanceId" in params else []
    if unknown := of(cloud).unknown(asked, now=cloud.clock()):
        raise not_found(unknown[0])


# ---- instance profiles


def _profile_key(name: str) -> str:
    return f"instance-profile/{name}"


def profile_made(cloud: Cloud, call: Call) -> None:
    """After CreateInstanceProfile and AddRoleToInstanceProfile: EC2 hears of it later."""
    consistency = of(cloud)
    key = _profile_key(call.params["InstanceProfileName"])
    consistency.made(key, now=cloud.clock(), longest=consistency.profiles)


def profile_wait(cloud: Cloud, name: str) -> float:
    """Seconds until EC2 knows an instance profile as it is now."""
    return of(cloud).wait(_profile_key(name), now=cloud.clock())


def checked_profile(cloud: Cloud, wanted: dict[str, Any], found: Any) -> Any:
    """The profile of a launch. Raises as EC2 does: for one that is missing or not known yet, and for an empty one."""
    if found is None or profile_wait(cloud, found.name):
        kind = "arn" if "Arn" in wanted else "name"
        raise AwsError(
            "InvalidParameterValue",
            f"Value ({wanted.get('Arn') or wanted.get('Name')}) for parameter iamInstanceProfile.{kind} is invalid."
            f" Invalid IAM Instance Profile {'ARN' if kind == 'arn' else 'name'}",
        )
    if not found.roles:
        raise AwsError("InvalidParameterValue", f'IAM Instance Profile "{found.arn}" has no associated IAM Roles')
    return found


# ---- listing instances


def listed(cloud: Cloud, call: Call) -> Answer:
    """The answer to DescribeInstances: those that EC2 knows by now, filtered, a page of them."""
    ids, ec2 = call.params.get("InstanceIds", []), backend(call.region)
    if ids and "MaxResults" in call.params:
        raise AwsError(
            "InvalidParameterCombination", "The parameter instancesSet cannot be used with the parameter maxResults"
        )
    filters = {each["Name"]: each.get("Values", []) for each in call.params.get("Filters", [])}
    found = ec2.get_reservations_by_instance_ids(ids, filters=filters) if ids else ec2.describe_instances(filters)
    shown = []
    for reservation in found:
        hidden = of(cloud).unknown((each.id for each in reservation.instances), now=cloud.clock())
        reservation.instances = [each for each in reservation.instances if each.id not in hidden]
        if reservation.instances:
            shown.append(reservation)
    names = [reservation.id for reservation in shown]
    token = call.params.get("NextToken")
    start = names.index(token) + 1 if token in names else 0
    page = shown[start : start + int(call.params.get("MaxResults", _PAGE))]
    more = len(shown) > start + len(page)
    return {"Reservations": page, **({"NextToken": page[-1].id} if more else {})}
