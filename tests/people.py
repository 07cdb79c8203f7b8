"""People of the local cloud's account: roles with a policy each, that users take on, as profiles do."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.cloud import Cloud

ACCOUNT = "123456789012"
Grant = tuple[str, str]


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


@dataclass
class Person:
    """Somebody with exactly one managed policy. `cloud` runs programs with that somebody's credentials."""

    admin: Cloud
    cloud: Cloud
    policy_arn: str
    policy: dict[str, Any]

    def grants(self) -> set[Grant]:
        """Statement and action of all that the policy allows."""
        return {(each["Sid"], action) for each in self.policy["Statement"] for action in _listed(each["Action"])}

    @contextmanager
    def without(self, sid: str, action: str) -> Iterator[None]:
        """The policy without one action of one statement, while the block runs."""
        policy = copy.deepcopy(self.policy)
        (statement,) = [each for each in policy["Statement"] if each["Sid"] == sid]
        statement["Action"] = [each for each in _listed(statement["Action"]) if each != action]
        if not statement["Action"]:
            policy["Statement"].remove(statement)
        self._put(policy)
        try:
            yield
        finally:
            self._put(self.policy)

    def _put(self, policy: Mapping[str, Any]) -> None:
        iam = self.admin.client("iam")
        before = iam.get_policy(PolicyArn=self.policy_arn)["Policy"]["DefaultVersionId"]
        iam.create_policy_version(PolicyArn=self.policy_arn, PolicyDocument=json.dumps(policy), SetAsDefault=True)
        iam.delete_policy_version(PolicyArn=self.policy_arn, VersionId=before)

    def refused(self, call: Callable[[], object]) -> str:
        """What a call is refused with. AssertionError when it passes."""
        try:
            call()
        except Exception as error:
            return str(error)
        raise AssertionError("it was not refused")


def policy_of(admin: Cloud, arn: str) -> dict[str, Any]:
    """A managed policy as it is now."""
    iam = admin.client("iam")
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    return dict(iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"])


def make_policy(admin: Cloud, name: str, document: str) -> str:
    """A managed policy of the account; its ARN."""
    made = admin.client("iam").create_policy(PolicyName=name, PolicyDocument=document)
    return str(made["Policy"]["Arn"])


def by_role(admin: Cloud, name: str, policy_arn: str, *, folder: Path) -> Person:
    """Somebody whose profile names a role that trusts one user; that user may do nothing else."""
    iam = admin.client("iam")
    user = iam.create_user(UserName=name)["User"]["Arn"]
    key = iam.create_access_key(UserName=name)["AccessKey"]
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"AWS": user}, "Action": "sts:AssumeRole"}],
    }
    role = iam.create_role(RoleName=f"{name}-role", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    iam.attach_role_policy(RoleName=f"{name}-role", PolicyArn=policy_arn)
    config = folder / f"{name}.config"
    config.write_text(
        f"[profile {name}]\nrole_arn = {role}\nsource_profile = own\n\n[profile own]\n"
        f"aws_access_key_id = {key['AccessKeyId']}\naws_secret_access_key = {key['SecretAccessKey']}\n"
    )
    env = {k: v for k, v in admin.env.items() if k not in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    cloud = replace(admin, env={**env, "AWS_CONFIG_FILE": str(config), "AWS_PROFILE": name})
    return Person(admin, cloud, policy_arn, policy_of(admin, policy_arn))


def by_group(admin: Cloud, name: str, policy_arn: str) -> Person:
    """A user with access keys, in a group that holds the policy."""
    iam = admin.client("iam")
    iam.create_user(UserName=name)
    iam.create_group(GroupName=f"{name}s")
    iam.attach_group_policy(GroupName=f"{name}s", PolicyArn=policy_arn)
    iam.add_user_to_group(GroupName=f"{name}s", UserName=name)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    keys = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    return Person(admin, replace(admin, env={**admin.env, **keys}), policy_arn, policy_of(admin, policy_arn))


def by_session(admin: Cloud, name: str, policy_arn: str) -> Person:
    """A role of the account, taken on: its session's credentials in the environment's variables."""
    iam = admin.client("iam")
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}
        ],
    }
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    iam.attach_role_policy(RoleName=name, PolicyArn=policy_arn)
    made = admin.client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
    keys = {
        "AWS_ACCESS_KEY_ID": made["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"],
        "AWS_SESSION_TOKEN": made["SessionToken"],
    }
    return Person(admin, replace(admin, env={**admin.env, **keys}), policy_arn, policy_of(admin, policy_arn))
