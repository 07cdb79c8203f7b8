"""Finding a cluster: its facts, and the names of the clusters that a region has."""

from __future__ import annotations

import re

from botocore.exceptions import ClientError

from cluster_scripts.backends.aws.errors import code_of, translating
from cluster_scripts.backends.aws.session import Aws
from cluster_scripts.jobs.errors import InvalidArgument, NoSuchCluster, Refused, RequestError, UnexpectedAnswer
from infra.config import changes
from infra.config.facts import Facts, FactsError, parameter_name

ROOT = "/dure/"
_PARAMETER = re.compile(r"/dure/([^/]+)/facts")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,62}", re.ASCII)


def load_facts(aws: Aws, name: str) -> Facts:
    """What the cluster says of itself.

    Raises NoSuchCluster, InvalidArgument (no such name is possible), UnexpectedAnswer (facts of another version),
    and any OtherSide.
    """
    if not _NAME.fullmatch(name):
        raise InvalidArgument(f"{name!r} can't be the name of a cluster: letters, digits and hyphens, a letter first")
    doing = f"reading the facts of cluster {name!r} in {aws.region}"
    with translating(doing):
        try:
            text = aws.ssm.get_parameter(Name=parameter_name(name))["Parameter"].get("Value", "")
        except ClientError as error:
            if code_of(error) != "ParameterNotFound":
                raise
            raise NoSuchCluster(_no_cluster(aws, name)) from error
    try:
        return Facts.from_json(text)
    except FactsError as error:
        raise UnexpectedAnswer(
            f"{doing}: {error}\nuse the version of this toolkit that deployed the cluster, or deploy it again"
        ) from error


def deployed_cluster_file(aws: Aws, name: str) -> str | None:
    """The cluster file that a live cluster was deployed from, as its stack keeps it; None where no cluster is.

    Raises any OtherSide.
    """
    with translating(f"reading the cluster file of cluster {name!r} in {aws.region}"):
        try:
            return aws.ssm.get_parameter(Name=changes.parameter_name(name))["Parameter"].get("Value", "")
        except ClientError as error:
            if code_of(error) != "ParameterNotFound":
                raise
            return None


def cluster_names(aws: Aws) -> list[str]:
    """Names of the clusters deployed in the region, sorted."""
    names: set[str] = set()
    with translating(f"no cluster is named (--cluster NAME or DURE_CLUSTER); looking for those in {aws.region}"):
        pages = aws.ssm.get_paginator("get_parameters_by_path").paginate(Path=ROOT, Recursive=True)
        for page in pages:
            for parameter in page["Parameters"]:
                if match := _PARAMETER.fullmatch(parameter.get("Name", "")):
                    names.add(match[1])
    return sorted(names)


def only_cluster(aws: Aws) -> str:
    """The name of the one cluster of the region. Raises NoSuchCluster for none, RequestError for several."""
    names = cluster_names(aws)
    if not names:
        raise NoSuchCluster(f"no cluster is deployed in {aws.region}; deploy one with `cdk deploy`, or give --region")
    if len(names) > 1:
        raise RequestError(
            f"{aws.region} has {len(names)} clusters ({', '.join(names)}); "
            "say which with --cluster NAME or DURE_CLUSTER"
        )
    return names[0]


def _no_cluster(aws: Aws, name: str) -> str:
    try:
        there = cluster_names(aws)
        listed = f"it has {', '.join(there)}" if there else "it has none"
    except Refused:
        listed = "which ones it has you may not see"
    return f"no cluster {name!r} is deployed in {aws.region} ({listed}); give --cluster or --region"
