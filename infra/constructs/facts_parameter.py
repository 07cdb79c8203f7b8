"""Writes the parameters in which a cluster says what it is, and from which cluster file it was made."""

from __future__ import annotations

from aws_cdk import aws_ssm as ssm
from constructs import Construct

from infra.config import changes
from infra.config.facts import Facts, parameter_name
from infra.config.schema import ClusterFile


class FactsParameter(Construct):
    """The facts as an SSM parameter. Values that CloudFormation knows only later are pasted into the JSON by it."""

    def __init__(self, scope: Construct, id: str, *, facts: Facts, tags: dict[str, str]) -> None:
        super().__init__(scope, id)
        self.parameter = ssm.CfnParameter(
            self,
            "Parameter",
            name=parameter_name(facts.name),
            description=f"What the Dure cluster {facts.name} is",
            type="String",
            # More than 4 KiB need the advanced tier, which costs 5 cents a month
            tier="Intelligent-Tiering",
            value=facts.to_json(),
            tags=tags,
        )


class ClusterFileParameter(Construct):
    """The cluster file that a cluster was deployed from: what a changed one would do is told by comparing the two."""

    def __init__(self, scope: Construct, id: str, *, cluster: ClusterFile, tags: dict[str, str]) -> None:
        super().__init__(scope, id)
        ssm.CfnParameter(
            self,
            "Parameter",
            name=changes.parameter_name(cluster.name),
            description=f"The cluster file of the Dure cluster {cluster.name}",
            type="String",
            tier="Intelligent-Tiering",
            value=changes.to_json(cluster),
            tags=tags,
        )
