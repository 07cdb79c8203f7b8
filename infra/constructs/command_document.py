"""The SSM document through which every command reaches the cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aws_cdk import aws_ssm as ssm
from constructs import Construct

from infra.config.facts import VERBS, WATCH_SUFFIX, WATCH_VERBS
from infra.constructs.naming import tags

# A key in the bucket or a job id: nothing that a shell could make more of
ARGUMENT = r"^[A-Za-z0-9._/=+-]{0,512}$"


def document_name(cluster: str) -> str:
    """The name of a cluster's document for every verb."""
    return f"Dure-{cluster}"


def watch_document_name(cluster: str) -> str:
    """The name of a cluster's document for the verbs that change nothing."""
    return f"{document_name(cluster)}{WATCH_SUFFIX}"


class CommandDocuments(Construct):
    """Two documents, as IAM can tell documents apart but not verbs: one for all of them, one for those that only look.

    Their parameters arrive as environment variables (SSM_Verb, SSM_Argument), never pasted
    into a script. Agents before version 3.3.2746.0 do not know that and set none: the program then refuses, as it has
    no verb.
    """

    def __init__(self, scope: Construct, id: str, *, cluster: str) -> None:
        super().__init__(scope, id)
        self._document("Document", cluster, document_name(cluster), VERBS)
        self._document("Watch", cluster, watch_document_name(cluster), WATCH_VERBS)

    def _document(self, id: str, cluster: str, name: str, verbs: Sequence[str]) -> None:
        ssm.CfnDocument(
            self,
            id,
            name=name,
            document_type="Command",
            document_format="JSON",
            target_type="/AWS::EC2::Instance",
            update_method="NewVersion",
            content=_content(cluster, verbs),
            tags=tags(cluster),
        )


def _content(cluster: str, verbs: Sequence[str]) -> dict[str, Any]:
    return {
        "schemaVersion": "2.2",
        "description": f"Ask the head of the Dure cluster {cluster}",
        "parameters": {
            "Verb": {
                "type": "String",
                "description": "What is asked",
                "allowedValues": list(verbs),
                "interpolationType": "ENV_VAR",
            },
            "Argument": {
                "type": "String",
                "description": "Of what: a key in the bucket, or a job id",
                "default": "",
                "allowedPattern": ARGUMENT,
                "interpolationType": "ENV_VAR",
            },
        },
        "mainSteps": [
            {
                "action": "aws:runShellScript",
                "name": "serve",
                "precondition": {"StringEquals": ["platformType", "Linux"]},
                "inputs": {"timeoutSeconds": "60", "runCommand": ["exec /opt/dure/bin/dure-node serve"]},
            }
        ],
    }
